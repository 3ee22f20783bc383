"""Writing rows to a file as they come: CSV, TSV, JSON lines or Parquet by the file's ending.

A file appears when it is whole: rows go to a temporary name beside it, which is renamed at the end. What is not whole may be kept
under a name that says so.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from septet.errors import DataError, UsageError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Writer(Protocol):
    """Takes rows, chunk by chunk."""

    def write(self, rows: list[dict[str, Any]]) -> None: ...


def part_of(path: Path) -> Path:
    """Return where the first rows of a file are kept that never became whole."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


@contextlib.contextmanager
def open_writer(
    out: str | Path | TextIO, *, keeps: Callable[[BaseException], bool] = lambda _: False
) -> Iterator[Writer]:
    """Open a writer for a file, by its ending, or of JSON lines for a text stream.

    Args:
        keeps: whether the rows that were written before an error stay, in `part_of` the file.

    Raises:
        UsageError: the ending is none of those known here.
    """
    if not isinstance(out, (str, Path)):
        yield Lines(out)
        return
    path = Path(out)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            "The ending of the output does not say its format.", received=path.name, hint=f"one of {', '.join(ENDINGS)}"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            yield _file_writer(temporary, ending, stack=stack)
        temporary.replace(path)
    except BaseException as error:
        if keeps(error) and temporary.exists() and temporary.stat().st_size:
            temporary.replace(part_of(path))
        raise
    finally:
        temporary.unlink(missing_ok=True)


class Lines:
    """JSON lines."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))
        self._file.flush()


class Delimited:
    """CSV or TSV; lists and objects are written as JSON."""

    def __init__(self, file: TextIO, delimiter: str):
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._columns: list[str] = []

    def write(self, rows: list[dict[str, Any]]) -> None:
        if not self._columns:
            self._columns = columns_of(rows)
            self._writer.writerow(self._columns)
        check_columns(rows, self._columns)
        self._writer.writerows([_cell(row.get(column)) for column in self._columns] for row in rows)


class Parquet:
    """Parquet; the first chunk decides the types."""

    def __init__(self, path: Path, on_close: Callable[[Callable[[], Any]], Any]):
        self._path = path
        self._on_close = on_close
        self._writer: Any = None

    def write(self, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = self._writer.schema.names if self._writer else columns_of(rows)
        check_columns(rows, columns)
        values = {column: [row.get(column) for row in rows] for column in columns}
        if self._writer is None:
            schema = pa.schema([pa.field(name, _type(items)) for name, items in values.items()])
            self._writer = pq.ParquetWriter(self._path, schema)
            self._on_close(self._writer.close)
        arrays = [self._array(values[f.name], f) for f in self._writer.schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))

    def _array(self, items: Sequence[Any], field: Any) -> Any:
        import pyarrow as pa

        if pa.types.is_string(field.type):
            items = [None if item is None else _cell(item) for item in items]
        try:
            return pa.array(items, field.type)
        except (pa.ArrowException, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0][:100]
            message = f"The column {field.name!r} changes its type in the middle ({reason})."
            raise DataError(message, hint="write .jsonl instead") from error


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of all columns, in the order they appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def check_columns(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Check that no row has a column which the header lacks.

    Raises:
        DataError: one has.
    """
    known = set(columns)
    for row in rows:
        if not row.keys() <= known:
            extra = next(name for name in row if name not in known)
            raise DataError(f"The column {extra!r} appears in the middle of the rows.", hint="write .jsonl instead")


def _file_writer(path: Path, ending: str, *, stack: contextlib.ExitStack) -> Writer:
    if ending == ".parquet":
        return Parquet(path, stack.callback)
    file = cast(io.TextIOWrapper, stack.enter_context(path.open("w", encoding="utf-8", newline="")))
    if ending in (".csv", ".tsv"):
        return Delimited(file, "\t" if ending == ".tsv" else ",")
    return Lines(file)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _type(items: Sequence[Any]) -> Any:
    import pyarrow as pa

    try:
        found = pa.array(items).type
    except (pa.ArrowException, ValueError, TypeError):
        return pa.string()
    return pa.string() if pa.types.is_null(found) else found
