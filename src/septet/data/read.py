"""Read any table: CSV, TSV, JSON, JSON lines, Parquet, Arrow, spreadsheets, arrays of NumPy, plain text, packed (.gz, .xz, .zst), archives, folders and lists of these, databases, or memory.

`read("tickets.csv").rows()` gives dicts with every value as written: the text "NA" stays text. Errors name the file and
the line. Which encoding a text has is told in `encoding`, what is in an archive in `archive`. The formats live in `delimited`, `jsonl`, `parquet`, `arrow`, `excel`, `arrays` (NumPy), `conll`, `squad` and `documents` (plain text); databases in `sql`, tables in memory
in `memory`, hub data in `hub`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from septet.data import (
    archive,
    arrays,
    arrow,
    conll,
    delimited,
    documents,
    excel,
    jsonl,
    media,
    parquet,
    sql,
    squad,
    stream,
)
from septet.data.encoding import AUTO, check_head, decode
from septet.data.files import (
    ARCHIVES,
    CHUNK,
    FORMATS,
    LONGEST_LINE,
    ending,
    find_files,
    format_of,
    in_archive,
    measured,
    packing_in,
    read_bytes,
    shown,
    unpacked,
)
from septet.data.memory import read_memory
from septet.data.table import Part, Table, concatenate, require_columns
from septet.errors import DataError

PATHS = (str, Path, sql.Query)
LONGEST_JSON = 512 << 20  # bytes of a pipe; parsed it takes several times that
OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file)",
    b"%PDF-": "a PDF",
    b"\x89PNG\r\n": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"RIFF": "sound, an image or a film",
    b"OggS": "sound",
    b"fLaC": "sound",
    b"\x7fELF": "a program",
    b"\x80\x02": "a pickle of Python",
    b"\x80\x03": "a pickle of Python",
    b"\x80\x04": "a pickle of Python",
    b"\x80\x05": "a pickle of Python",
    b"BZh": "packed by bzip2, which is not read here",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip",
    b"Rar!\x1a": "an archive of RAR",
    b"\x89HDF": "a file of HDF5",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Args:
        format: auto: from the content where it begins as only one format does, else from the ending.
        encoding: auto: UTF-8, or what the bytes tell; see `encoding.decode`.
        delimiter: None: detected.
        plain: whether `.txt` is plain text, not CSV, where the ending says the format.
        documents: how plain text is cut into documents; see `documents.parse`.
        sheet: the sheet of a spreadsheet; None: the first that holds anything.
        lenient: lines of JSON lines that cannot be read are left out, and are in the table's `unread`.
        bare: whether a header without rows is a table too, in CSV and spreadsheets.
        media: which files a folder (or an archive) without a table holds; see `media.folder`.
    """

    format: str = "auto"
    encoding: str = AUTO
    delimiter: str | None = None
    plain: bool = False
    documents: str | None = None
    sheet: str | None = None
    lenient: bool = False
    bare: bool = False
    media: str | None = None


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
    within = None if path.exists() else in_archive(path)
    path, only = within or (path, None)
    table = _large(path, reading, columns=columns) if columns else None
    if table is not None:
        return table
    raw, stamp = read_bytes(path, longest=lambda head: _longest(head, path, reading))
    if ending(path) in ARCHIVES or (archive.is_archive(raw) and not _is_one_table(raw)):
        table = _unpacked(raw, path, only=only, reading=reading, columns=columns)
    else:
        table = _parsed(raw, path, shown(path), reading=reading, columns=columns)
    table.stamps = [stamp]
    return table


def _longest(head: bytes, path: Path, reading: Reading) -> int | None:
    """Return how long the lines of a file may be that begins so; a pipe of JSON, which has to be held as a whole, is one line.

    Raises:
        RecipeError: neither its name nor its beginning tells the format.
    """
    if head.startswith(b"PK") or archive.is_archive(head) or ending(path) in ARCHIVES:
        return None
    kind = _kind(head, path, shown(path), reading=reading)
    if kind == "json":
        return None if path.is_file() else LONGEST_JSON
    if kind in ("excel", "parquet", "arrow", "numpy"):
        return None
    if reading.encoding == AUTO and not reading.lenient:
        check_head(head, shown(path))
    return LONGEST_LINE


def _unpacked(
    raw: bytes, path: Path, *, only: str | None, reading: Reading, columns: Mapping[str, str] | None
) -> Table:
    """Return the rows of all tables in an archive, or of the one or the folder that is named."""
    name = shown(path)
    members, told = archive.tables(raw, name, plain=reading.plain, only=only)
    found = []
    for member in members:
        place, inner = f"{name}/{member.name}", Path(member.name)
        content = member.read()
        packing = packing_in(content)
        if packing is not None:
            content = b"".join(unpacked(content, path / member.name, packing=packing))
        if archive.is_archive(content) and not _is_one_table(content):
            raise DataError("There is an archive in the archive.", where=place, hint="unpack it")
        if not content:
            raise DataError("The file is empty.", where=place)
        for _ in measured(_chunks(content), place, most=_longest(content, inner, reading)):
            pass
        found.append(_parsed(content, inner, place, reading=reading, columns=columns))
    table = concatenate(found)
    table.parts = [replace(part, source=0) for part in table.parts]
    table.findings += [told] if told is not None else []
    return table


