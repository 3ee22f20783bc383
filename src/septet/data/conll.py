"""CoNLL and BIO files: a token a line with its tag, sentences apart by blank lines; a row is a sentence.

Columns are told by position: the first is the token, the last its tag; what is between is left out. They are apart by tabs, or by spaces where the first line
has no tab. A row has the `text` (tokens joined by spaces), and the lists `tokens` and `tags`. `-DOCSTART-` lines and comments (`# …` in another
number of columns) are no tokens. Left out: CoNLL-U with its words of several tokens.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

from septet.errors import DataError

DOCUMENT = "-DOCSTART-"
SHOWN_LINES = 5


def parse(text: str, name: str) -> tuple[dict[str, list[Any]], array]:
    """Return the columns `text`, `tokens` and, where there are tags, `tags`; and the line each sentence begins on.

    Raises:
        DataError: a line has another number of columns than most, or there is no sentence.
    """
    rows = list(_lines(text))
    counts = Counter(len(fields) for _, fields in rows if fields and fields[0] != DOCUMENT)
    width = counts.most_common(1)[0][0] if counts else 0
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    lines = array("q")
    broken: list[tuple[int, list[str]]] = []
    for number, fields in rows:
        if not fields:
            if tokens[-1]:
                tokens.append([])
                tags.append([])
        elif fields[0] == DOCUMENT or (len(fields) != width and (fields[0] == "#" or fields[0].startswith("# "))):
            continue
        elif len(fields) != width:
            broken.append((number, fields))
        else:
            if not tokens[-1]:
                lines.append(number)
            tokens[-1].append(fields[0])
            tags[-1].append(fields[-1])
    if broken:
        raise _uneven(broken, width, name)
    if not lines:
        raise DataError("The file has no sentences.", where=name)
    found: dict[str, list[Any]] = {
        "text": [" ".join(each) for each in tokens if each],
        "tokens": [t for t in tokens if t],
    }
    return found | ({"tags": [each for each in tags if each]} if width > 1 else {}), lines


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((row for row in rows if row.strip() and not row.startswith((DOCUMENT, "# "))), "")
    separator = "\t" if "\t" in first else " "
    for number, row in enumerate(rows, 1):
        if not row.strip():
            yield number, []
        elif separator == "\t":
            yield number, row.split("\t")
        else:
            yield number, [field for field in row.split(" ") if field]


def _uneven(broken: list[tuple[int, list[str]]], width: int, name: str) -> DataError:
    number, fields = broken[0]
    others = ", ".join(str(line) for line, _ in broken[1 : SHOWN_LINES + 1])
    more = f" {len(broken) - 1:,} more lines are like this (line {others}{', …' if len(broken) > SHOWN_LINES + 1 else ''})."
    return DataError(
        f"The line has {len(fields)} columns, most have {width}.{more if others else ''}",
        where=f"{name} line {number}",
        received=fields,
        hint="a token and its tag on each line, apart by one tab; sentences apart by a blank line",
    )
