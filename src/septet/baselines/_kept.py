"""Baselines of a run, fitted when needed and their answers kept, so that a second `evaluate` is quick.

`baselines.json` says what was fitted, on which prepared data, with which choices and in how many seconds, and the hash of the answers. Those
are in `baselines.safetensors`, a tensor of probabilities `name/split` each, or, where a task is answered with texts, in `baselines.jsonl`, a
line `{"who", "split", "texts"}` each. An entry counts only for the same prepared data, options and rows; damaged files count for nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from septet import registry
from septet.baselines import Kind, Options, check_kind
from septet.durable import write_atomic
from septet.errors import RunError, UsageError
from septet.run import Run

FACTS = "baselines.json"
FILES: dict[Kind, str] = {"choices": "baselines.safetensors", "texts": "baselines.jsonl"}
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
        self._file = run.path / FILES[options.answers]
        self._facts, self._answers = self._load()

    def missing(self, names: Sequence[str], splits: Mapping[str, np.ndarray]) -> list[str]:
        """Return the baselines that have not answered all these rows: split -> row ids."""
        return [name for name in names if any(not self._holds(name, split, rows) for split, rows in splits.items())]

    def fit(
        self,
        name: str,
        train: tuple[list[str], np.ndarray | list[str]],
        splits: Mapping[str, tuple[list[str], np.ndarray]],
    ) -> None:
        """Fit a baseline, and keep its answers to the splits.

        Args:
            train: texts and targets, or prompts and references.
            splits: split -> texts or prompts, and row ids.

        Raises:
            UsageError: the baseline does not answer as the task does, or leaves rows without an answer.
        """
        check_kind([name], self.options.answers)
        before = self._facts["baselines"].get(name, {})
        began = time.perf_counter()
        baseline = registry.part("baseline", name)(replace(self.options, known=before.get("facts", {})))
        baseline.fit(*train)
        fitted = time.perf_counter()
        answered = {split: _rows_hash(rows) for split, (_, rows) in splits.items()}
        self._answers |= {
            f"{name}/{split}": self._answer(name, baseline, texts) for split, (texts, _) in splits.items()
        }
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
        scores = self._answers[f"{name}/{split}"].astype(np.float64)
        return scores / scores.sum(1, keepdims=True)

    def texts(self, name: str, split: str) -> list[str]:
        """Return the N texts it wrote, in the order of the rows."""
        return list(self._answers[f"{name}/{split}"])

    def facts(self) -> dict[str, Any]:
        """Return what is known of each baseline: seconds, rows, choices."""
        shown = ("fit_s", "answer_s", "rows", "facts")
        return {name: {key: facts[key] for key in shown} for name, facts in self._facts["baselines"].items()}

    def _holds(self, name: str, split: str, rows: np.ndarray) -> bool:
        known = self._facts["baselines"].get(name, {}).get("splits", {})
        return known.get(split) == _rows_hash(rows) and f"{name}/{split}" in self._answers

    def _answer(self, name: str, baseline: Any, texts: list[str]) -> Any:
        """Return (N, K) float32 probabilities, or N texts."""
        writes = self.options.answers == "texts"
        found = list(baseline.write(texts)) if writes else np.asarray(baseline.scores(texts), dtype=np.float32)
        if len(found) != len(texts):
            raise UsageError(f"The baseline {name} must give one answer a row: {len(texts):,}.", received=len(found))
        return found

    def _load(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is kept; nothing, if it was made for something else or does not fit together."""
        fresh: dict[str, Any] = {**self._identity, "baselines": {}}
        if not self._file.is_file() or not (self.run.path / FACTS).is_file():
            return fresh, {}
        try:
            facts = self.run.read_json(FACTS)
        except RunError:  # not JSON: cut short, or overwritten
            return fresh, {}
        raw = self._file.read_bytes()
        same = isinstance(facts, dict) and all(facts.get(key) == value for key, value in self._identity.items())
        if not same or facts.get("sha256") != hashlib.sha256(raw).hexdigest():
            return fresh, {}
        return facts, (_read_texts if self.options.answers == "texts" else _read_scores)(raw)

    def _save(self) -> None:
        raw = (_texts_bytes if self.options.answers == "texts" else _scores_bytes)(self._answers)
        write_atomic(self._file, raw)
        self.run.write_json(FACTS, {**self._facts, "sha256": hashlib.sha256(raw).hexdigest()})


def _scores_bytes(answers: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({key: np.ascontiguousarray(scores) for key, scores in answers.items()})


def _read_scores(raw: bytes) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return load(raw)


def _texts_bytes(answers: dict[str, list[str]]) -> bytes:
    lines = []
    for key, texts in answers.items():
        who, _, split = key.partition("/")
        lines.append(json.dumps({"who": who, "split": split, "texts": texts}, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _read_texts(raw: bytes) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in raw.decode().split("\n") if line]
    return {f"{line['who']}/{line['split']}": line["texts"] for line in lines}


def _rows_hash(rows: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows, dtype=np.int64).tobytes(), digest_size=16).hexdigest()
