"""Baselines: cheap answers to the same task, measured beside the tuned model. One file is one baseline.

A baseline is built with `Options` of the run, fits on the training rows, and returns (N, K) probabilities; it never sees a
validation or test row while fitting. What it chose on the way (its C, say) is in `facts`, and goes into the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from septet.errors import UsageError
from septet.progress import Listen, quiet


@dataclass(frozen=True, slots=True)
class Options:
    """What a run tells its baselines.

    Args:
        num_labels: K.
        labels: the K label names.
        model: the checkpoint before tuning: `starter`, a folder or a hub id; None where the model was built from scratch.
        max_length: tokens kept of a text.
        seed: seed of all random choices.
        shots: training rows shown to a model that is not trained.
        prompt: with `{text}`, then `{label}`; None leaves it to the baseline.
        device: where a model runs; the CPU when None.
        known: `facts` of an earlier fit on the same rows; what was chosen there is not searched for again.
        listen: told of the progress.
    """

    num_labels: int
    labels: tuple[str, ...] = ()
    model: str | None = "starter"
    max_length: int = 128
    seed: int = 42
    shots: int = 4
    prompt: str | None = None
    device: str | None = None
    known: dict[str, Any] = field(default_factory=dict)
    listen: Listen = quiet

    @property
    def checkpoint(self) -> str:
        """The model, for a baseline that cannot do without.

        Raises:
            UsageError: the run's model was built from scratch.
        """
        if self.model is None:
            raise UsageError(
                "A model from scratch knows nothing before training.", hint="evaluate.baselines=[majority, tfidf]"
            )
        return self.model


class Baseline(Protocol):
    """The contract: the class is named after its file."""

    facts: dict[str, Any]

    def __init__(self, options: Options): ...
    def fit(self, texts: list[str], targets: np.ndarray) -> Any: ...
    def scores(self, texts: list[str]) -> np.ndarray: ...
