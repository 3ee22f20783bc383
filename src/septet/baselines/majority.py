"""Always the most frequent label of the training rows, with the label shares as probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options


class Majority:
    """What a model that reads nothing would answer."""

    answers: ClassVar[Kind] = "choices"
    reads_texts: ClassVar[bool] = False

    def __init__(self, options: Options):
        self.options = options
        self.facts: dict[str, Any] = {}

    def fit(self, texts: list[str], targets: np.ndarray) -> Majority:
        self.shares = np.bincount(targets, minlength=self.options.num_labels) / len(targets)
        self.facts = {"share": float(self.shares.max())}
        return self

    def scores(self, texts: list[str]) -> np.ndarray:
        """Return (N, K) float64: the training shares for every text."""
        return np.tile(self.shares, (len(texts), 1))
