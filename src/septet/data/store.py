"""Prepared data on disk: one folder a preparation, named by the hash of everything that went into it.

`prepared/<hash>/` holds a Parquet file for each split and `manifest.json` with the sha256 of each. The folder is written
under a temporary name and renamed, so that a reader, or a second process preparing the same data, sees all of it or nothing.
`Prepared.rows(split)` opens that split's file only; a file that is not what the manifest says is named.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from septet.data import media as seen
from septet.data.clean import Cleaning
from septet.data.draft import is_test
from septet.data.ledger import Ledger
from septet.data.rows import Rows, row_ids
from septet.data.schema import Schema
from septet.data.table import Stamp
from septet.durable import sync, write_atomic
from septet.errors import DataError, UsageError
from septet.report import Finding, Report
from septet.run import Run

FORMAT = 3  # raise it when the same raw files give other prepared rows, or a manifest holds more of them
MANIFEST = "manifest.json"
ROW = "_row"
SHA256 = "_row_sha256"  # of its file, where rows are files
MEDIA = "media.json"
SOURCE = "_row_source"  # by which of the recipe's paths a row was found; beside the columns, and no part of a row


class Prepared:
    """Prepared data: splits, labels, ledger and findings; rows are read when asked for."""

    def __init__(self, path: Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> Prepared:
        """Open a folder of prepared data.

        Raises:
            UsageError: the folder is missing, or holds no prepared data.
            DataError: its manifest is damaged, or of a format this version does not read.
        """
        path = Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise UsageError("The folder holds no prepared data.", where=str(path), hint="septet prepare RECIPE")
        try:
            manifest = json.loads(file.read_text())
            known = manifest["format"]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                "The manifest of the prepared data is damaged.", where=str(file), hint=_again(path)
            ) from None
        if known != FORMAT:
            raise DataError(
                f"The prepared data have format {known}; this version reads {FORMAT}.",
                where=str(file),
                hint=_again(path),
            )
        return cls(path, manifest)

    @classmethod
    def of(cls, run: Run) -> Prepared:
        """Open the prepared data a run points to.

        Raises:
            UsageError: the run was not prepared yet, or its prepared data are gone.
        """
        return cls.open((run.path / run.read_json("data.json")["prepared"]).resolve())

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Split -> `rows`, `file`, `sha256`, `bytes`."""
        return self.manifest["splits"]

    @property
    def tests(self) -> list[str]:
        """The names of the test splits."""
        return [split for split in self.splits if is_test(split)]

    @property
    def labels(self) -> list[str]:
        return self.manifest["labels"]

    @property
    def schema(self) -> Schema:
        """The columns of the rows."""
        return Schema.from_json(self.manifest["columns"])

    @property
    def located(self) -> dict[str, Any]:
        """Option of the task -> the column that was found for it in the data, where a recipe names none."""
        return self.manifest.get("located", {})

    @property
    def lines(self) -> list[str]:
        """The repeated lines that were taken out of the texts (`data.clean.boilerplate`)."""
        return self.manifest.get("lines", [])

    def cleaning(self, options: Any) -> Cleaning:
        """Return how texts are cleaned as these were, by a recipe's `data.clean`."""
        if self.schema.media:
            return Cleaning("none", control=False, whitespace=False)
        return Cleaning.of(options, layout=self.schema.layout, lines=self.lines)

    @property
    def ledger(self) -> Ledger:
        return Ledger.from_json(self.manifest["ledger"])

    @property
    def findings(self) -> Report:
        return Report(Finding.from_json(value) for value in self.manifest["findings"])

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Return the rows of a split as dicts with `_row` (its id) and the recipe's columns.

        Raises:
            UsageError: there is no such split.
            DataError: its file is missing or is not the one that was written, or a picture or recording of it has changed since.
        """
        if split not in self.splits:
            raise UsageError(
                f"There is no split {split!r}.", where=str(self.path), hint=f"its splits: {', '.join(self.splits)}"
            )
        table = _read_parquet(self._raw(split))
        if SHA256 in table.column_names:
            (column,) = self.schema.texts
            files = zip(*(table.column(name).to_pylist() for name in (column, SHA256)), strict=True)
            seen.check(self.schema.thing, self.watched(), files)
        return table.drop_columns([name for name in (SOURCE, SHA256) if name in table.column_names]).to_pylist()

    def drawn(self, split: str, most: int) -> list[dict[str, Any]]:
        """Return up to `most` rows of a split, evenly spread; errors as in `rows`."""
        num = min(most, self.splits[split]["rows"])
        if not num:
            return []
        import pyarrow as pa

        table = _read_parquet(self._raw(split))
        places = [(2 * i + 1) * len(table) // (2 * num) for i in range(num)]
        # `take` imports pyarrow's functions, and for its list of places pandas, where it is installed: half a second
        return pa.concat_tables(table.slice(place, 1) for place in places).to_pylist()

    def sources(self) -> np.ndarray:
        """Return (N,) int64: of each row of train, by which of the paths in `data.train` it was found, counted from 0.

        Raises:
            DataError: its file is missing or is not the one that was written.
        """
        table = _read_parquet(self._raw("train"))
        if SOURCE not in table.column_names:
            return np.zeros(len(table), dtype=np.int64)
        return np.array(table.column(SOURCE).to_pylist(), dtype=np.int64)

    def watched(self) -> dict[str, list[int]]:
        """Return each file and folder that rows were looked for in, with the size and time it had; nothing where rows are texts."""
        return json.loads((self.path / MEDIA).read_text()) if self.schema.media else {}

    def intact(self) -> bool:
        """Whether every file is there with the size it had, and every picture or recording; none is opened."""
        for facts in self.splits.values():
            file = self.path / facts["file"]
            if not file.is_file() or file.stat().st_size != facts["bytes"]:
                return False
        return seen.unchanged(self.watched())

    def to_json(self, run: Run) -> dict[str, Any]:
        """Return what a run's `data.json` holds; the folder is relative to the run, so that both can move."""
        names = ("splits", "ledger", "findings", "labels", "profile", "raw", "columns")
        return {
            "prepared": os.path.relpath(self.path.resolve(), run.path.resolve()),
            "hash": self.manifest["hash"],
            **{name: self.manifest[name] for name in names},
            "located": self.located,
        }

    def _raw(self, split: str) -> bytes:
        file = self.path / self.splits[split]["file"]
        raw = file.read_bytes() if file.is_file() else None
        if raw is None or hashlib.sha256(raw).hexdigest() != self.splits[split]["sha256"]:
            state = "missing" if raw is None else "damaged: its sha256 is not that of the manifest"
            raise DataError(f"The prepared file of {split} is {state}.", where=str(file), hint=_again(self.path))
        return raw


