"""Hub data sets, and local folders in the hub's layout, through the `datasets` package.

The package is imported only here and only when a recipe has `data.hub`. Data sets that come with code are refused:
nothing downloaded is ever run. Class numbers become their names.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from septet.data.memory import read_memory
from septet.data.table import Part, Stamp, Table
from septet.errors import DataError, MissingExtraError, UsageError


def read_hub(
    path: str, split: str, *, name: str | None = None, revision: str | None = None, columns: Sequence[str] | None = None
) -> Table:
    """Return one split of a hub data set.

    Args:
        path: `owner/name`, or a local folder in the hub's layout.
        name: the configuration, where a data set has several.
        revision: commit, tag or branch; pin it for a run that can be repeated.

    Raises:
        MissingExtraError: `datasets` is not installed.
        UsageError: no such data set, configuration or split.
        DataError: the data set needs code of its own, or cannot be read.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub", "Reading a hub data set (data.hub)") from None
    local = Path(path).is_dir()
    if local and list(Path(path).glob("*.py")):
        raise DataError(
            "The data set comes with code; Septet reads data and never runs such code.",
            where=path,
            hint="convert it to Parquet first",
        )
    with _quiet(datasets):
        try:
            found = datasets.load_dataset(path, name, split=split, revision=None if local else revision)
        except Exception as error:
            raise _explain(error, path, split=split) from error
    table = read_memory(found, f"{path} {split}", columns=columns)
    stamps = folder_stamps(Path(path)) if local else [_remote_stamp(found, path)]
    return Table(table.columns, [Part(f"{path} [{split}]", 0)], stamps)


def folder_stamps(folder: Path) -> list[Stamp]:
    """Return the stamps of all files of a local data set, for seeing later that it is unchanged."""
    stamps = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        status = file.stat()
        stamps.append(
            Stamp(
                str(file.resolve()), status.st_size, status.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()
            )
        )
    return stamps


def _remote_stamp(found: Any, path: str) -> Stamp:
    """Return the commit that was read, from the addresses of the downloaded files."""
    addresses = sorted(found.info.download_checksums or {})
    at = next((a.split("@", 1)[1].split("/", 1)[0] for a in addresses if "@" in a), "unknown")
    size = sum(item.get("num_bytes") or 0 for item in (found.info.download_checksums or {}).values())
    content = hashlib.sha256("\n".join(addresses).encode()).hexdigest()
    return Stamp(f"hf://datasets/{path}@{at}", size, 0, content)


def _explain(error: Exception, path: str, *, split: str) -> Exception:
    text = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    if "Unknown split" in text or "BuilderConfig" in text or "Config name is missing" in text:
        return UsageError(
            f"The data set has no such split or configuration: {text}",
            where=f"{path} [{split}]",
            hint="data.hub.name, data.hub.splits",
        )
    if "script" in text.lower() and "no longer supported" in text:
        return DataError(
            "The data set comes with code; Septet reads data and never runs such code.",
            where=path,
            hint="a revision with Parquet files: data.hub.revision: refs/convert/parquet",
        )
    if kind in ("DatasetNotFoundError", "FileNotFoundError", "EmptyDatasetError", "DataFilesNotFoundError"):
        return UsageError(
            f"There is no such data set here: {text}",
            where=path,
            hint="owner/name on the hub, or a local folder; a gated one needs `hf auth login`",
        )
    if kind in ("ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectTimeout"):
        return DataError(
            f"The hub cannot be reached: {text}",
            where=path,
            hint="download the data set where there is a network, and name its folder in data.hub.path",
        )
    return DataError(f"The data set cannot be read ({kind}): {text}", where=f"{path} [{split}]")


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Hold back the progress bars of `datasets`; the caller's setting comes back."""
    enabled = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()
