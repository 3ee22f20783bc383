"""Probabilities of rows by models that did not learn from them: logistic regression over folds, on features of the base model or TF-IDF.

What is told of labels by a model that has seen them is worth little: it repeats them. So each row is judged by a model of the other folds.
The features need no label and are computed once. Two texts of a pair are embedded apart, and joined with their difference and product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.baselines import _logistic, features, tfidf
from septet.baselines._terms import Terms
from septet.progress import Listen, quiet

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Models of all folds but one each.

    Args:
        probabilities: (N, K) float32 of the rows, each by the model that has not learned from it.
        models: one a fold.
        c: the C they were fitted with, chosen by cross-validation.
    """

    probabilities: np.ndarray
    models: tuple[_logistic.Logistic, ...]
    c: float

    def scores(self, vectors: Any) -> np.ndarray:
        """Return (N, K) float32 for rows that no model has learned from: the mean over the folds."""
        return np.mean([model.scores(vectors) for model in self.models], axis=0).astype(np.float32)


def out_of_fold(
    vectors: Any,
    targets: np.ndarray,
    folds: Sequence[Sequence[int]],
    *,
    num_labels: int,
    candidates: Sequence[float],
    seed: int,
) -> Judge:
    """Return what the models of the other folds say of each row.

    Args:
        vectors: (N, F) float32, dense or CSR.
        targets: (N,) int64.
        folds: the rows of each fold; together each row once.
        candidates: of C.
    """
    numbers = np.zeros(len(targets), dtype=np.int64)
    for number, fold in enumerate(folds):
        numbers[np.asarray(fold, dtype=np.int64)] = number
    c, _ = _logistic.choose(
        vectors, targets, num_labels=num_labels, candidates=candidates, seed=seed, folds=numbers % _logistic.FOLDS
    )
    probabilities = np.zeros((len(targets), num_labels), dtype=np.float32)
    models: list[_logistic.Logistic] = []
    for number in range(len(folds)):
        held = numbers == number
        # each begins from nothing: the model of another fold has learned from these rows, and a few steps do not undo that
        model = _logistic.fit(vectors[~held], targets[~held], num_labels=num_labels, c=c, tolerance=1e-2)
        probabilities[held] = model.scores(vectors[held])
        models.append(model)
    return Judge(probabilities, tuple(models), c)


class Embedded:
    """Vectors of texts by a checkpoint as it is, centred and scaled as the baseline `features` does.

    Args:
        encoder: anything with `encode(texts, listen) -> (N, H)`.
    """

    candidates = features.CANDIDATES

    def __init__(self, encoder: Any, listen: Listen = quiet):
        self._encoder, self._listen = encoder, listen
        self._center: Any = 0.0
        self._scale = np.float32(1)

    def fit(self, texts: Sequence[Texts]) -> np.ndarray:
        vectors = self._encode(texts)
        self._center = vectors.mean(0)
        spread = float(np.linalg.norm(vectors - self._center, axis=1).mean())
        self._scale = np.float32(features.SPREAD / max(spread, 1e-12))
        return (vectors - self._center) * self._scale

    def vectors(self, texts: Sequence[Texts]) -> np.ndarray:
        return (self._encode(texts) - self._center) * self._scale

    def _encode(self, texts: Sequence[Texts]) -> np.ndarray:
        columns = [
            np.asarray(self._encoder.encode(list(column), listen=self._listen), dtype=np.float32)
            for column in zip(*texts, strict=True)
        ]
        if len(columns) == 2:
            columns += [np.abs(columns[0] - columns[1]), columns[0] * columns[1]]
        return np.concatenate(columns, axis=1)


class Counted:
    """TF-IDF features, for runs whose model cannot embed."""

    candidates = tfidf.CANDIDATES

    def __init__(self) -> None:
        self._terms = Terms()

    def fit(self, texts: Sequence[Texts]) -> Any:
        return self._terms.fit([" ".join(row) for row in texts])

    def vectors(self, texts: Sequence[Texts]) -> Any:
        return self._terms.features([" ".join(row) for row in texts])
