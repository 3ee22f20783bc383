"""Large files of JSON lines, CSV in UTF-8, and Parquet, read in pieces: what is held is the columns in use, and never the file.

The table is the one that reading the whole file gives, less the columns that no one uses; a finding names these. Whatever is odd (another encoding,
a NUL, a line that cannot be read, a row that does not fit) hands the file back, and is told by the reader of whole files. Left out: TSV, of which
every line is looked at before one is read, and pipes, which cannot be read again.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import stat
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from septet.data import delimited, jsonl, parquet
from septet.data.delimited import Dialect
from septet.data.files import CHUNK, LONGEST_LINE, TOO_LONG, measured, packing_of, shown, unpacked
from septet.data.table import Part, Stamp, Table
from septet.errors import DataError, amount
from septet.report import Finding

LARGE = 256 << 20  # bytes from which on a file is read in pieces
PACKED = 4  # times that a packed file is taken to be larger
KINDS = ("jsonl", "csv", "parquet")


class _Odd(Exception):  # noqa: N818  (it is no error: the file is read as a whole)
    """Something that only the reader of whole files can tell."""


def is_large(path: Path) -> bool:
    """Whether a file is so large that it is read in pieces; no pipe is."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return False
    return status.st_size >= (LARGE // PACKED if packing_of(path) else LARGE)


def read(path: Path, kind: str, *, columns: Sequence[str], delimiter: str | None = None) -> Table | None:
    """Return the table of a large file, with the columns asked for only; None where it must be read as a whole.

    Args:
        kind: one of `KINDS`.
    """
    status = path.stat()
    digest = hashlib.sha256()
    name = shown(path)
    try:
        if kind == "parquet":
            return _parquet(path, columns, digest, status)
        pieces = _texts(measured(_bytes(path, digest), name))
        dialect, whole = _begun(pieces, delimiter) if kind == "csv" else (None, _lines(pieces))
        names, found, lines = (
            _parse_lines(whole, name, columns) if dialect is None else _parse_csv(whole, columns, dialect)
        )
    except (_Odd, UnicodeDecodeError, csv.Error):
        return None
    except DataError as error:
        if error.reason.startswith(TOO_LONG):
            raise
        return None
    stamp = Stamp(str(path.resolve()), status.st_size, status.st_mtime_ns, digest.hexdigest())
    table = Table(found, [Part(name, 0, lines)], [stamp])
    if dialect is not None:
        table.findings += dialect.told(name, given=delimiter is not None)
    left = [each for each in names if each not in found]
    if left:
        table.findings.append(_in_pieces(name, status.st_size, left))
    return table


def _parquet(path: Path, columns: Sequence[str], digest: Any, status: Any) -> Table:
    for _ in _bytes(path, digest):
        pass
    found = parquet.parse(path, shown(path), columns=columns)
    stamp = Stamp(str(path.resolve()), status.st_size, status.st_mtime_ns, digest.hexdigest())
    return Table(found, [Part(shown(path), 0)], [stamp])


def _bytes(path: Path, digest: Any) -> Iterator[bytes]:
    packing = packing_of(path)
    if packing is not None:
        raw = path.read_bytes()
        digest.update(raw)
        yield from unpacked(raw, path, packing=packing)
        return
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            yield chunk


def _texts(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
    for chunk in chunks:
        text = decoder.decode(chunk)
        if "\0" in text:
            raise _Odd
        yield text
    yield decoder.decode(b"", final=True)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield lines with their ends."""
    rest: list[str] = []
    for piece in pieces:
        head, *more = piece.split("\n")
        rest.append(head)
        for line in more:
            yield "".join((*rest, "\n"))
            rest = [line]
    if any(rest):
        yield "".join(rest)


def _begun(pieces: Iterable[str], delimiter: str | None) -> tuple[Dialect, Iterator[str]]:
    """Return the dialect that the first lines tell, and all lines."""
    whole, first, size = _lines(pieces), [], 0
    for line in whole:
        first.append(line)
        size += len(line)
        if size > 2 * delimited.SAMPLE:  # blank lines at the beginning are not looked at
            break
    return delimited.detect("".join(first), delimiter=delimiter), chain(first, whole)


def _parse_lines(
    whole: Iterable[str], name: str, columns: Sequence[str]
) -> tuple[list[str], dict[str, list[Any]], array]:
    names: dict[str, None] = {}
    found: dict[str, list[Any]] = {column: [] for column in columns}
    lines = array("q")
    for number, line in enumerate(whole, 1):
        line = line.lstrip("\ufeff")
        if not line.strip():
            continue
        row = jsonl.row(line, name, line=number)
        if not row.keys() <= names.keys():
            names |= dict.fromkeys(row)
        for column, values in found.items():
            values.append(row.get(column))
        lines.append(number)
    return _checked(names, found, lines)


def _parse_csv(
    whole: Iterator[str], columns: Sequence[str], dialect: Dialect
) -> tuple[list[str], dict[str, list[Any]], array]:
    first = next(whole, "")
    header = csv.reader([first], delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    if dialect.delimiter == "\t" or not set(columns) <= set(next(header, [])):
        raise _Odd
    found: dict[str, list[Any]] = {column: [] for column in columns}
    lines = array("q")
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        reader = csv.reader(_plain(first, whole), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
        header = next(reader)
        named = [column for column in header if column]
        if len(set(named)) < len(named):
            raise _Odd
        places = [(found[column], header.index(column)) for column in columns]
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise _Odd
                for values, place in places:
                    values.append(row[place])
                lines.append(line)
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)
    return _checked(dict.fromkeys(named), found, lines)


def _plain(first: str, rest: Iterator[str]) -> Iterator[str]:
    """Yield lines; one that holds an old Macintosh's line end is counted in another way."""
    for line in chain((first,), rest):
        if "\r" in line and line.count("\r") > line.endswith("\r\n"):
            raise _Odd
        yield line


def _checked(
    names: dict[str, None], found: dict[str, list[Any]], lines: array
) -> tuple[list[str], dict[str, list[Any]], array]:
    if not lines or not found.keys() <= names.keys():
        raise _Odd
    return list(names), found, lines


def _in_pieces(name: str, size: int, left: Sequence[str]) -> Finding:
    shown = ", ".join(left[:8]) + (", …" if len(left) > 8 else "")
    return Finding(
        "read-in-pieces",
        "note",
        f"{name} ({amount(size)}) was read in pieces, and {len(left)} {'column' if len(left) == 1 else 'columns'} that the task does not use {'was' if len(left) == 1 else 'were'} not kept: {shown}.",
        "nothing; the page of the data leaves them out",
        {"file": name, "columns": list(left)},
    )
