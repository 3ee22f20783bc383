"""Rows that are held against the model: test sets, validation, a sample of train, and other labelled data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from septet.data.clean import Cleaning, clean_texts
from septet.data.read import Reading, read
from septet.data.rows import row_ids
from septet.data.schema import Schema
from septet.data.store import ROW, Prepared
from septet.errors import DataError

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
    """

    name: str
    role: Role
    rows: list[dict[str, Any]]
    source: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    unknown_counts: dict[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64 row ids."""
        return np.array([row[ROW] for row in self.rows], dtype=np.int64)


def held_in(recipe: Any, prepared: Prepared) -> list[Held]:
    """Return the test sets and validation of prepared data."""
    found = [_held(recipe, prepared, split, "test") for split in prepared.tests]
    if "validation" in prepared.splits:
        found.append(_held(recipe, prepared, "validation", "selection"))
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
        DataError: it cannot be read, or no row has a text and a label.
    """
    schema = Schema.of(recipe)
    name = Path(source).name if isinstance(source, (str, Path)) else "data"
    reading = Reading("auto", recipe.data.encoding, recipe.data.delimiter)
    rows = schema.extract(read(source, reading=reading, name=name), without_group=True)
    rows.texts, _ = clean_texts(rows.texts, Cleaning.of(recipe.data.clean))
    without_label = [label is None or not label.strip() for label in rows.labels]
    without_text = [not all(texts) for texts in rows.texts]
    kept = [i for i in range(len(rows)) if not without_label[i] and not without_text[i]]
    dropped = {
        "no label": sum(without_label),
        "no text": sum(t and not n for t, n in zip(without_text, without_label, strict=True)),
    }
    if not kept:
        raise DataError(
            "No row has both a text and a label.", where=str(source), hint=f"columns: {', '.join(schema.columns)}"
        )
    rows = rows.take(kept)
    found = [
        {ROW: row, **dict(zip(schema.texts, texts, strict=True)), schema.label: label}
        for row, texts, label in zip(row_ids(rows), rows.texts, rows.labels, strict=True)
    ]
    taken = {*prepared.splits, TRAIN_SAMPLE}
    held = Held(f"{name} (file)" if name in taken else name, "on", found, str(source) if name != "data" else name)
    held.dropped = {reason: n for reason, n in dropped.items() if n}
    return _counted(held, recipe, prepared)


def _held(recipe: Any, prepared: Prepared, split: str, role: Role) -> Held:
    return _counted(Held(split, role, prepared.rows(split), split), recipe, prepared)


def _counted(held: Held, recipe: Any, prepared: Prepared) -> Held:
    known = set(prepared.labels)
    labels = Counter(str(row[recipe.task.label]) for row in held.rows)
    held.unknown_counts = {label: n for label, n in labels.most_common() if label not in known}
    return held
