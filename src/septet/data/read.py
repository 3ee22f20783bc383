"""Read any table: CSV, TSV, JSON, JSON lines, Parquet, Arrow, spreadsheets, plain text, packed (.gz, .xz, .zst), folders and lists of these, databases, or memory.

`read("tickets.csv").rows()` gives dicts with every value as written: the text "NA" stays text. Errors name the file and
the line. The formats live in `delimited`, `jsonl`, `parquet`, `arrow`, `excel`, `conll`, `squad` and `documents` (plain text); databases in `sql`, tables in memory
in `memory`, hub data in `hub`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.data import arrow, conll, delimited, documents, excel, jsonl, parquet, sql, stream
from septet.data.files import FORMATS, decode, ending, find_files, format_of, read_bytes, shown
from septet.data.memory import read_memory
from septet.data.table import Part, Table, concatenate, require_columns
from septet.errors import DataError

PATHS = (str, Path, sql.Query)


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Args:
        format: auto: from the content where it begins as only one format does, else from the ending.
        delimiter: None: detected.
        plain: whether `.txt` is plain text, not CSV, where the ending says the format.
        documents: how plain text is cut into documents; see `documents.parse`.
        sheet: the sheet of a spreadsheet; None: the first that holds anything.
        lenient: lines of JSON lines that cannot be read are left out, and are in the table's `unread`.
    """

    format: str = "auto"
    encoding: str = "utf-8"
    delimiter: str | None = None
    plain: bool = False
    documents: str | None = None
    sheet: str | None = None
    lenient: bool = False


def read(
    source: Any, *, reading: Reading | None = None, columns: Mapping[str, str] | None = None, name: str = "data"
) -> Table:
    """Return the table a source holds.

    Args:
        source: a path, the address of a database, a list of these, or a table in memory.
        columns: column -> the recipe key that names it; they must be in every file. None: whatever is there.
        name: what messages call a table in memory.

    Raises:
        UsageError: a file is missing, or the value is no table.
        RecipeError: a column is missing.
        DataError: a file cannot be read as its format; names file and line.
    """
    if isinstance(source, PATHS) or _are_paths(source):
        items = [source] if isinstance(source, PATHS) else source
        tables = [table for item in items for table in _tables(item, reading=reading, columns=columns)]
        return concatenate(tables)
    table = read_memory(source, name, columns=list(columns) if columns else None)
    require_columns(list(table.columns), dict(columns or {}), where=name)
    return table


def read_file(path: Path, *, reading: Reading | None = None, columns: Mapping[str, str] | None = None) -> Table:
    """Return the table of one file; see `read`."""
    reading = reading or Reading()
    table = _large(path, reading, columns=columns) if columns else None
    if table is not None:
        return table
    raw, stamp = read_bytes(path)
    kind = reading.format
    if kind == "auto":
        kind = content_format(raw, shown(path)) or format_of(path, plain=reading.plain)
    table = _binary(raw, shown(path), kind=kind, reading=reading, columns=columns)
    if table is None:
        table = _text(raw, path, kind=kind, reading=reading)
    require_columns(list(table.columns), dict(columns or {}), where=table.name)
    table.stamps = [stamp]
    return table


def _large(path: Path, reading: Reading, *, columns: Mapping[str, str]) -> Table | None:
    """Return the table of a large file of which only some columns are used; None where it is read as a whole."""
    if reading.encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "auto") or not stream.is_large(path):
        return None
    kind = reading.format
    if kind == "auto":
        kind = FORMATS.get(ending(path), "")
    if kind not in stream.KINDS or (reading.plain and ending(path) == ".txt"):
        return None
    table = stream.read(path, kind, columns=list(columns), delimiter=reading.delimiter)
    if table is not None:
        require_columns(list(table.columns), dict(columns), where=table.name)
    return table


def content_format(raw: bytes, name: str) -> str | None:
    """Return the format of a file that begins as no text does, whatever its name says; None where it may be text.

    Raises:
        DataError: it is an archive, or a database.
    """
    if excel.is_spreadsheet(raw):
        return "excel"
    if raw.startswith(b"PK\x03\x04"):
        raise DataError("The file is a zip archive, not a table.", where=name, hint="unpack it")
    if raw.startswith(sql.MAGIC):
        raise DataError("The file is a database of SQLite.", where=name, hint=f"sqlite:///{name}#TABLE")
    if arrow.is_arrow(raw):
        return "arrow"
    return "parquet" if raw.startswith(parquet.MAGIC) else None


def _binary(raw: bytes, name: str, *, kind: str, reading: Reading, columns: Mapping[str, str] | None) -> Table | None:
    """Return the table of a format that is no text; None of one that is."""
    wanted = list(columns) if columns else None
    if kind == "excel":
        return excel.parse(raw, name, sheet=reading.sheet)
    if kind in ("parquet", "arrow"):
        parse = parquet.parse if kind == "parquet" else arrow.parse
        return Table(parse(raw, name, columns=wanted), [Part(name, 0)])
    return None


def _text(raw: bytes, path: Path, *, kind: str, reading: Reading) -> Table:
    name = shown(path)
    lines: Sequence[int] | None = None
    unread: list[DataError] | None = [] if reading.lenient else None
    text = decode(raw, path, encoding=reading.encoding, lenient=reading.lenient and kind == "jsonl")
    if kind == "jsonl":
        found, lines = jsonl.parse_lines(text, name, unread=unread)
    elif kind == "json":
        found, lines = jsonl.parse(text, name, unread=unread)
    elif kind == "conll":
        found, lines = conll.parse(text, name)
    elif kind == "text":
        parsed, lines = documents.parse(text, reading.documents)
        found = dict(parsed)
    else:
        parsed, lines = delimited.parse(text, name, delimiter=reading.delimiter or ("\t" if kind == "tsv" else None))
        found = dict(parsed)
    return Table(found, [Part(name, 0, lines)], unread=unread or [])


def _tables(source: Any, *, reading: Reading | None, columns: Mapping[str, str] | None) -> list[Table]:
    """Return the tables of one path: several where it is a folder or a pattern."""
    if isinstance(source, sql.Query) or sql.is_database(source):
        query = source if isinstance(source, sql.Query) else sql.Query.of(source)
        table = sql.read(query, columns=list(columns) if columns else None)
        require_columns(list(table.columns), dict(columns or {}), where=table.name)
        return [table]
    paths = find_files(source, plain=reading is not None and reading.plain)
    return [read_file(path, reading=reading, columns=columns) for path in paths]


def _are_paths(source: Any) -> bool:
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(item, PATHS) for item in source)
