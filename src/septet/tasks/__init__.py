"""Tasks: what a row is, what is optimised, how to predict. One file is one task.

A task is pure: no files, no network, no global randomness. It returns per-example sums and weights for each part of
its loss; `engine/step.py` does the one division. A task never imports the engine.

`check_task` in `septet.testing` is the contract as code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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

    @property
    def learned(self) -> int:
        """Tokens that are learned of a text."""
        labels = self.inputs.get("labels")
        return sum(self.inputs["supervised"]) if labels is None else len(labels)


@dataclass(slots=True)
class Batch:
    """Collated examples: `inputs` (B, T) tensors, `targets` (B,), `rows` row ids.

    `layout` is the engine's: where each token belongs, once padding has been taken out of `inputs` (`engine/unpad.py`). So is `fills`: the batch only
    lets a process make as many passes as the others, and teaches nothing.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None
    rows: list[int]
    meta: list[dict[str, Any]]
    layout: Any = None
    fills: bool = False

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Prediction:
    """The answer for one row, or what was measured of it.

    Args:
        row: its id.
        value: the label, or the text that was written.
        scores: probabilities by label, where the value is one.
        embedding: (H,) float16, pooled, for monitoring.
        tokens: read.
        truncated: tokens that were not read.
        loss: nats, summed over what the row is to teach; 0 where it was not measured.
        weight: how much the row is to teach: learned tokens, or 1.
        written: tokens of a text that was written.
        ended: whether that text came to its own end, and not to its limit.
    """

    row: int
    value: Any
    scores: dict[str, float] | None = None
    embedding: np.ndarray | None = None
    tokens: int = 0
    truncated: int = 0
    loss: float = 0.0
    weight: float = 0.0
    written: int = 0
    ended: bool = True

    @property
    def label(self) -> str:
        """What can be counted of it: the label; of a text, how it ended (`stop` or `length`)."""
        if self.scores is not None:
            return str(self.value)
        return "stop" if self.ended else "length"

    def to_json(self) -> dict[str, Any]:
        if self.scores is not None:
            shown = {"label": self.value, "score": self.scores[self.value], "scores": self.scores}
        else:
            shown = {"answer": self.value, "tokens": self.written, "finish": self.label}
        if self.truncated:
            shown["truncated_tokens"] = self.truncated
        return shown


@dataclass(frozen=True, slots=True)
class Head:
    """What sits on the backbone: the transformers Auto class and the config fields that shape it."""

    auto: str
    config: dict[str, Any]


class Task(Protocol):
    """The contract of a task, and what most tasks leave as it is; `Options` of the same file is its part of the recipe.

    `answers_with` says what its answers are, `choices` or `texts` (septet.metrics); `baselines` are measured beside it
    unless the recipe names others; `loss_metric` is the metric that is the loss. A task with
    `answers_rows = False` makes models that are not asked yet; one that `draws` changes its examples for every epoch, one that `cuts` makes several of a long row. `encode` gives a row's examples to learn from, `prompts` what is asked of it; `measure` scores
    examples against their targets, `predict` answers prompts.
    """

    name: str
    metrics: Sequence[str]
    primary: str
    baselines: Sequence[str]
    answers_with: str
    loss_metric: str
    answers_rows: bool = True
    draws: bool = False
    cuts: bool = False
    coefficients: dict[str, float]

    max_length: int | None

    @property
    def schema(self) -> Any: ...
    @property
    def texts(self) -> list[str]: ...
    @property
    def input(self) -> Any: ...
    def learn(self, rows: Sequence[Row], *, max_length: int | None = None) -> Any: ...
    def heads(self) -> dict[str, Head]: ...
    def encode(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]: ...
    def collate(self, examples: Sequence[Example], processor: Any, length: int | None = None) -> Batch: ...
    def weights(self, batch: Batch) -> dict[str, torch.Tensor]: ...
    def loss(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]: ...
    def predict(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]: ...
    def target(self, row: Row) -> Any: ...
    def judge(
        self, rows: Sequence[Row], measured: Sequence[Prediction], written: Sequence[Prediction] | None = None
    ) -> Any: ...
    def parse(self, value: Any, where: str = "input") -> Row: ...
    def to_json(self) -> dict[str, Any]: ...
    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Any: ...

    @property
    def fields(self) -> list[str]:
        """Columns of a row that is to be answered."""
        return self.texts

    @property
    def reads(self) -> int | None:
        """Tokens of a row that are read at most when it is answered."""
        return self.max_length

    def suited(self, config: Mapping[str, Any], folder: Path | None = None) -> Any:
        """Return a copy that knows the model's config, and what the recipe's files are relative to."""
        return self

    def derive(self, examples: Sequence[Example]) -> dict[str, tuple[Any, str]]:
        """Return what training examples say of the recipe's open values: dotted path -> value and reason."""
        return {}

    def finish(self, model: Any, processor: Any) -> None:
        """Write into a model what is saved with it beside its weights."""

    def refusal(self, row: Row, processor: Any) -> str:
        """Return why a row gave no example."""
        return "nothing to learn"

    def words(self, row: Row) -> list[str]:
        """Return the texts of a row that a vocabulary is learned from."""
        return [str(row[column]) for column in self.texts]

    def draw(self, example: Example, rng: np.random.Generator, processor: Any) -> Example:
        """Return an example as one epoch sees it; `rng` depends on the seed, the epoch, the row, and how often the epoch showed it before."""
        return example

    def prompts(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]:
        """Return what a row is asked with: its examples, where they hold nothing of its answer."""
        return self.encode(rows, processor)

    def measure(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Return each example held against its target: its prediction, where that says enough."""
        return self.predict(model, batch, processor, embed)

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """Return a row's one prediction; most rows have one part."""
        return parts[0]

    def findings(self, model: Any) -> list[Any]:
        """Return what a user should know of this task on this model; asked once a run.

        Raises:
            ModelError: the model cannot learn it.
        """
        return []
