"""Exports: a trained model in another tool's form, proven equal to it. One file is one format.

An export has `write(model_folder, out)` and `verify(model_folder, out, texts)`; `verify` answers the same rows through the exported form
and returns the largest difference of a probability, and the number of rows whose label differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Parity:
    """How equal an exported model is: over `n` rows, the largest probability difference and the labels that differ."""

    n: int
    max_difference: float
    labels_different: int


class Export(Protocol):
    """The contract of an export."""

    tolerance: float

    def write(self, model: Path, out: Path) -> None: ...
    def verify(self, model: Path, out: Path, texts: list[str]) -> Parity: ...
