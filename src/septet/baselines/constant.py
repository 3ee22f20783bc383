"""One answer to every prompt: the most frequent of the training answers, or the most central where hardly any occurs twice.

The floor of a metric, what it gives to a model that reads nothing. Central is the answer with the highest mean cosine to all of them, on
the features of `_terms`. On Multi30k (German, 29,000 answers) the most frequent answer occurs three times and has chrF 8.7, the central one
24.6; hence the share an answer must have.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options
from septet.baselines._terms import Terms, unit

SHARE = 0.05  # of the rows, and two of them at least: below it, exact answers come to nothing and likeness counts


class Constant:
    """What a model that reads nothing would answer."""

    answers: ClassVar[Kind] = "texts"

    def __init__(self, options: Options):
        self.facts: dict[str, Any] = {}

    def fit(self, prompts: list[str], references: list[str]) -> Constant:
        self.answer, count = Counter(references).most_common(1)[0]  # of equally frequent ones the first
        frequent = count >= max(2, SHARE * len(references))
        if not frequent:
            self.answer = references[_central(references)]
            count = references.count(self.answer)
        self.facts = {"by": "frequency" if frequent else "centrality", "share": count / len(references)}
        return self

    def write(self, prompts: list[str]) -> list[str]:
        """Return the same answer to every prompt."""
        return [self.answer] * len(prompts)


def _central(texts: list[str]) -> int:
    """Return the text with the highest mean cosine to all, the first of equals: the one nearest to their mean vector."""
    rows = unit(Terms().fit(texts))
    return int((rows @ np.asarray(rows.mean(0)).ravel()).argmax())
