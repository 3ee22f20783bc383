"""What `init` sees of the data: the files of each split, and of train its table or its plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from septet.data import documents, media, sql
from septet.data.arrow import saved_splits
from septet.data.files import PACKED, find_files, format_of
from septet.data.read import Reading, read
from septet.data.table import Table
from septet.errors import DataError, RecipeError, UsageError
from septet.init._columns import Column, look

SPLIT_FILES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
PROSE_ENDINGS = ("", ".md", ".rst", ".text", ".log")  # `.txt` is known
CUTS = ("paragraph", "line")


@dataclass(frozen=True)
class Seen:
    """The data as they are.

    Args:
        splits: split -> its file or folder, or the address of a database; train always.
        table: of train; of plain text its documents, in the one column `text`.
        plain: whether train is plain text.
        unnamed: whether the name of the file does not say so.
    """

    splits: Mapping[str, Path | str]
    table: Table
    plain: bool = False
    unnamed: bool = False

    @property
    def name(self) -> str:
        train = self.splits["train"]
        return train.name if isinstance(train, Path) else sql.title(train)

    @cached_property
    def columns(self) -> dict[str, Column]:
        return {name: look(name, values) for name, values in self.table.columns.items()}

    def documents(self, cut: str | None) -> int:
        """Return how many documents plain text has where each of its own is cut further."""
        texts = self.table.columns[documents.COLUMN]
        return len(texts) if cut is None else sum(len(documents.parse(text, cut)[1]) for text in texts)


def look_at(data: str | Path, *, table: bool = False, text: bool = False) -> Seen:
    """Return what is seen of data.

    Args:
        table: it is a table, since columns of it are named.
        text: `.txt` is plain text, since that is asked for.

    Raises:
        UsageError: there are no such data.
        DataError: they cannot be read.
    """
    if isinstance(data, str) and sql.is_database(data):
        return Seen({"train": data}, read(data))
    if (found := media.splits(Path(data))) is not None:
        kind, folders = found
        return Seen(folders, media.folder(folders["train"], kind))
    splits = find_splits(Path(data))
    source = splits["train"]
    if not table and _has_text_only(source):
        return Seen(splits, read(source, reading=Reading(plain=True)), plain=True)
    kind = None if source.is_dir() else _kind(source)
    if kind == "unknown" and not table:
        return Seen(splits, read(source, reading=Reading("text")), plain=True, unnamed=True)
    if kind == "text" and not table and (text or not _is_table(source)):
        return Seen(splits, read(source, reading=Reading(plain=True)), plain=True)
    return Seen(splits, read(source))


def find_splits(data: Path) -> dict[str, Path]:
    """Return the files of a folder by split, where their names tell; else the data as train."""
    if data.is_dir():
        saved = saved_splits(data)
        found: dict[str, Path] = {}
        for split, stems in SPLIT_FILES.items():
            found.update((split, saved[stem]) for stem in reversed(stems) if stem in saved)
        if "train" in found:
            return found
        for split, stems in SPLIT_FILES.items():
            for path in sorted(data.iterdir()):
                if path.is_file() and re.split(r"[._-]", path.name.lower())[0] in stems:
                    found.setdefault(split, path)
        if "train" in found:
            return found
    return {"train": data}


def _has_text_only(folder: Path) -> bool:
    """Whether a folder holds plain text, and no table."""
    if not folder.is_dir():
        return False
    try:
        find_files(folder)
    except RecipeError:  # tables of several splits
        return False
    except UsageError:
        return True
    return False


def _kind(path: Path) -> str:
    """Return what a file's name says: a format, `text`, or `unknown` where it may be plain text all the same.

    Raises:
        RecipeError: the name says that it is something else.
    """
    try:
        return format_of(path, plain=True)
    except RecipeError:
        inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
        if inner.suffix.lower() in PROSE_ENDINGS and path.is_file():
            return "unknown"
        raise


def _is_table(source: Path) -> bool:
    """Whether a `.txt` file is a table: a header of several columns, and rows that fit it."""
    try:
        found = read(source)
    except DataError:
        return False
    return len(found.columns) > 1 and len(found) > 1


def quoted(names: Sequence[str]) -> str:
    """Return columns as a command line takes them."""
    import shlex

    return " ".join(map(shlex.quote, names))
