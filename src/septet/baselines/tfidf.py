"""TF-IDF of words, word pairs and letter n-grams, with logistic regression (cross-validated C).

The features are those of `_terms`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options, _logistic
from septet.baselines._terms import Terms

CANDIDATES = (1, 3, 10, 30)


class Tfidf:
    """What counting words gives."""

    answers: ClassVar[Kind] = "choices"

    def __init__(self, options: Options):
        self.options = options
        self.facts: dict[str, Any] = {}

    def fit(self, texts: list[str], targets: np.ndarray) -> Tfidf:
        self.terms = Terms()
        features = self.terms.fit(texts)
        options = self.options
        self.model, self.facts = _logistic.fit_best(
            features,
            targets,
            num_labels=options.num_labels,
            candidates=CANDIDATES,
            seed=options.seed,
            known=options.known,
        )
        self.facts["features"] = features.shape[1]
        return self

    def scores(self, texts: list[str]) -> np.ndarray:
        """Return (N, K) float64 probabilities."""
        return self.model.scores(self.terms.features(texts))
