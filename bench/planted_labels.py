"""`python -m bench.planted labels`: flipped labels, and how many of them `data.doubtful` finds.

Of each set, 5, 10 and 20 % of the training labels are flipped to another one, drawn evenly; `data.doubtful` looks for them with the
starter's frozen features, and with TF-IDF. Told are the rows found, precision and recall of these, the precision of the first rows of the list, as many
as were flipped, and how often the suggested label is the true one; with the starter's features of three draws of the flips. Rate 0 says what is found where nothing was planted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from septet import doubt
from septet.baselines import _folds
from septet.data.draft import Draft
from septet.data.read import read
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.meaning import MAX_LENGTH
from septet.recipe import Recipe

RATES = (0.0, 0.05, 0.1, 0.2)
SEEDS = (0, 1, 2)  # of the flips


class Remembered:
    """An encoder that embeds each text once, over all rates."""

    def __init__(self) -> None:
        self._vectors: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str], listen: Any = None) -> np.ndarray:
        from septet.model.features import Features
        from septet.model.load import resolve

        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = Features(resolve("starter"), max_length=MAX_LENGTH).encode(new)
            self._vectors |= dict(zip(new, vectors, strict=True))
        return np.stack([self._vectors[text] for text in texts])


def rows_of(shared: Path, name: str) -> Rows:
    """Return the training rows of a set, each text once."""
    table = read(shared / "data" / name / "train.csv.gz")
    labels = dict(zip(table.columns["text"], table.columns["label"], strict=True))
    return Rows([(text,) for text in labels], list(labels.values()), None, list(range(len(labels))), str)


def flip(rows: Rows, rate: float, seed: int = 0) -> np.ndarray:
    """Flip labels of the rows in place; return (N,) bool: which."""
    rng = np.random.default_rng(seed)
    labels = sorted(rows.label_counts())
    flipped = np.zeros(len(rows), dtype=bool)
    flipped[rng.permutation(len(rows))[: round(rate * len(rows))]] = True
    for place in np.flatnonzero(flipped):
        others = [label for label in labels if label != rows.labels[place]]
        rows.labels[place] = others[rng.integers(len(others))]
    return flipped


def measure(shared: Path, name: str, features: str, encoder: Any, *, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return one record a rate and seed; at rate 0 one."""
    found = []
    for rate in RATES:
        for seed in seeds if rate else seeds[:1]:
            rows = rows_of(shared, name)
            truth = list(rows.labels)
            flipped = flip(rows, rate, seed)
            facts = {"data": name, "features": features, "rate": rate, "seed": seed}
            found.append(facts | look(rows, truth, flipped, encoder))
            print(json.dumps(found[-1]), flush=True)
    return found


def look(rows: Rows, truth: list[str | None], flipped: np.ndarray, encoder: Any) -> dict[str, Any]:
    """Return what is doubted of rows some of whose labels are flipped."""
    recipe = Recipe.load(
        {
            "data": {"train": "train.csv", "doubtful": {"policy": "warn"}},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )
    began = time.monotonic()
    doubts = doubt.look(Draft({"train": rows}, Schema(("text",), "label")), recipe, alike=None, encoder=encoder)
    judged = doubts.judged["train"]
    ranked = judged.ranked
    planted = int(flipped.sum())
    right = [doubts.labels[int(judged.suggested[i])] == truth[i] for i in ranked if flipped[i]]
    return {
        "rows": len(rows),
        "flipped": planted,
        "accuracy": doubts.accuracy,
        "found": len(ranked),
        "precision": float(flipped[ranked].mean()) if len(ranked) else None,
        "recall": float(flipped[ranked].sum() / planted) if planted else None,
        # what the list lacks to the planted number counts as missed
        "precision_at_rate": float(flipped[ranked[:planted]].sum() / planted) if planted else None,
        "suggestion_right": float(np.mean(right)) if right else None,
        "seconds": time.monotonic() - began,
    }


def records(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return what is found of each set by each kind of features."""
    found = []
    for name in names:
        found += measure(shared, name, "model", _folds.Embedded(Remembered()), seeds=SEEDS)
        found += measure(shared, name, "tfidf", _folds.Counted(), seeds=SEEDS[:1])
    return found