def fingerprint(*facts: Any) -> str:
    """Return the name of prepared data: a hash of JSON facts and the format."""
    text = json.dumps([FORMAT, *facts], sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def find(root: Path, key: str) -> Prepared | None:
    """Return prepared data with this key whose raw files are unchanged; no raw file and no split is opened."""
    for file in sorted(root.glob(f"*/{MANIFEST}")):
        try:
            prepared = Prepared.open(file.parent)
        except (DataError, UsageError):
            continue  # of another format, or being replaced: the raw files are read again
        raw = prepared.manifest["raw"]
        if (
            key in prepared.manifest.get("keys", ())
            and raw
            and all(_stamp(entry).fresh() for entry in raw)
            and prepared.intact()
        ):
            return prepared
    return None


def existing(root: Path, name: str, *, facts: Mapping[str, Any]) -> Prepared | None:
    """Return prepared data of this name if every file is what its manifest says.

    Its raw stamps, and the keys under which it is found while they hold, are brought up to date with the facts.
    """
    folder = root / name
    try:
        prepared = Prepared.open(folder)
    except (DataError, UsageError):
        return None
    for split in prepared.splits.values():
        file = folder / split["file"]
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != split["sha256"]:
            return None
    known = prepared.manifest.get("keys", []) if prepared.manifest["raw"] == facts["raw"] else []
    now = {
        "keys": sorted({*known, *facts["keys"]}),
        "raw": facts["raw"],
        "located": {**prepared.located, **facts["located"]},
    }
    if any(prepared.manifest.get(name) != value for name, value in now.items()):
        prepared.manifest |= now
        write_atomic(folder / MANIFEST, _json(prepared.manifest))
    return prepared


def write(
    root: Path,
    name: str,
    *,
    splits: dict[str, Rows],
    schema: Schema,
    facts: dict[str, Any],
    sources: Sequence[int] | None = None,
    media: seen.Media | None = None,
) -> Prepared:
    """Write prepared data and return them; safe when several processes write the same name.

    Args:
        sources: of each row of train, by which of the recipe's paths it was found; None where there is one.
        media: what the rows' files are, where they are files.
        facts: what the manifest holds beside the splits: keys, raw, located, labels, ledger, findings, profile.
    """
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    try:
        files = {}
        for split, rows in splits.items():
            raw = _parquet(rows, schema, sources if split == "train" else None, media)
            write_atomic(temporary / f"{split}.parquet", raw)
            files[split] = {
                "rows": len(rows),
                "file": f"{split}.parquet",
                "sha256": hashlib.sha256(raw).hexdigest(),
                "bytes": len(raw),
            }
        if media is not None:
            write_atomic(temporary / MEDIA, _json(media.watched))
        manifest = {"format": FORMAT, "hash": name, "columns": asdict(schema), "splits": files, **facts}
        write_atomic(temporary / MANIFEST, _json(manifest))
        _publish(temporary, root / name)
        sync(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = existing(root, name, facts=facts)
    if found is None:
        raise DataError("The prepared data are not what was written.", where=str(root / name), hint=_again(root / name))
    return found


def raw_entry(split: str, stamp: Stamp) -> dict[str, Any]:
    """Return a raw file as the manifest records it."""
    return {"split": split, **asdict(stamp)}


def _stamp(entry: dict[str, Any]) -> Stamp:
    return Stamp(entry["path"], entry["size"], entry["mtime_ns"], entry["sha256"])


def _publish(temporary: Path, folder: Path) -> None:
    """Rename the finished folder into place; a whole one that another process put there first stays."""
    for _ in range(10):
        with contextlib.suppress(OSError):
            temporary.rename(folder)
            return
        if not folder.exists():
            temporary.rename(folder)  # not taken: the error, such as no permission, is the caller's to see
            return
        manifest = json.loads((temporary / MANIFEST).read_text())
        if existing(folder.parent, folder.name, facts=manifest) is not None:
            return
        aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.damaged.tmp")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _read_parquet(raw: bytes) -> Any:
    import pyarrow.parquet as pq

    # no threads of Arrow's: one that still runs when the process ends aborts it, after all work was done
    return pq.ParquetFile(io.BytesIO(raw), pre_buffer=False).read(use_threads=False)


def _parquet(rows: Rows, schema: Schema, sources: Sequence[int] | None, media: seen.Media | None = None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {ROW: pa.array(row_ids(rows), pa.int64())}
    for place, column in enumerate(schema.texts):
        columns[column] = pa.array([texts[place] for texts in rows.texts], pa.string())
    if media is not None:
        (column,) = schema.texts
        columns[SHA256] = columns[column]
        columns[column] = pa.array([media.known[sha256].address for (sha256,) in rows.texts], pa.string())
    if schema.label is not None:
        columns[schema.label] = pa.array(rows.labels, pa.string())
    if schema.group is not None and schema.group not in columns:
        columns[schema.group] = pa.array(rows.groups or [None] * len(rows), pa.string())
    if sources is not None:
        columns[SOURCE] = pa.array(sources, pa.int32())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _again(path: Path) -> str:
    return f"remove the folder {path} and prepare again"
