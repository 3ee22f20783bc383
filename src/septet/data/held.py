"""Rows that are held against the model: test sets, validation, a sample of train, and other labelled data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from septet.data.ask import reads_documents, task_of
from septet.data.clean import clean_rows
from septet.data.cleaning.labels import adopt
from septet.data.media import look
from septet.data.read import Reading, read
from septet.data.rows import Rows, row_ids
from septet.data.schema import Schema
from septet.data.sql import hide, is_database, title
from septet.data.store import ROW, Prepared
from septet.data.unusable import empty, malformed, unlabelled
from septet.errors import DataError
from septet.report import Finding

Role = Literal["test", "selection", "train", "on"]
TRAIN_SAMPLE = "train (sample)"


@dataclass(slots=True)
class Held:
    """One set of rows to score.

    Args:
        role: `test`; `selection`, which chose the checkpoint; `train`, which the model learnt from; `on`, other data.
        rows: dicts with `_row` and the task's columns.
        source: where the rows come from.
        dropped: rows that cannot be scored, by reason.
        unknown_counts: rows by label that the model does not know, most frequent first.
        findings: what is to be told of how they were read.
    """

    name: str
    role: Role
    rows: list[dict[str, Any]]
    source: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    unknown_counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64 row ids."""
        return np.array([row[ROW] for row in self.rows], dtype=np.int64)


def held_in(recipe: Any, prepared: Prepared) -> list[Held]:
    """Return the test sets and validation of prepared data."""
    found = [_held(prepared, split, "test") for split in prepared.tests]
    if "validation" in prepared.splits:
        found.append(_held(prepared, "validation", "selection"))
    return [split for split in found if split.rows]


def sample_of_train(recipe: Any, prepared: Prepared) -> list[Held]:
    """Return a seeded sample of the training rows; nothing when `evaluate.train_sample` is 0."""
    wanted = recipe.evaluate.train_sample
    if not wanted:
        return []
    rows = prepared.rows("train")
    drawn = np.sort(np.random.default_rng(recipe.evaluate.seed).permutation(len(rows))[:wanted])
    return [Held(TRAIN_SAMPLE, "train", [rows[i] for i in drawn], "train")]


def read_on(recipe: Any, prepared: Prepared, source: Any) -> Held:
    """Return other labelled data, cleaned as the training rows were.

    Raises:
        UsageError: the file is missing.
        RecipeError: it lacks the recipe's columns.
        DataError: it cannot be read, or no row can be scored.
    """
    schema, task = prepared.schema, task_of(recipe, prepared.located)
    name = title(source) if is_database(source) else Path(source).name if isinstance(source, (str, Path)) else "data"
    data = recipe.data
    reading = Reading("auto", data.encoding, data.delimiter, reads_documents(recipe), data.documents, data.sheet)
    table = read(source, reading=replace(reading, media=schema.media), name=name)
    if schema.media:
        table = look(table, schema.texts[0], schema.media)
    rows = schema.extract(table, without_group=True)
    if not schema.media:
        clean_rows(rows, prepared.cleaning(recipe.data.clean), classes=schema.classes)
    if schema.classes and recipe.data.clean.labels == "merge":
        rows.labels = adopt(rows.labels, prepared.labels)
    rows, dropped = _scorable(rows, schema, task)
    if not len(rows):
        raise DataError(
            f"No row {'has both a text and a label' if schema.classes else 'can be read'}.",
            where=hide(str(source)),
            received=", ".join(f"{n:,} {reason}" for reason, n in dropped.items()),
            hint=f"columns: {', '.join(schema.columns)}",
        )
    found = [{ROW: row, **record} for row, record in zip(row_ids(rows), schema.records(rows), strict=True)]
    if table.media is not None:
        (column,) = schema.texts
        found = [{**row, column: table.media.known[row[column]].address} for row in found]
    taken = {*prepared.splits, TRAIN_SAMPLE}
    held = Held(f"{name} (file)" if name in taken else name, "on", found, hide(str(source)) if name != "data" else name)
    held.dropped = table.left_out | dropped
    held.findings = [replace(each, evidence={"split": held.name, **each.evidence}) for each in table.findings]
    return _counted(held, prepared)


def _scorable(rows: Rows, schema: Schema, task: Any) -> tuple[Rows, dict[str, int]]:
    """Return the rows that can be scored, and how many cannot, by reason."""
    dropped: dict[str, int] = {}
    for reason, find in (
        ("no label" if schema.classes else "no answer", unlabelled),
        ("no text", empty),
        ("malformed", partial(malformed, task=task)),
    ):
        gone = set(find(rows, schema))
        dropped[reason] = len(gone)
        rows = rows.take([i for i in range(len(rows)) if i not in gone])
    return rows, {reason: n for reason, n in dropped.items() if n}


def _held(prepared: Prepared, split: str, role: Role) -> Held:
    return _counted(Held(split, role, prepared.rows(split), split), prepared)


def _counted(held: Held, prepared: Prepared) -> Held:
    """Fill in the labels that are not known, where they are classes."""
    schema = prepared.schema
    if schema.classes and schema.label is not None:
        labels = Counter(str(row[schema.label]) for row in held.rows)
        held.unknown_counts = {label: n for label, n in labels.most_common() if label not in prepared.labels}
    return held