def _is_one_table(raw: bytes) -> bool:
    """Whether a zip is a table of its own: a spreadsheet, or arrays of NumPy."""
    return excel.is_spreadsheet(raw) or arrays.is_arrays(raw)


def _chunks(content: bytes) -> Iterator[bytes]:
    return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


def _kind(raw: bytes, path: Path, name: str, *, reading: Reading) -> str:
    found = content_format(raw, name)
    return reading.format if reading.format != "auto" else found or format_of(path, plain=reading.plain)


def _parsed(raw: bytes, path: Path, name: str, *, reading: Reading, columns: Mapping[str, str] | None) -> Table:
    """Return the table that bytes are; the path says by its ending of which format."""
    kind = _kind(raw, path, name, reading=reading)
    table = _binary(raw, name, kind=kind, reading=reading, columns=columns)
    if table is None:
        table = _text(raw, name, kind=kind, reading=reading)
    require_columns(list(table.columns), dict(columns or {}), where=table.name)
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
        DataError: it is a database, or something that is no table.
    """
    if excel.is_spreadsheet(raw):
        return "excel"
    if arrays.is_arrays(raw):
        return "numpy"
    other = next((what for magic, what in OTHERS.items() if raw.startswith(magic)), None)
    if other is not None:
        raise DataError(f"The file is {other}, not a table.", where=name)
    if raw.startswith(sql.MAGIC):
        raise DataError("The file is a database of SQLite.", where=name, hint=f"sqlite:///{name}#TABLE")
    if arrow.is_arrow(raw):
        return "arrow"
    return "parquet" if raw.startswith(parquet.MAGIC) else None


def _binary(raw: bytes, name: str, *, kind: str, reading: Reading, columns: Mapping[str, str] | None) -> Table | None:
    """Return the table of a format that is no text; None of one that is."""
    wanted = list(columns) if columns else None
    if kind == "excel":
        return excel.parse(raw, name, sheet=reading.sheet, bare=reading.bare)
    if kind == "numpy":
        return Table(arrays.parse(raw, name), [Part(name, 0)])
    if kind in ("parquet", "arrow"):
        parse = parquet.parse if kind == "parquet" else arrow.parse
        return Table(parse(raw, name, columns=wanted), [Part(name, 0)])
    return None


def _text(raw: bytes, name: str, *, kind: str, reading: Reading) -> Table:
    lines: Sequence[int] | None = None
    unread: list[DataError] | None = [] if reading.lenient else None
    decoded = decode(raw, name, encoding=reading.encoding, lenient=reading.lenient and kind == "jsonl")
    text, told = decoded.text, decoded.findings
    if kind == "jsonl":
        found, lines = jsonl.parse_lines(text, name, unread=unread)
    elif kind == "json":
        found, lines = jsonl.parse(text, name, unread=unread)
        told += squad.misplaced(found, name) if tuple(found) == squad.COLUMNS else []
    elif kind == "conll":
        found, lines = conll.parse(text, name)
    elif kind == "text":
        parsed, lines = documents.parse(text, reading.documents)
        found = dict(parsed)
    else:
        dialect = delimited.detect(text, delimiter=reading.delimiter or ("\t" if kind == "tsv" else None))
        parsed, lines = delimited.parse(text, name, dialect=dialect, bare=reading.bare)
        told += dialect.told(name, given=kind == "tsv" or reading.delimiter is not None)
        found = dict(parsed)
    return Table(found, [Part(name, 0, lines)], unread=unread or [], findings=told)


def _tables(source: Any, *, reading: Reading | None, columns: Mapping[str, str] | None) -> list[Table]:
    """Return the tables of one path: several where it is a folder or a pattern."""
    if isinstance(source, sql.Query) or sql.is_database(source):
        query = source if isinstance(source, sql.Query) else sql.Query.of(source)
        table = sql.read(query, columns=list(columns) if columns else None)
        require_columns(list(table.columns), dict(columns or {}), where=table.name)
        return [table]
    if reading is not None and reading.media and media.is_folder(Path(source)):
        table = media.folder(Path(source), reading.media)
        require_columns(list(table.columns), dict(columns or {}), where=table.name)
        return [table]
    paths = find_files(source, plain=reading is not None and reading.plain)
    return [read_file(path, reading=reading, columns=columns) for path in paths]


def _are_paths(source: Any) -> bool:
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(item, PATHS) for item in source)
