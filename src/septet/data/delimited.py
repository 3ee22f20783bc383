"""CSV and TSV: delimited text with a header row, every value as written.

Python's own parser in strict mode: it knows the line of every row (findings name it), and quotes that do not match are
an error, never a guess. "NA", "null" and "" stay text. Blank lines are skipped; columns without a name are left out.
In a tab-separated file quotes are usually plain characters, so where every line has the right number of tabs a field is
unquoted only if it is quoted as a whole.
"""

from __future__ import annotations

import csv
import io
import sys
from array import array
from collections.abc import Iterator, Sequence

from septet.errors import DataError

SHOWN_ROWS = 5
_DELIMITERS = ";\t|"


def parse(text: str, name: str, *, delimiter: str | None = None) -> tuple[dict[str, list[str]], array]:
    """Return the columns and the line each row begins on.

    Args:
        delimiter: one character; None: the comma, or where the header has none, the `;`, tab or `|` it has most of.

    Raises:
        DataError: a row that does not fit the header, quotes that do not match, a duplicate column, or no row.
    """
    delimiter = delimiter or detect(text)
    rows = _rows(text, name, delimiter=delimiter)
    header_line, header = next(((line, row) for line, row in rows if row), (1, []))
    _check_header(header, name, line=header_line)
    width = len(header)
    values: list[list[str]] = []
    lines = array("q")
    broken: list[tuple[int, list[str]]] = []
    for line, row in rows:
        if len(row) == width:
            values.append(row)
            lines.append(line)
        elif row:
            broken.append((line, row))
    if broken:
        raise _ragged(broken, header, name=name)
    if not values:
        raise DataError("The file has a header and no rows.", where=name, received=delimiter.join(header))
    columns = {column: list(found) for column, found in zip(header, zip(*values, strict=True), strict=True) if column}
    return columns, lines


def detect(text: str) -> str:
    """Return the delimiter the header uses."""
    header = text.lstrip("\r\n").split("\n", 1)[0]
    if "," in header:
        return ","
    best = max(_DELIMITERS, key=header.count)
    return best if best in header else ","


def _rows(text: str, name: str, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    if delimiter == "\t":
        plain = _plain_tabs(text)
        if plain is not None:
            yield from plain
            return
    before = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        line = 1
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _quotes(error, name, line=line) from None
            yield line, row
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def _plain_tabs(text: str) -> list[tuple[int, list[str]]] | None:
    """Return the rows of a file whose every line has the same number of tabs, or None."""
    split = [
        (number, line.split("\t")) for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1) if line
    ]
    if not split or any(len(row) != len(split[0][1]) for _, row in split):
        return None
    return [
        (number, [_unquote(field) for field in row] if any(f[:1] == '"' for f in row) else row) for number, row in split
    ]


def _unquote(field: str) -> str:
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    return inner.replace('""', '"') if '"' not in inner.replace('""', "") else field


def _check_header(header: Sequence[str], name: str, *, line: int) -> None:
    named = [column for column in header if column]
    if not named:
        raise DataError("The file has no header row with column names.", where=f"{name} line {line}")
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise DataError(
            f"The header names a column twice: {', '.join(twice)}.",
            where=f"{name} line {line}",
            hint="rename one of them",
        )


def _ragged(broken: list[tuple[int, list[str]]], header: Sequence[str], *, name: str) -> DataError:
    line, row = broken[0]
    more = ""
    if len(broken) > 1:
        others = ", ".join(str(number) for number, _ in broken[1 : SHOWN_ROWS + 1])
        more = f" {len(broken) - 1:,} more rows are like this (line {others}{', …' if len(broken) > SHOWN_ROWS + 1 else ''})."
    open_quote = any("\n" in field for field in row)
    hint = (
        "a quote seems to be open: close it, and double the quotes inside a text"
        if open_quote
        else "quote a text that holds the delimiter, or set data.delimiter"
    )
    what = f"The row has {len(row)} {'field' if len(row) == 1 else 'fields'}, the header has {len(header)} ({', '.join(header)[:80]}).{more}"
    return DataError(what, where=f"{name} line {line}", received=row, hint=hint)


def _quotes(error: csv.Error, name: str, *, line: int) -> DataError:
    hint = 'end the text with a quote, and double the quotes inside it: "He said ""hi"" to me"'
    if "unexpected end" in str(error):
        return DataError("A quote is opened in this row and never closed.", where=f"{name} line {line}", hint=hint)
    if "expected after" in str(error):
        return DataError(
            "The quotes of this row do not match: there is text after a closing quote.",
            where=f"{name} line {line}",
            hint=hint,
        )
    return DataError(f"The row cannot be read: {error}.", where=f"{name} line {line}")
