"""What `septet label` gains over random picks: accuracy by the rows labelled, over several seeds.

The rows of a labelled set play the pool: a row's label is looked up when it is picked. Each seed draws a pool of `POOL` of the training rows, both ways pick
from it in the same rounds, and after each a logistic regression on the frozen vectors of the starter (as the baseline `features`, C = 3)
is scored on all test rows. The model is not fine-tuned: that would take hours and is another question; what is measured is which rows are worth a label.
Intervals are t-intervals over the seeds, of the difference paired by seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench import table
from septet.baselines._logistic import fit
from septet.data.read import read
from septet.engine.machine import machine
from septet.labelling.picks import C, centred, pick
from septet.model.features import Features

POOL = 0.8
BUDGETS = (100, 200, 300, 400, 500, 600, 800, 1000)
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # two-sided


@dataclass(frozen=True)
class Options:
    """What is measured."""

    train: Path
    test: Path
    work: Path
    text: str = "text"
    label: str = "label"
    seeds: int = 5
    budgets: tuple[int, ...] = field(default=BUDGETS)


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved."""
    vectors, labels = _embedded(options, options.train, say)
    test_vectors, test_labels = _embedded(options, options.test, say)
    curves: dict[str, list[list[float]]] = {"random": [], "septet": []}
    seconds: list[float] = []
    for seed in range(options.seeds):
        pool = np.random.default_rng(seed).permutation(len(labels))[: round(POOL * len(labels))]
        for way, found in curves.items():
            started = time.process_time()
            found.append(_curve(way, vectors[pool], labels[pool], (test_vectors, test_labels), options.budgets, seed))
            if way == "septet":
                seconds.append(round(time.process_time() - started, 1))
            say(f"seed {seed} {way:<7} " + " ".join(f"{100 * value:.1f}" for value in found[-1]))
    gains = np.array(curves["septet"]) - np.array(curves["random"])
    return {
        "what": "label",
        "options": {**asdict(options), "work": None, "train": options.train.name, "test": options.test.name},
        "facts": {
            "machine": machine(options.work),
            "versions": {n: version(n) for n in ("torch", "scikit-learn", "numpy")},
        },
        "rows": {"train": len(labels), "test": len(test_labels), "labels": len(set(labels.tolist()))},
        "curves": curves,
        "cpu_seconds": seconds,
        "gain": [interval(column.tolist()) for column in gains.T],
        "mean_gain": interval(gains.mean(1).tolist()),
    }


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of a few values with its 95 % t-interval."""
    n, mean = len(values), float(np.mean(values))
    half = T_95[n - 1] * float(np.std(values, ddof=1)) / math.sqrt(n)
    return {"value": mean, "low": mean - half, "high": mean + half}


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    rows = []
    for i, budget in enumerate(result["options"]["budgets"]):
        ways = [100 * float(np.mean([curve[i] for curve in result["curves"][way]])) for way in ("random", "septet")]
        gain = result["gain"][i]
        rows.append([f"{budget:,}", *[f"{way:.1f}" for way in ways], _points(gain)])
    rows.append(["mean", "", "", _points(result["mean_gain"])])
    counts, seeds = result["rows"], result["options"]["seeds"]
    about = (
        f"{counts['labels']} labels; pools of {round(POOL * counts['train']):,} of {counts['train']:,} training rows, {counts['test']:,} test rows, {seeds} seeds. "
        "Accuracy of a logistic regression on the starter's frozen vectors, %; the gain with its 95 % interval over the seeds, paired."
    )
    return f"{about}\n\n{table.markdown(['rows labelled', 'random', 'septet label', 'gain, points'], rows)}"


def _points(gain: dict[str, float]) -> str:
    return f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"


def _curve(
    way: str,
    vectors: np.ndarray,
    labels: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    budgets: Sequence[int],
    seed: int,
) -> list[float]:
    order = np.random.default_rng(seed + 1000).permutation(len(labels)).tolist()
    scaled, mean = centred(vectors), vectors.mean(0)
    tested = (test[0] - mean) / float((vectors - mean).std())
    known: dict[int, str] = {}
    found = []
    for budget in budgets:
        if way == "random":
            new = order[len(known) : budget]
        else:
            new = [each.row for each in pick(vectors, known, num=budget - len(known), seed=seed)]
        known |= {row: str(labels[row]) for row in new}
        names, targets = np.unique(list(known.values()), return_inverse=True)
        model = fit(scaled[list(known)], targets, num_labels=len(names), c=C)
        found.append(float((names[model.scores(tested).argmax(1)] == test[1]).mean()))
    return found


def _embedded(options: Options, path: Path, say: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors and the labels of a file; vectors are kept in the work folder by the file's hash."""
    read_table = read(path)
    texts, labels = read_table.columns[options.text], np.array(read_table.columns[options.label])
    kept = options.work / "label" / f"{read_table.stamps[0].sha256[:16]}.npy"
    if not kept.exists():
        say(f"embedding {len(texts):,} rows of {path.name}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, Features("starter").encode(texts))
    return np.load(kept, allow_pickle=False), labels
