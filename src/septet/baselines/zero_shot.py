"""The base model without training and without examples: label names by likelihood (causal models) or nearness (encoders)."""

from __future__ import annotations

from typing import Any

from septet.baselines import Options
from septet.baselines._prompted import Prompted


class ZeroShot(Prompted):
    """What the base model makes of the labels' names alone."""

    def __init__(self, options: Options, encoder: Any = None):
        super().__init__(options, 0, encoder)
