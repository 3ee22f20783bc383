"""Probabilities of labels by the rows that are nearest: a second opinion on rows, beside the logistic regression of `_folds`.

The two err on other rows. A regression draws one line between two labels through the whole set, and rows beyond it look wrong; neighbours know small
regions, and nothing of the line. Their mean finds flipped labels with fewer false ones among the first (docs/why.md).

Cosine of the vectors, `NEAREST` rows of the other folds, each counted by exp(`SHARPNESS` · cosine). Of many rows, `MOST` drawn ones can be neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from septet.baselines._terms import unit

NEAREST, SHARPNESS = 30, 8.0
MOST = 50_000
_CELLS = 16_000_000  # of a block of cosines: 64 MB


class Neighbours:
    """Rows whose labels are known.

    Args:
        vectors: (N, F) float32, dense or CSR.
        targets: (N,) int64 below `num_labels`.
        numbers: (N,) int64 the fold of each row.
    """

    def __init__(self, vectors: Any, targets: np.ndarray, numbers: np.ndarray, *, num_labels: int, seed: int = 0):
        self._vectors, self._numbers = unit(vectors), numbers
        count = len(targets)
        drawn = np.arange(count) if count <= MOST else np.sort(np.random.default_rng(seed).permutation(count)[:MOST])
        self._known, self._targets, self._known_numbers = self._vectors[drawn], targets[drawn], numbers[drawn]
        self._num_labels = num_labels

    def of_others(self) -> np.ndarray:
        """Return (N, K) float32: each row by its neighbours in other folds."""
        return self._scores(self._vectors, self._numbers)

    def scores(self, vectors: Any) -> np.ndarray:
        """Return (M, K) float32 of rows that are in no fold."""
        return self._scores(unit(vectors), np.full(vectors.shape[0], -1))

    def _scores(self, vectors: Any, numbers: np.ndarray) -> np.ndarray:
        found = np.zeros((vectors.shape[0], self._num_labels), dtype=np.float32)
        step = max(1, _CELLS // max(1, len(self._targets)))
        nearest = min(NEAREST, len(self._targets))
        for at in range(0, len(found), step):
            cosines = vectors[at : at + step] @ self._known.T
            cosines = np.asarray(cosines.toarray() if hasattr(cosines, "toarray") else cosines, dtype=np.float32)
            cosines[numbers[at : at + step, None] == self._known_numbers] = -np.inf
            places = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
            weights = np.exp(SHARPNESS * np.take_along_axis(cosines, places, 1))  # 0 where a fold leaves fewer
            weights /= np.maximum(weights.sum(1, keepdims=True), np.float32(1e-12))
            np.add.at(found[at : at + step], (np.arange(len(places))[:, None], self._targets[places]), weights)
        return found
