"""Plain text: a file is a sequence of documents, a table with the one column `text`.

`data.documents` says where a file is cut. Windows line ends become `\\n`; all other white space of a document stays, except blank
lines around it. What holds nothing but white space is no document, so a run of separators makes none.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

COLUMN = "text"

_BLANK = r"[^\S\n]*"  # what a blank line may hold
_BLANK_LINES = re.compile(rf"(?:{_BLANK}\n)*")
_SEPARATORS = {"paragraph": re.compile(rf"\n(?:{_BLANK}\n)+"), "page": re.compile("\f")}


def parse(text: str, cut: str | None = None) -> tuple[dict[str, list[str]], array]:
    """Return the documents of a text, and the line each begins on.

    Args:
        cut: `file`: the whole text is one; `line`: each line; `paragraph`: blank lines between; `page`: form feeds between.
            None: `page` where a form feed between documents has a line of its own, else `file`.
    """
    text = text.replace("\r\n", "\n")
    text = text if "\n" in text else text.replace("\r", "\n")  # the line ends of an old Macintosh
    cut = cut or ("page" if _has_pages(text) else "file")
    found = _lines(text) if cut == "line" else _blocks(text, cut)
    texts: list[str] = []
    lines = array("q")
    for line, document in found:
        texts.append(document)
        lines.append(line)
    return {COLUMN: texts}, lines


def _has_pages(text: str) -> bool:
    """Whether a line between two texts holds form feeds and nothing else."""
    begun, end = len(text) - len(text.lstrip()), len(text.rstrip())
    place = text.find("\f", begun, end)
    while place >= 0:
        line_end = text.find("\n", place, end)
        if line_end < 0:
            return False
        if text[text.rfind("\n", 0, place) + 1 : line_end].isspace():
            return True
        place = text.find("\f", line_end, end)
    return False


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.isspace())


def _blocks(text: str, cut: str) -> Iterator[tuple[int, str]]:
    """Yield each document without the blank lines around it, and its first line."""
    line, counted = 1, 0
    for start, end in _spans(text, _SEPARATORS.get(cut)):
        start = _first_line(text, start, end)
        document = text[start:end]
        if not document or document.isspace():
            continue
        after = document.find("\n", len(document.rstrip()))
        line, counted = line + text.count("\n", counted, start), start
        yield line, document if after < 0 else document[:after]


def _spans(text: str, separator: re.Pattern[str] | None) -> Iterator[tuple[int, int]]:
    start = 0
    for found in separator.finditer(text) if separator is not None else ():
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def _first_line(text: str, start: int, end: int) -> int:
    """Return where the first line that is not blank begins."""
    blank = _BLANK_LINES.match(text, start, end)
    return start if blank is None else blank.end()
