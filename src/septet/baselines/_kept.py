"""Baselines of a run, fitted when needed and their answers kept, so that a second `evaluate` is quick.

`baselines.json` says what was fitted, on which prepared data, with which choices and in how many seconds; `baselines.safetensors` holds
the probabilities, one tensor `name/split` each. An entry counts only for the same prepared data, options and rows.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from septet import registry
from septet.baselines import Options
from septet.run import Run, write_atomic

FACTS = "baselines.json"
SCORES = "baselines.safetensors"
FORMAT = 1


class Kept:
    """The baselines of one run.

    Args:
        key: name of the prepared data; the fits belong to it.
        options: what the baselines are told.
    """

    def __init__(self, run: Run, key: str, options: Options):
        self.run = run
        self.options = options
        self._identity = {
            "format": FORMAT,
            "prepared": key,
            "labels": list(options.labels),
            "model": options.model,
            "max_length": options.max_length,
            "seed": options.seed,
            "shots": options.shots,
            "prompt": options.prompt,
        }
        self._facts, self._scores = self._load()

    def missing(self, names: Sequence[str], splits: Mapping[str, np.ndarray]) -> list[str]:
        """Return the baselines that have not answered all these rows: split -> row ids."""
        return [name for name in names if any(not self._holds(name, split, rows) for split, rows in splits.items())]

    def fit(
        self, name: str, train: tuple[list[Any], np.ndarray], splits: Mapping[str, tuple[list[Any], np.ndarray]]
    ) -> None:
        """Fit a baseline, and keep its answers to the splits.

        Args:
            train: texts and targets.
            splits: split -> texts and row ids.
        """
        before = self._facts["baselines"].get(name, {})
        began = time.perf_counter()
        baseline = registry.part("baseline", name)(replace(self.options, known=before.get("facts", {})))
        baseline.fit(*train)
        fitted = time.perf_counter()
        answered = {split: _rows_hash(rows) for split, (_, rows) in splits.items()}
        for split, (texts, _) in splits.items():
            self._scores[f"{name}/{split}"] = baseline.scores(texts).astype(np.float32)
        self._facts["baselines"][name] = {
            "fit_s": round(before.get("fit_s", fitted - began), 3),
            "answer_s": round(time.perf_counter() - fitted, 3),
            "rows": len(train[0]),
            "facts": baseline.facts,
            "splits": before.get("splits", {}) | answered,
        }
        self._save()

    def scores(self, name: str, split: str) -> np.ndarray:
        """Return (N, K) float64 probabilities that add up to 1."""
        scores = self._scores[f"{name}/{split}"].astype(np.float64)
        return scores / scores.sum(1, keepdims=True)

    def facts(self) -> dict[str, Any]:
        """Return what is known of each baseline: seconds, rows, choices."""
        shown = ("fit_s", "answer_s", "rows", "facts")
        return {name: {key: facts[key] for key in shown} for name, facts in self._facts["baselines"].items()}

    def _holds(self, name: str, split: str, rows: np.ndarray) -> bool:
        known = self._facts["baselines"].get(name, {}).get("splits", {})
        return known.get(split) == _rows_hash(rows) and f"{name}/{split}" in self._scores

    def _load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what is kept; nothing, if it was made for something else or does not fit together."""
        fresh: dict[str, Any] = {**self._identity, "baselines": {}}
        file = self.run.path / SCORES
        if not file.is_file() or not (self.run.path / FACTS).is_file():
            return fresh, {}
        facts, raw = self.run.read_json(FACTS), file.read_bytes()
        same = all(facts.get(key) == value for key, value in self._identity.items())
        if not same or facts.get("sha256") != hashlib.sha256(raw).hexdigest():
            return fresh, {}
        from safetensors.numpy import load

        return facts, load(raw)

    def _save(self) -> None:
        from safetensors.numpy import save

        raw = save({name: np.ascontiguousarray(scores) for name, scores in self._scores.items()})
        write_atomic(self.run.path / SCORES, raw)
        self.run.write_json(FACTS, {**self._facts, "sha256": hashlib.sha256(raw).hexdigest()})


def _rows_hash(rows: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows, dtype=np.int64).tobytes(), digest_size=16).hexdigest()
