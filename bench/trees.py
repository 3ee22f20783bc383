"""Rows of numbers: the starter on their text beside gradient-boosted trees on the numbers themselves, on the same rows and splits.

    python -m bench.trees ../shared/data/adbench_tabular/4_breastw.npz --seeds 3

Both learn the rows of train that Septet kept, and answer its test split; a fifth of the rows each for validation and test, cut by the seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from septet import journey
from septet.data.store import Prepared
from septet.evaluate import evaluate
from septet.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="an .npz with X and y")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--epochs", type=int, help="of the starter; as many as Septet derives where it is left out")
    chosen = parser.parse_args()
    for data in chosen.data:
        found = [compare(data, seed, chosen) for seed in range(chosen.seeds)]
        for who in found[0]:
            right, seconds = (np.array([each[who][i] for each in found]) for i in (0, 1))
            spread = f"{right.min():.1%} to {right.max():.1%}"
            print(f"{Path(data).stem:16} {who:14} {right.mean():6.1%} ({spread})  {seconds.mean():6.2f} s", flush=True)


def compare(data: str, seed: int, chosen: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Return accuracy on test and seconds of learning, by who learned."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = journey.train(recipe(data, seed, chosen), run=Path(folder) / "run").run
        tuned_s = time.perf_counter() - started
        evaluate(run)
        scores = {(s["split"], s["who"], s["metric"]): s["value"] for s in run.records("scores.jsonl")}
        right, trees_s = trees(run, seed)
        found = {"starter": (scores["test", "tuned", "accuracy"], tuned_s), "trees": (right, trees_s)}
        found |= {who: (scores["test", who, "accuracy"], 0.0) for who in ("tfidf", "majority")}
        return found


def recipe(data: str, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "data": {"train": str(Path(data).resolve()), "split": {"validation": 0.2, "test": 0.2, "seed": seed}},
        "task": {"name": "classify", "columns": "all", "label": "y"},
        "model": chosen.model,
        "train": {"seed": seed, "epochs": chosen.epochs},
        "evaluate": {"baselines": ["majority", "tfidf"], "bootstrap": 100},
    }


def trees(run: Run, seed: int) -> tuple[float, float]:
    """Return the accuracy of gradient-boosted trees on the rows of a run, and seconds of learning."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    prepared = Prepared.of(run)
    names = list(run.read_json("data.json")["located"]["columns"])
    (train, labels), (test, wanted) = (numbers(prepared.rows(split), names) for split in ("train", "test"))
    started = time.perf_counter()
    model = HistGradientBoostingClassifier(random_state=seed).fit(train, labels)
    seconds = time.perf_counter() - started
    return float((model.predict(test) == wanted).mean()), seconds


def numbers(rows: list[dict[str, Any]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, F) values, NaN where one is missing, and (N,) labels."""
    cells = [dict(cell.split(": ") for cell in row["columns"].split("; ")) for row in rows]
    return np.array([[float(row.get(name, "nan")) for name in names] for row in cells]), np.array(
        [r["y"] for r in rows]
    )


if __name__ == "__main__":
    main()
