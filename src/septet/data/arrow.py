"""Arrow: IPC files (`.arrow`, `.feather`) and streams, and the folders that `datasets`' `save_to_disk` writes, without `datasets`.

Columns by name; class numbers become names where the file says what they mean. A saved folder is told by its `state.json`, which
lists the files of one split; a folder of several splits by its `dataset_dict.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from septet.data.parquet import class_names, name_classes
from septet.errors import DataError, UsageError

STATE, SPLITS = "state.json", "dataset_dict.json"
FILE, STREAM, OLD = b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"


def is_arrow(raw: bytes) -> bool:
    """Whether bytes are those of an Arrow file or stream."""
    return raw.startswith((FILE, STREAM, OLD))


def parse(raw: bytes, name: str, *, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Return the columns of an Arrow file or stream; only those named where all of them are there.

    Raises:
        DataError: the file is damaged, not Arrow, or has no rows.
    """
    import pyarrow as pa

    if raw.startswith(OLD):
        raise DataError(
            "The file is Feather of version 1, which is no Arrow file.",
            where=name,
            hint="write it again: pandas.read_feather(FILE).to_feather(FILE)",
        )
    try:
        buffer = pa.BufferReader(raw)
        with pa.ipc.open_file(buffer) if raw.startswith(FILE) else pa.ipc.open_stream(buffer) as source:
            table = source.read_all()
        table.validate(
            full=True
        )  # there are no checksums, and an offset that leads out of the file would end the process
        names = table.column_names
        wanted = list(columns) if columns is not None and set(columns) <= set(names) else names
        found = {column: table.column(column).to_pylist() for column in wanted if names.count(column) == 1}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DataError(f"The file is damaged or not Arrow ({reason}).", where=name) from None
    if len(set(names)) < len(names):
        raise DataError("The file names a column twice.", where=name, received=names)
    if not table.num_rows:
        raise DataError("The file has no rows.", where=name)
    classes = class_names(table.schema.metadata)
    return {column: name_classes(values, classes.get(column)) for column, values in found.items()}


def saved_files(folder: Path) -> list[Path] | None:
    """Return the files of a split that `save_to_disk` wrote, in their order; None where the folder is not one.

    Raises:
        UsageError: the folder holds several splits.
        DataError: its list cannot be read, or a file that it names is missing.
    """
    splits = saved_splits(folder)
    if splits:
        raise UsageError(
            f"The folder holds several splits ({', '.join(splits)}).",
            where=str(folder),
            hint=f"name one: {next(iter(splits.values()))}",
        )
    state = _json(folder / STATE)
    listed = state.get("_data_files") if isinstance(state, dict) else None
    if not listed:
        return None
    if not isinstance(listed, list) or not all(isinstance(each, dict) and "filename" in each for each in listed):
        raise DataError("The list of the folder's files cannot be read.", where=str(folder / STATE))
    found = [folder / Path(str(each["filename"])).name for each in listed]
    missing = next((path for path in found if not path.is_file()), None)
    if missing is not None:
        raise DataError(
            f"A file of the saved data set is missing: {missing.name}.",
            where=str(folder / STATE),
            hint="copy the whole folder again",
        )
    return found


def saved_splits(folder: Path) -> dict[str, Path]:
    """Return split -> its folder, of what `DatasetDict.save_to_disk` wrote; empty where the folder is not that."""
    value = _json(folder / SPLITS)
    names = value.get("splits") if isinstance(value, dict) else None
    return {str(name): folder / str(name) for name in names if (folder / str(name)).is_dir()} if names else {}


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise DataError("The JSON of a saved data set cannot be read.", where=str(path)) from None
