"""Read any table: CSV, TSV, JSON, JSON lines, Parquet, plain text, packed (.gz, .xz, .zst), folders and lists of these, or memory.

`read("tickets.csv").rows()` gives dicts with every value as written: the text "NA" stays text. Errors name the file and
the line. The formats live in `delimited`, `jsonl`, `parquet` and `documents` (plain text); tables in memory in `memory`, hub data in `hub`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.data import delimited, documents, jsonl, parquet
from septet.data.files import decode, find_files, format_of, read_bytes, shown
from septet.data.memory import read_memory
from septet.data.table import Part, Table, concatenate, require_columns
from septet.errors import DataError


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Args:
        format: auto: from the ending.
        delimiter: None: detected.
        plain: whether `.txt` is plain text, not CSV, where the ending says the format.
        documents: how plain text is cut into documents; see `documents.parse`.
        lenient: lines of JSON lines that cannot be read are left out, and are in the table's `unread`.
    """

    format: str = "auto"
    encoding: str = "utf-8"
    delimiter: str | None = None
    plain: bool = False
    documents: str | None = None
    lenient: bool = False


def read(
    source: Any, *, reading: Reading | None = None, columns: Mapping[str, str] | None = None, name: str = "data"
) -> Table:
    """Return the table a source holds.

    Args:
        source: a path, a list of paths, or a table in memory.
        columns: column -> the recipe key that names it; they must be in every file. None: whatever is there.
        name: what messages call a table in memory.

    Raises:
        UsageError: a file is missing, or the value is no table.
        RecipeError: a column is missing.
        DataError: a file cannot be read as its format; names file and line.
    """
    if isinstance(source, (str, Path)) or _are_paths(source):
        paths = find_files(source, plain=reading is not None and reading.plain)
        return concatenate([read_file(path, reading=reading, columns=columns) for path in paths])
    table = read_memory(source, name, columns=list(columns) if columns else None)
    require_columns(list(table.columns), dict(columns or {}), where=name)
    return table


def read_file(path: Path, *, reading: Reading | None = None, columns: Mapping[str, str] | None = None) -> Table:
    """Return the table of one file; see `read`."""
    reading = reading or Reading()
    kind = reading.format if reading.format != "auto" else format_of(path, plain=reading.plain)
    name = shown(path)
    raw, stamp = read_bytes(path)
    lines: Sequence[int] | None = None
    unread: list[DataError] | None = [] if reading.lenient else None
    if kind == "parquet":
        found: dict[str, list[Any]] = parquet.parse(raw, name, columns=list(columns) if columns else None)
    else:
        text = decode(raw, path, encoding=reading.encoding, lenient=reading.lenient and kind == "jsonl")
        if kind == "jsonl":
            found, lines = jsonl.parse_lines(text, name, unread=unread)
        elif kind == "json":
            found, lines = jsonl.parse(text, name, unread=unread)
        elif kind == "text":
            parsed, lines = documents.parse(text, reading.documents)
            found = dict(parsed)
        else:
            parsed, lines = delimited.parse(
                text, name, delimiter=reading.delimiter or ("\t" if kind == "tsv" else None)
            )
            found = dict(parsed)
    require_columns(list(found), dict(columns or {}), where=name)
    return Table(found, [Part(name, 0, lines)], [stamp], unread or [])


def _are_paths(source: Any) -> bool:
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(item, (str, Path)) for item in source)
