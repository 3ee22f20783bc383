"""What the data stage finds of what was planted: flipped labels, near duplicates, leaks. `python -m bench.planted WHAT`.

`labels`: of each set, 5, 10 and 20 % of the training labels are flipped to another one, drawn evenly; `data.doubtful` looks for them with the
starter's frozen features, and with TF-IDF. Told are the rows found, precision and recall of these, the precision of the first rows of the list, as many
as were flipped, and how often the suggested label is the true one. Rate 0 says what is found where nothing was planted.

    python -m bench.planted labels [--data banking77 ag_news] [--shared ../shared] [--out bench/results/planted-labels.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from septet import doubt
from septet.baselines import _folds
from septet.data.draft import Draft
from septet.data.read import read
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.recipe import Recipe

RATES = (0.0, 0.05, 0.1, 0.2)
SEED = 0


class Remembered:
    """An encoder that embeds each text once, over all rates."""

    def __init__(self) -> None:
        self._vectors: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str], listen: Any = None) -> np.ndarray:
        from septet.model.features import Features
        from septet.model.load import resolve

        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = Features(resolve("starter"), max_length=doubt.MAX_LENGTH).encode(new)
            self._vectors |= dict(zip(new, vectors, strict=True))
        return np.stack([self._vectors[text] for text in texts])


def rows_of(shared: Path, name: str) -> Rows:
    """Return the training rows of a set, each text once."""
    table = read(shared / "data" / name / "train.csv.gz")
    labels = dict(zip(table.columns["text"], table.columns["label"], strict=True))
    return Rows([(text,) for text in labels], list(labels.values()), None, list(range(len(labels))), str)


def flip(rows: Rows, rate: float) -> np.ndarray:
    """Flip labels of the rows in place; return (N,) bool: which."""
    rng = np.random.default_rng(SEED)
    labels = sorted(rows.label_counts())
    flipped = np.zeros(len(rows), dtype=bool)
    flipped[rng.permutation(len(rows))[: round(rate * len(rows))]] = True
    for place in np.flatnonzero(flipped):
        others = [label for label in labels if label != rows.labels[place]]
        rows.labels[place] = others[rng.integers(len(others))]
    return flipped


def measure(shared: Path, name: str, features: str, encoder: Any) -> list[dict[str, Any]]:
    """Return one record a rate."""
    recipe = Recipe.load(
        {
            "data": {"train": "train.csv", "doubtful": {"policy": "warn"}},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )
    found = []
    for rate in RATES:
        rows = rows_of(shared, name)
        truth = list(rows.labels)
        flipped = flip(rows, rate)
        draft = Draft({"train": rows}, Schema(("text",), "label"))
        began = time.monotonic()
        doubts = doubt.look(draft, recipe, alike=None, encoder=encoder)
        judged = doubts.judged["train"]
        ranked = judged.ranked
        right = [doubts.labels[int(judged.suggested[i])] == truth[i] for i in ranked if flipped[i]]
        first = ranked[: int(flipped.sum())]
        found.append(
            {
                "data": name,
                "features": features,
                "rate": rate,
                "rows": len(rows),
                "flipped": int(flipped.sum()),
                "accuracy": doubts.accuracy,
                "found": len(ranked),
                "precision": float(flipped[ranked].mean()) if len(ranked) else None,
                "recall": float(flipped[ranked].sum() / flipped.sum()) if rate else None,
                # what the list lacks to the planted number counts as missed
                "precision_at_rate": float(flipped[first].sum() / flipped.sum()) if rate else None,
                "suggestion_right": float(np.mean(right)) if right else None,
                "seconds": time.monotonic() - began,
            }
        )
        print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["labels"])
    parser.add_argument("--data", nargs="+", default=["banking77", "ag_news"])
    parser.add_argument("--features", nargs="+", default=["model", "tfidf"])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    results = []
    for name in chosen.data:
        for features in chosen.features:
            encoder = _folds.Embedded(Remembered()) if features == "model" else _folds.Counted()
            results += measure(chosen.shared, name, features, encoder)
    if chosen.out is not None:
        chosen.out.write_text(
            json.dumps({"command": "python -m bench.planted labels", "results": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
