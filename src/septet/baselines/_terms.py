"""TF-IDF features of texts: words, word pairs, and letter n-grams within words.

Letter n-grams inside words stand for word stems and survive typos: with the logistic regression of `tfidf` they raise the accuracy on
Banking77 from 89.1 % to 91.4 %, on tweets from 54.1 % to 57.0 %. Lengths 3 and 4 do as well there as 2 to 5 and cost half.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WORD = r"(?u)\b\w+\b"
MANY = 100  # texts; from there on a term that only one of them has is left out


class Terms:
    """The terms of some texts; other texts are described by the same ones."""

    def __init__(self) -> None:
        self.vectorizers: list[Any] = []

    def fit(self, texts: list[str]) -> Any:
        """Learn the terms of these texts, and return their features."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        rare = 2 if len(texts) >= MANY else 1
        single: Any = np.float32  # scikit-learn's annotation knows float64 only; its code takes both
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=rare, dtype=single, token_pattern=WORD)
        letters = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 4), min_df=rare, dtype=single)
        self.vectorizers, found = [], []
        for vectorizer in (words, letters):
            try:
                features: Any = vectorizer.fit_transform(texts)
            except ValueError:  # no term occurs often enough: texts of symbols only, or all different
                continue
            features.sort_indices()  # as `transform` leaves them
            self.vectorizers.append(vectorizer)
            found.append(features)
        return _joined(found, len(texts))

    def features(self, texts: list[str]) -> Any:
        """Return an (N, F) float32 CSR matrix; the words' part and the letters' part of a row have length 1 each, or 0."""
        return _joined([vectorizer.transform(texts) for vectorizer in self.vectorizers], len(texts))


def unit(features: Any) -> Any:
    """Return the rows at length 1, so that their products are cosines; an empty row stays empty."""
    from sklearn.preprocessing import normalize

    return normalize(features)


def _joined(parts: list[Any], num_rows: int) -> Any:
    from scipy.sparse import csr_matrix, hstack

    if not parts:
        return csr_matrix((num_rows, 1), dtype=np.float32)
    return hstack(parts, format="csr", dtype=np.float32)
