"""Parquet: columns by name; class numbers become names where the file says what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from septet.errors import DataError

MAGIC = b"PAR1"
BATCH = 50_000  # rows turned into Python values at a time


def parse(raw: bytes | Path, name: str, *, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Return the columns of a Parquet file, or of its bytes; only those named where all of them are there.

    Raises:
        DataError: the file is damaged, not Parquet, or has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            pa.BufferReader(raw) if isinstance(raw, bytes) else raw, pre_buffer=False, page_checksum_verification=True
        )
        names = file.schema_arrow.names
        wanted = list(columns) if columns is not None and set(columns) <= set(names) else names
        values: dict[str, list[Any]] = {column: [] for column in dict.fromkeys(wanted) if names.count(column) == 1}
        for batch in file.iter_batches(BATCH, columns=wanted, use_threads=False):
            for column, found in values.items():
                found += batch.column(column).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: bytes that are not text
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DataError(f"The file is damaged or not Parquet ({reason}).", where=name) from None
    if len(set(names)) < len(names):
        raise DataError("The file names a column twice.", where=name, received=names)
    if not file.metadata.num_rows:
        raise DataError("The file has no rows.", where=name)
    classes = class_names(file.schema_arrow.metadata)
    return {column: name_classes(found, classes.get(column)) for column, found in values.items()}


def class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return column -> label names from the `huggingface` entry of a schema's metadata."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            key: list(f["names"])
            for key, f in features.items()
            if isinstance(f, dict) and f.get("_type") == "ClassLabel" and f.get("names")
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # other metadata under the same key says nothing about classes


def name_classes(values: list[Any], names: Sequence[str] | None) -> list[Any]:
    """Return class numbers as names; -1, which hub data sets use for "no label", is None."""
    if names is None:
        return values
    return [v if not isinstance(v, int) else names[v] if 0 <= v < len(names) else None for v in values]
