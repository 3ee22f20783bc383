"""Tasks: what a row is, what is optimised, how to predict. One file is one task.

A task is pure: no files, no network, no global randomness. It returns per-example sums and weights for each part of
its loss; `engine/step.py` does the one division. A task never imports the engine.

`check_task` in `septet.testing` is the contract as code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

Row = Mapping[str, Any]


@dataclass(slots=True)
class Example:
    """One encoded row (or one window of it).

    Args:
        row: the 64-bit row id; key of randomness, ledger and paired tests.
        inputs: what the model is called with, unpadded.
        target: what the loss compares with; None for rows without a label.
        size: tokens; what a budget counts.
        meta: facts that never enter the model; `truncated` is the number of tokens cut off.
    """

    row: int
    inputs: dict[str, Any]
    target: Any
    size: int
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """Collated examples: `inputs` (B, T) tensors, `targets` (B,), `rows` row ids.

    `layout` is the engine's: where each token belongs, once padding has been taken out of `inputs` (`engine/unpad.py`).
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None
    rows: list[int]
    meta: list[dict[str, Any]]
    layout: Any = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Prediction:
    """The answer for one row: `value`, its `scores` by label, and the pooled `embedding` (H,) float16 for monitoring."""

    row: int
    value: Any
    scores: dict[str, float] | None = None
    embedding: np.ndarray | None = None
    tokens: int = 0
    truncated: int = 0

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"label": self.value}
        if self.scores is not None:
            shown["score"] = self.scores[self.value]
            shown["scores"] = self.scores
        if self.truncated:
            shown["truncated_tokens"] = self.truncated
        return shown


@dataclass(frozen=True, slots=True)
class Head:
    """What sits on the backbone: the transformers Auto class and the config fields that shape it."""

    auto: str
    config: dict[str, Any]


class Task(Protocol):
    """The contract of a task; `Options` of the same file is its part of the recipe."""

    name: str
    metrics: list[str]
    primary: str
    coefficients: dict[str, float]

    @property
    def columns(self) -> list[str]: ...
    def problems(self, rows: Sequence[Row]) -> list[Any]: ...
    def learn(self, rows: Sequence[Row]) -> Task: ...
    def heads(self) -> dict[str, Head]: ...
    def encode(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]: ...
    def collate(self, examples: Sequence[Example], processor: Any, length: int | None = None) -> Batch: ...
    def weights(self, batch: Batch) -> dict[str, torch.Tensor]: ...
    def loss(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]: ...
    def predict(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]: ...
    def join(self, parts: Sequence[Prediction]) -> Prediction: ...
    def target(self, row: Row) -> Any: ...
    def to_json(self) -> dict[str, Any]: ...
    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Task: ...
