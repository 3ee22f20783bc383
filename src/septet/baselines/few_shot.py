"""The base model without training, shown `evaluate.shots` training rows: in the prompt (causal models) or as prototypes (encoders)."""

from __future__ import annotations

from typing import Any

from septet.baselines import Options
from septet.baselines._prompted import Prompted


class FewShot(Prompted):
    """What the base model makes of the labels' names and a few examples."""

    def __init__(self, options: Options, encoder: Any = None):
        super().__init__(options, options.shots, encoder)
