"""The answer of the most similar training prompt: cosine of TF-IDF over words, word pairs and letter n-grams.

The features are those of `_terms`. Of equally similar prompts the first counts, and a prompt that shares no term with any gets the first
training row's answer. Prompts are compared in blocks, so that memory does not grow with their number: 10,000 captions among 100,000 take 42 s
and 580 MB at its peak (one thread, a two-core Xeon with other work on it).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options
from septet.baselines._terms import Terms, unit

BLOCK_BYTES = 64 * 2**20  # of similarities at a time; larger blocks are no faster
PAIR_BYTES = 12  # of one similarity: value and index in the sparse product, value in the dense copy


class Nearest:
    """What looking up gives."""

    answers: ClassVar[Kind] = "texts"

    def __init__(self, options: Options):
        self.options = options
        self.facts: dict[str, Any] = {}
        self._similarities: list[np.ndarray] = []

    def fit(self, prompts: list[str], references: list[str]) -> Nearest:
        self.references = list(references)
        self.terms = Terms()
        self.known_FN = unit(self.terms.fit(prompts)).T.tocsr()
        self.facts = {"rows": len(references)}
        return self

    def write(self, prompts: list[str]) -> list[str]:
        """Return an answer for each prompt; `mean_similarity` of the facts is over all prompts answered so far, 0 to 1."""
        rows = max(1, BLOCK_BYTES // (PAIR_BYTES * len(self.references)))
        written = []
        for start in range(0, len(prompts), rows):
            self.options.listen("progress", what="looking up prompts", done=start, total=len(prompts))
            places, similarities = self._nearest(prompts[start : start + rows])
            written += [self.references[place] for place in places]
            self._similarities.append(similarities)
        if written:
            mean = float(np.concatenate(self._similarities).mean(dtype=np.float64))
            self.facts["mean_similarity"] = min(mean, 1.0)  # single precision may end a little above
        return written

    def _nearest(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return (B,) training rows, and (B,) cosines."""
        cosine_BN = (unit(self.terms.features(prompts)) @ self.known_FN).toarray()
        places = cosine_BN.argmax(1)
        return places, cosine_BN[np.arange(len(prompts)), places]
