"""Where each split comes from: files, a database, a hub data set, or a table in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from septet.data import media, sql
from septet.data.ask import media_of, reads_documents
from septet.data.draft import is_test
from septet.data.files import find_files, format_of, in_archive
from septet.data.hub import read_hub
from septet.data.jsonl import UNREADABLE
from septet.data.read import Reading, read
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.table import Stamp, Table, require_columns
from septet.errors import RecipeError, UsageError
from septet.recipe.data import counted
from septet.report import Finding

IN_MEMORY = "<memory>"  # what a recipe holds for a split that was given as a table from Python


@dataclass(frozen=True, slots=True)
class Source:
    """One split's source: `paths` and queries of databases (`plain`: of which `.txt` is plain text; `media`: which may be folders of pictures or recordings), a `table` in memory, or the split `hub_split` at `hub`.

    `given` says of each path which of the recipe's it was found by: a folder or a pattern names several files. `wanted` says of those of the
    recipe that ask for a number of rows, `a.jsonl#500`, how many, and what they are called.
    """

    split: str
    paths: tuple[Path | sql.Query, ...] = ()
    given: tuple[int, ...] = ()
    wanted: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    plain: bool = False
    media: str | None = None
    table: Any = None
    hub: str | None = None
    hub_split: str = ""

    @property
    def address(self) -> list[str]:
        """What names the source without opening it; part of the key under which prepared data are found again."""
        if self.hub is not None:
            return [f"hub {self.hub} {self.hub_split}"]
        return ["memory"] if self.table is not None else [_address(path) for path in self.paths]

    def load(self, recipe: Any, schema: Schema | None) -> Table:
        """Return the table, every column of it without a schema; only train must have those of group and time. Pictures and recordings are looked at."""
        table = self._table(recipe, schema)
        if schema is None or schema.media is None:
            return table
        base = None if recipe.data.media is None else recipe.path(recipe.data.media).absolute()
        if base is not None and not base.exists() and in_archive(base) is None:
            raise UsageError("There is no such folder and no such archive.", where=str(base), hint="data.media")
        return media.look(table, schema.texts[0], schema.media, base=base)

    def _table(self, recipe: Any, schema: Schema | None) -> Table:
        everything = None if schema is None or recipe.data.annotations is not None else schema.keys
        if schema is not None and self.split != "train" and (schema.group is not None or schema.time is not None):
            everything = None
        if self.hub is not None:
            hub = recipe.data.hub
            return read_hub(
                self.hub,
                self.hub_split,
                name=hub.name,
                revision=hub.revision,
                columns=list(everything) if everything else None,
            )
        if self.table is not None:
            return read(self.table, columns=everything, name=self.split)
        reading = _reading(recipe.data, plain=self.plain, media=self.media)
        return read(list(self.paths), reading=reading, columns=everything)


def find_sources(recipe: Any, tables: Mapping[str, Any] | None = None) -> list[Source]:
    """Return the source of each split that is given, train first, then validation, then the tests.

    Raises:
        UsageError: a file is missing, or `tables` has a split that does not exist.
        RecipeError: a sample is asked of a split that is not given, or plain text is to be cut and there is none.
    """
    found = _from_memory(tables or {})
    data, plain = recipe.data, reads_documents(recipe)
    for split in ("train", "validation"):
        value = getattr(data, split)
        if split not in found and value is not None:
            found[split] = _from_files(split, value, recipe=recipe, plain=plain)
    tests = data.test if isinstance(data.test, dict) else {} if data.test is None else {"": data.test}
    for name, value in tests.items():
        split = f"test.{name}" if name else "test"
        if split not in found:
            found[split] = _from_files(split, value, recipe=recipe, plain=plain)
    for split, hub_split in (data.hub.splits if data.hub is not None else {}).items():
        if split not in ("train", "validation") and not is_test(split):
            raise RecipeError(
                "data.hub.splits maps train, validation and test to the data set's own names.",
                received=split,
                hint="splits: {train: train, test: test}",
            )
        if split not in found:
            found[split] = Source(split, hub=_hub_path(recipe), hub_split=hub_split)
    if "train" not in found:
        raise UsageError("There are no rows to train on.", hint="data.train: FILE, or tables={'train': …} from Python")
    _check_sample(data.sample, set(found))
    _check_documents(data, found.values())
    _check_sheet(data, found.values())
    return sorted(found.values(), key=lambda s: (is_test(s.split), s.split != "train"))


def target_rows(recipe: Any, schema: Schema) -> tuple[Rows, list[Stamp], list[Finding]]:
    """Return the rows of `data.target` that are files, their stamps, and what was found while they were read; the label is None where they have none.

    Raises:
        UsageError: a file is missing.
        RecipeError: a column of text is missing.
    """
    source = _from_files("target", recipe.data.target, recipe=recipe, plain=reads_documents(recipe))
    for name, _ in source.wanted.values():
        raise RecipeError("data.target is read whole.", received=name, hint=f"target: {counted(name)[0]}")
    needed = {column: f"{schema.keys[column]}, for data.target" for column in schema.members or schema.required}
    table = read(list(source.paths), reading=_reading(recipe.data, plain=source.plain))
    require_columns(list(table.columns), needed, where=table.name)
    for column in schema.members or schema.texts:
        table.columns.setdefault(column, [None] * len(table))
    labelled = schema.label in table.columns
    bare = replace(schema, group=None, label=schema.label if labelled else None)
    return bare.extract(table), table.stamps, table.findings


def benchmark_sources(recipe: Any) -> dict[str, Source]:
    """Return the source of each benchmark of `data.against`, by its name: the one given, or that of the file.

    Raises:
        UsageError: a file is missing.
        RecipeError: a number of rows is asked of a file.
    """
    given = recipe.data.against
    if not isinstance(given, dict):
        paths = recipe.data.files("against")
        titles = [sql.title(path) if sql.is_database(path) else Path(path).name for path in paths]
        given = {
            title if title and titles.count(title) == 1 else sql.hide(path): path
            for title, path in zip(titles, paths, strict=True)
        }
    found = {name: _from_files("against", value, recipe=recipe, plain=True) for name, value in given.items()}
    for source in found.values():
        for name, _ in source.wanted.values():
            raise RecipeError("A benchmark is read whole.", received=name, hint=f"against: {counted(name)[0]}")
    return found


def read_benchmark(source: Source, recipe: Any) -> Table:
    """Return the table of a benchmark, every column of it; plain text by paragraphs."""
    data = recipe.data
    lenient = UNREADABLE in data.allow
    reading = Reading("auto", data.encoding, data.delimiter, plain=True, documents="paragraph", lenient=lenient)
    return read(list(source.paths), reading=reading)


def origins(source: Source, table: Table) -> np.ndarray:
    """Return (N,) int32: by which of the recipe's paths, counted from 0, each row of a source's table was found; 0 where there are no paths."""
    if not source.paths:
        return np.zeros(len(table), dtype=np.int32)
    starts = [*(part.start for part in table.parts), len(table)]
    given = [source.given[part.source] for part in table.parts]
    return np.repeat(np.array(given, dtype=np.int32), np.diff(starts))


def content_stamp(split: str, rows: Rows) -> Stamp:
    """Return the stamp of a table in memory: a hash of the columns in use."""
    content = json.dumps([rows.texts, rows.labels, rows.groups], ensure_ascii=True).encode()
    return Stamp(f"memory:{split}", len(content), 0, hashlib.sha256(content).hexdigest())


def _from_memory(tables: Mapping[str, Any]) -> dict[str, Source]:
    for split in tables:
        if split not in ("train", "validation") and not is_test(split):
            raise UsageError("A table's name is train, validation, test or test.NAME.", received=split)
    return {split: Source(split, table=table) for split, table in tables.items() if table is not None}


def _from_files(split: str, value: Any, *, recipe: Any, plain: bool) -> Source:
    names = [value] if isinstance(value, str) else list(value)
    if IN_MEMORY in names:
        raise UsageError(
            f"The recipe's {split} rows were a table in memory.", hint=f"give them again: tables={{'{split}': table}}"
        )
    wanted: dict[int, tuple[str, int]] = {}
    found: list[tuple[Path | sql.Query, int]] = []
    for i, name in enumerate(names):
        path, rows = counted(name)
        if rows is None or recipe.path(name).exists():  # a file may be called so
            path = name
        else:
            wanted[i] = (name, rows)
        found += [(each, i) for each in _paths(path, recipe, plain=plain)]
    paths, given = tuple(path for path, _ in found), tuple(i for _, i in found)
    return Source(split, paths, given, wanted, plain, media_of(recipe))


def _reading(data: Any, *, plain: bool, media: str | None = None) -> Reading:
    lenient = UNREADABLE in data.allow
    told = data.format, data.encoding, data.delimiter, plain, data.documents, data.sheet, lenient
    return Reading(*told, media=media)


def _paths(name: str, recipe: Any, *, plain: bool) -> Sequence[Path | sql.Query]:
    """Return the files that a path of the recipe names, or its query."""
    if sql.is_database(name):
        return [sql.Query.of(name, folder=recipe.folder)]
    if media_of(recipe) and media.is_folder(recipe.path(name)):
        return [recipe.path(name)]
    return find_files(recipe.path(name), plain=plain)


def _address(path: Path | sql.Query) -> str:
    return path.address if isinstance(path, sql.Query) else str(path.resolve())


def _hub_path(recipe: Any) -> str:
    local = recipe.path(recipe.data.hub.path)
    return str(local) if Path(local).is_dir() else recipe.data.hub.path


def _check_sample(sample: Any, given: set[str]) -> None:
    if sample is None:
        return
    for split in ("validation", "test"):
        if getattr(sample, split) is not None and not any(g == split or g.startswith(f"{split}.") for g in given):
            raise RecipeError(
                f"data.sample.{split} draws from a {split} split that is given; here it is cut from train.",
                hint=f"give data.{split}, or set its size with data.split.{split}",
            )


def _check_documents(data: Any, sources: Iterable[Source]) -> None:
    if data.documents is None:
        return
    files = [(path, source.plain) for source in sources for path in source.paths if isinstance(path, Path)]
    if not any(data.format == "text" or format_of(path, plain=plain) in ("text", "archive") for path, plain in files):
        raise RecipeError(
            "data.documents would be ignored: no plain text is read.",
            received=data.documents,
            hint="remove data.documents; or data.format: text, where the files are plain text",
        )


def _check_sheet(data: Any, sources: Iterable[Source]) -> None:
    if data.sheet is None or data.format == "excel":
        return
    if all(
        not isinstance(path, Path) or format_of(path) not in ("excel", "archive")
        for source in sources
        for path in source.paths
    ):
        raise RecipeError(
            "data.sheet would be ignored: no spreadsheet is read.",
            received=data.sheet,
            hint="remove data.sheet; or data.format: excel, where the files are spreadsheets",
        )
