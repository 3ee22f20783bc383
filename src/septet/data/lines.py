"""Rows from a stream of lines, each a text or a JSON object, as a program that is asked reads its standard input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from septet.data.files import LONGEST_LINE
from septet.errors import DataError, UsageError


def read_lines(stream: BinaryIO, texts: list[str], *, where: str) -> tuple[Iterable[dict[str, Any]], list[str], None]:
    """Return the rows, the names of their columns, and that their number is not known; read as they are asked for.

    Args:
        texts: columns that each row must have; one that is no object is the text of the only one.
        where: the stream's name in errors.

    Raises:
        DataError: there is no row, or one cannot be read.
        UsageError: rows of several texts are no objects.
    """
    first = _decoded(stream.readline(LONGEST_LINE + 1), 1, where=where).lstrip("\ufeff")
    if not first:
        raise DataError("There is no row to answer.", where=where)
    numbered = _numbered(stream, first, where=where)
    head = _object(first)
    if head is not None:
        return _objects(numbered, texts, where=where), list(head), None
    if len(texts) > 1:
        hint = "one JSON object a line: " + json.dumps(dict.fromkeys(texts, "…"), ensure_ascii=False)
        raise UsageError(
            f"The model reads {' and '.join(texts)}; a line of plain text has only one.", where=where, hint=hint
        )
    return ({texts[0]: line} for _, line in numbered), [texts[0]], None


def _numbered(stream: BinaryIO, first: str, *, where: str) -> Iterator[tuple[int, str]]:
    yield 1, first.rstrip("\r\n")
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 2):
        yield number, _decoded(line, number, where=where).rstrip("\r\n")


def _objects(numbered: Iterable[tuple[int, str]], texts: list[str], *, where: str) -> Iterator[dict[str, Any]]:
    for number, line in numbered:
        if not line.strip():
            continue
        row = _object(line)
        if row is None:
            raise DataError(
                "The first line is a JSON object, and this one is not.", where=f"{where} line {number}", received=line
            )
        missing = [column for column in texts if column not in row]
        if missing:
            raise DataError(
                f"There is no {missing[0]!r}, which the model reads.",
                where=f"{where} line {number}",
                received=sorted(row),
            )
        yield row


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(line: bytes, number: int, *, where: str) -> str:
    if len(line) > LONGEST_LINE:
        raise DataError(f"A line is longer than {LONGEST_LINE >> 20} MiB; no text is.", where=f"{where} line {number}")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Byte 0x{line[error.start]:02x} is not valid utf-8.", where=f"{where} line {number}") from None
