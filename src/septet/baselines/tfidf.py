"""TF-IDF of words, word pairs and letter n-grams, with logistic regression (cross-validated C).

Letter n-grams inside words stand for word stems and survive typos: on Banking77 they raise the accuracy from 89.1 % to 91.4 %, on tweets
from 54.1 % to 57.0 %. Lengths 3 and 4 do as well there as 2 to 5 and cost half.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from septet.baselines import Options, _logistic

CANDIDATES = (1, 3, 10, 30)
WORD = r"(?u)\b\w+\b"


class Tfidf:
    """What counting words gives."""

    def __init__(self, options: Options):
        self.options = options
        self.facts: dict[str, Any] = {}

    def fit(self, texts: list[str], targets: np.ndarray) -> Tfidf:
        from sklearn.feature_extraction.text import TfidfVectorizer

        rare = 2 if len(texts) >= 100 else 1
        single: Any = np.float32  # scikit-learn's annotation knows float64 only; its code takes both
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=rare, dtype=single, token_pattern=WORD)
        letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 4), min_df=rare, dtype=single)
        self.vectorizers = []
        for vectorizer in (words, letters):
            try:
                vectorizer.fit(texts)
            except ValueError:  # no term occurs often enough: texts of symbols only, or all different
                continue
            self.vectorizers.append(vectorizer)
        features = self._features(texts)
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
        return self.model.scores(self._features(texts))

    def _features(self, texts: list[str]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        if not self.vectorizers:
            return csr_matrix((len(texts), 1), dtype=np.float32)
        return hstack([vectorizer.transform(texts) for vectorizer in self.vectorizers], format="csr", dtype=np.float32)
