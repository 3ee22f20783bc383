"""Baselines: cheap answers to the same task, measured beside the tuned model. One file is one baseline.

A baseline is a class with `fit(texts, targets)` on the training rows and `scores(texts)` that returns (N, K)
probabilities; it never sees a validation or test row while fitting.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Baseline(Protocol):
    """The contract: `num_labels` K is given at construction, with what the baseline asks of the run in `context`."""

    def fit(self, texts: list[str], targets: np.ndarray) -> Any: ...
    def scores(self, texts: list[str]) -> np.ndarray: ...
