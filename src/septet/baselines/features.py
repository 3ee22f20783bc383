"""Frozen features of the base model, with logistic regression (cross-validated C).

The checkpoint before tuning embeds each text once (mean of its last hidden states); only the regression learns. What tuning adds to that is
what it is worth.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options, _logistic

CANDIDATES = (0.3, 1, 3, 10, 30)
SPREAD = (
    4.0  # mean distance of a text's features from their centre; the starter's own is 4.8. C = 0.3 to 3 is best there
)


class Features:
    """What the base model gives without tuning.

    Args:
        encoder: anything with `encode(texts, listen) -> (N, H)`; the run's base model when None.
    """

    answers: ClassVar[Kind] = "choices"

    def __init__(self, options: Options, encoder: Any = None):
        self.options = options
        self.facts: dict[str, Any] = {}
        self._encoder = encoder

    def fit(self, texts: list[str], targets: np.ndarray) -> Features:
        vectors = self._encode(texts)
        self.center = vectors.mean(0)
        # one scale for all dimensions: C then means the same for every checkpoint, and their proportions stay
        spread = float(np.linalg.norm(vectors - self.center, axis=1).mean())
        self.scale = np.float32(SPREAD / max(spread, 1e-12))
        options = self.options
        self.model, self.facts = _logistic.fit_best(
            self._scaled(vectors),
            targets,
            num_labels=options.num_labels,
            candidates=CANDIDATES,
            seed=options.seed,
            known=options.known,
        )
        self.facts["features"] = vectors.shape[1]
        return self

    def scores(self, texts: list[str]) -> np.ndarray:
        """Return (N, K) float64 probabilities."""
        return self.model.scores(self._scaled(self._encode(texts)))

    def _scaled(self, vectors: np.ndarray) -> np.ndarray:
        return (vectors - self.center) * self.scale

    def _encode(self, texts: list[str]) -> np.ndarray:
        if self._encoder is None:
            from septet.model.features import Features as Encoder

            self._encoder = Encoder(
                self.options.checkpoint, max_length=self.options.max_length, device=self.options.device
            )
        return np.asarray(self._encoder.encode(texts, listen=self.options.listen), dtype=np.float32)
