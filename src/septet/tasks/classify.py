"""One label for each row, a text, a pair of texts, several columns or a picture: sentiment, topic, intent, routing, what is to be seen.

The loss is cross-entropy over the labels seen in training, weighted by class where asked and smoothed where asked, or the focal loss.
A row's weight is its class weight, so that the update is the weighted mean over the whole group of rows (PyTorch's
`CrossEntropyLoss(weight=…)` over the same rows at once). What focal loss takes from easy rows is no part of that weight, so that a group has the
same gradient however it is split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from septet.data import columns as several
from septet.data.schema import Schema
from septet.errors import DataError, RecipeError
from septet.inputs import Input
from septet.inputs.image import Image
from septet.inputs.text import Text
from septet.recipe.block import Problem
from septet.report import Finding
from septet.tasks import Batch, Example, Head, Prediction, Row, Task
from septet.tasks._weights import class_weights

if TYPE_CHECKING:
    import torch

    from septet.metrics import Choices

GAMMA = 2.0  # Lin et al. 2017, table 1b: the best of 0 to 5
SURE = 1e-12


class Options(BaseModel):
    """What `task: {name: classify, …}` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str | None = Field(
        None,
        description="Instead of text: column with pictures, as paths; `image` where the data are a folder of pictures, one sub-folder a label.",
        json_schema_extra={"why": "the rows are texts"},
        examples=["image"],
    )
    columns: Literal["all"] | list[str] | None = Field(
        None,
        min_length=1,
        description="Instead of text: the columns of a table, which are read as a list of `name: value`; all: every column but the label and those of data.split. Missing values are left out.",
        json_schema_extra={"why": "one column holds the text"},
        examples=[["age", "glucose"]],
    )
    text: str | list[str] | None = Field(
        None,
        validate_default=True,
        description="Column with the text, or two columns for a pair of texts.",
        json_schema_extra={"why": "the rows are pictures"},
        examples=["body"],
    )
    size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="With image: pixels of both sides that pictures are scaled to, 8 to 4,096. Lower it where the model takes any size and time is short.",
        json_schema_extra={"why": "what the model's folder says"},
        examples=[224],
    )
    label: str = Field(description="Column with the label; its values are the classes.")
    labels: list[str] | None = Field(
        None,
        description="The labels in a fixed order. Leave it out to take them from the training rows.",
        json_schema_extra={"why": "the labels of the training rows, sorted"},
    )
    label_smoothing: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        allow_inf_nan=False,
        description="Share of the target's probability spread over all labels, 0 to below 1. Raise to 0.1 where labels are noisy. Class weights weigh the whole row.",
        json_schema_extra={"why": "labels are taken as true"},
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none",
        description="Weight of each label in the loss: none, balanced (rows / (labels x rows of the label)), or a number for each label.",
        json_schema_extra={"why": "every row counts the same"},
    )
    loss: Literal["cross-entropy", "focal"] = Field(
        "cross-entropy",
        description="What is minimised: cross-entropy, or focal loss, which counts rows less that are already answered well. Change it where most rows are easy and few matter.",
        json_schema_extra={"why": "its probabilities mean what they say; focal loss makes them less sure"},
    )
    gamma: float | None = Field(
        None,
        ge=0.0,
        le=10.0,
        allow_inf_nan=False,
        description="Power of focal loss: a row counts (1 - probability of its label) ** gamma, 0 to 10; 0 is cross-entropy, higher looks at hard rows alone.",
        json_schema_extra={"why": "2 with focal loss, the best of 0 to 5 in Lin et al. 2017, table 1b"},
    )

    @field_validator("text")
    @classmethod
    def _one_or_two(cls, value: str | list[str] | None, info: ValidationInfo) -> str | list[str] | None:
        if value is None and info.data.get("image") is None and info.data.get("columns") is None:
            raise ValueError(
                "is missing: column with the text, or two for a pair; or task.columns, of numbers and categories; or task.image, with pictures"
            )
        if isinstance(value, list) and len(value) != 2:
            raise ValueError("must be one column or a list of two columns")
        return value

    @field_validator("class_weights")
    @classmethod
    def _positive(cls, value: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(value, dict) and not all(0 < weight < float("inf") for weight in value.values()):
            raise ValueError("must hold numbers above 0")
        return value

    def problems(self) -> Iterator[Problem]:
        if self.text is not None and self.image is not None:
            yield Problem(
                "image", "cannot be given beside task.text: a row is a text or a picture.", "remove one of the two"
            )
        if self.columns is not None and (self.text or self.image) is not None:
            yield Problem("columns", "cannot be given beside task.text or task.image.", "remove one of the two")
        if isinstance(self.columns, list) and len({*self.columns}) < len(self.columns):
            yield Problem("columns", "names a column twice.", "each once")
        if self.size is not None and self.image is None:
            yield Problem("size", "would be ignored: it is of pictures.", "remove it")
        if self.gamma is not None and self.loss != "focal":
            yield Problem("gamma", "would be ignored: it is the power of focal loss.", "task.loss: focal")
        if self.loss == "focal" and self.label_smoothing:
            yield Problem(
                "label_smoothing",
                "cannot be combined with focal loss, which knows one label a row.",
                "label_smoothing: 0",
            )


@dataclass(frozen=True)
class Classify(Task):
    """The task with what the data taught it.

    Args:
        options: the recipe's block.
        labels: the K labels; a label's place is its class id.
        class_weights: K weights of the loss.
        max_length: tokens kept of a text.
    """

    options: Options
    labels: list[str] = field(default_factory=list)
    class_weights: list[float] = field(default_factory=list)
    max_length: int | None = None

    name = "classify"
    metrics = ("accuracy", "f1", "f1_micro", "precision", "recall", "log_loss", "calibration_error")
    primary = "accuracy"
    answers_with = "choices"
    loss_metric = "log_loss"
    coefficients = {"label": 1.0}  # noqa: RUF012

    @property
    def baselines(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("majority",) if self.options.image is not None else ("majority", "tfidf", "features")

    @property
    def schema(self) -> Schema:
        """The columns as the data stage takes them.

        Raises:
            RecipeError: the same column is read and learned.
        """
        image, members = self.options.image, self.members
        if self.options.columns is not None and self.options.label not in members:
            keys = dict.fromkeys(members or self.texts, "task.columns")
            return Schema(tuple(self.texts), self.options.label, keys=keys, members=tuple(members))
        if self.options.label in (*self.texts, *members):
            raise RecipeError(
                f"task.{'columns' if members else 'text' if image is None else 'image'} and task.label are the same column ({self.options.label!r}).",
                hint="take it out of task.columns"
                if members
                else f"name the column that holds the {'text' if image is None else 'pictures'}",
            )
        if image is not None:
            return Schema((image,), self.options.label, keys={image: "task.image"}, pictures=True)
        return Schema(tuple(self.texts), self.options.label)

    @property
    def needs_columns(self) -> bool:
        return self.options.columns == "all"

    def located(self, row: Row) -> Classify:
        """Return a copy that reads all columns of a table but the label.

        Raises:
            DataError: there is no other.
        """
        found = [column for column in row if column != self.options.label]
        if not found:
            raise DataError("The data have no column beside the label.", received=list(row))
        return replace(self, options=self.options.model_copy(update={"columns": found}))

    @property
    def members(self) -> list[str]:
        """The columns of which the text is made, where it is no column itself."""
        return list(self.options.columns) if isinstance(self.options.columns, list) else []

    @property
    def fields(self) -> list[str]:
        return self.members or self.texts

    @property
    def texts(self) -> list[str]:
        if self.options.columns is not None:
            return [several.NAME]
        if self.options.image is not None:
            return [self.options.image]
        return [self.options.text] if isinstance(self.options.text, str) else list(self.options.text or ())

    @property
    def input(self) -> Input:
        return Text(self.max_length) if self.options.image is None else Image(self.options.size)

    def learn(self, rows: Sequence[Row], *, max_length: int | None = None) -> Classify:
        """Return a copy that knows the labels and their weights.

        Raises:
            DataError: the label column is missing, or `class_weights` does not give one weight for each label.
        """
        if any(self.options.label not in row for row in rows):
            raise DataError(f"The column {self.options.label!r} is missing.", received=sorted(map(str, rows[0])))
        counts = Counter(str(row[self.options.label]) for row in rows)
        labels = self.options.labels or sorted(counts)
        found = {
            "labels": list(labels),
            "class_weights": class_weights(self.options.class_weights, labels, counts),
            "max_length": max_length,
        }
        return replace(self, **found)

    def heads(self) -> dict[str, Head]:
        config = {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
            "problem_type": "single_label_classification",
        }
        return {"label": Head(self.input.classifier, config)}

    def value(self, row: Row) -> str | tuple[str, ...]:
        """Return what the input encodes: the text, the pair, or the address of the picture.

        Raises:
            DataError: a text column is missing.
        """
        missing = [column for column in self.texts if column not in row]
        if missing:
            raise DataError(f"The column {missing[0]!r} is missing.", received=sorted(map(str, row)))
        found = tuple(str(row[column]) for column in self.texts)
        return found[0] if len(found) == 1 else found

    def target(self, row: Row) -> int:
        """Return the row's class id; -1 for a label that is not in the list."""
        label = row.get(self.options.label)
        return self.labels.index(str(label)) if str(label) in self.labels else -1

    def encode(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]:
        """Return one example a row."""
        place = {label: i for i, label in enumerate(self.labels)}
        encoded = self.input.encode([self.value(row) for row in rows], processor)
        found = []
        for row, inputs in zip(rows, encoded, strict=True):
            truncated = inputs.pop("truncated")
            target = place.get(str(row.get(self.options.label)))
            size = self.input.size(inputs, processor)
            found.append([Example(int(row.get("_row", 0)), inputs, target, size, {"truncated": truncated})])
        return found

    def collate(self, examples: Sequence[Example], processor: Any, length: int | None = None) -> Batch:
        import torch

        known = [example.target for example in examples]
        targets = None if any(t is None for t in known) else torch.tensor(known, dtype=torch.int64)
        inputs = self.input.pad([e.inputs for e in examples], processor, length)
        return Batch(inputs, targets, [e.row for e in examples], [e.meta for e in examples])

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: each row's class weight."""
        import torch

        return {"label": torch.tensor(self.class_weights)[batch.targets]}

    def loss(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: each row's weighted loss in nats.

        Source:  Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 5, over a softmax; alpha is `class_weights`.
        """
        import torch
        from torch.nn.functional import cross_entropy

        logits_BK = model(**_as_computed(model, batch)).logits.float()
        targets = batch.targets.to(logits_BK.device)  # pyright: ignore[reportOptionalMemberAccess]
        each = cross_entropy(logits_BK, targets, reduction="none", label_smoothing=self.options.label_smoothing)
        if self.options.loss == "focal":
            # -expm1(-x) keeps 1 - p exact where p is nearly 1; at p = 1 a power below 1 has no gradient
            missed = (-torch.expm1(-each)).clamp(min=SURE)
            each = each * missed ** (GAMMA if self.options.gamma is None else self.options.gamma)
        return {"label": each * torch.tensor(self.class_weights, device=each.device)[targets]}

    def findings(self, model: Any) -> list[Any]:
        """Say that focal loss gives other probabilities."""
        if self.options.loss != "focal":
            return []
        return [
            Finding(
                "focal-probabilities",
                "note",
                "Focal loss makes probabilities less sure than the model is right: do not read them as shares, nor set a threshold by them unseen.",
                "calibration_error in the report says by how much; cross-entropy with task.class_weights or data.balance keeps them nearer",
                {"gamma": GAMMA if self.options.gamma is None else self.options.gamma},
            )
        ]

    def predict(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Return each row's label, probabilities and, when asked, the mean-pooled hidden state that monitoring looks at."""
        from septet.model.features import pooled_states

        with pooled_states(model, batch.inputs, wanted=embed) as pooled:
            logits_BK = model(**_as_computed(model, batch)).logits.float()
        scores_BK = logits_BK.double().softmax(-1).cpu().numpy()
        vectors_BH = pooled.vectors()
        found, width = [], next(iter(batch.inputs.values())).shape[1]
        for i, scores in enumerate(scores_BK):
            size = batch.meta[i].get("size", width)
            found.append(
                Prediction(
                    batch.rows[i],
                    self.labels[int(scores.argmax())],
                    dict(zip(self.labels, scores.tolist(), strict=True)),
                    None if vectors_BH is None else vectors_BH[i],
                    size,
                    batch.meta[i].get("truncated", 0),
                )
            )
        return found

    def judge(
        self, rows: Sequence[Row], measured: Sequence[Prediction], written: Sequence[Prediction] | None = None
    ) -> Choices:
        """Return the rows' labels and probabilities, ready for metrics."""
        import numpy as np

        from septet.metrics import Choices

        scores = np.array([[p.scores[label] for label in self.labels] for p in measured])  # type: ignore[index]
        targets = np.array([self.target(row) for row in rows], dtype=np.int64)
        return Choices(np.array([p.row for p in measured], dtype=np.int64), self.labels, targets, scores)

    def parse(self, value: Any, where: str = "input") -> dict[str, str]:
        """Return one served item as a row.

        Raises:
            DataError: it is neither a text nor an object with the text columns.
        """
        if isinstance(value, str) and len(self.texts) == 1 and not self.members:
            return {self.texts[0]: self.input.parse(value, where)}
        if not isinstance(value, dict):
            raise DataError(f"An input is an object with {' and '.join(self.fields)}.", where=where, received=value)
        if self.members:
            return self.schema.asked(value, where)
        missing = [column for column in self.texts if column not in value]
        if missing:
            raise DataError(f"The field {missing[0]!r} is missing.", where=where, received=sorted(map(str, value)))
        return {column: self.input.parse(value[column], f"{where}.{column}") for column in self.texts}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "options": self.options.model_dump(include=set(Options.model_fields)),
            "labels": self.labels,
            "class_weights": self.class_weights,
            "max_length": self.max_length,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Classify:
        return cls(Options(**value["options"]), value["labels"], value["class_weights"], value["max_length"])


def _as_computed(model: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """Return the inputs of a batch, pixels in the number format that the model computes with."""
    inputs = batch.inputs
    if "pixel_values" in inputs:
        return {**inputs, "pixel_values": inputs["pixel_values"].to(model.dtype)}
    return inputs
