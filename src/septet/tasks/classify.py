"""One label for each row, a text, a pair, several columns, a picture or a recording: sentiment, topic, intent, what is seen or heard.

The loss is cross-entropy over the labels seen in training, weighted by class where asked and smoothed where asked, or the focal loss.
A row's weight is its class weight, so that the update is the weighted mean over the whole group of rows (PyTorch's
`CrossEntropyLoss(weight=…)` over the same rows at once). What focal loss takes from easy rows is no part of that weight, so that a group has the
same gradient however it is split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from septet.data import columns as several
from septet.data.schema import Schema
from septet.errors import DataError, RecipeError
from septet.inputs import Input
from septet.inputs.audio import Audio
from septet.inputs.image import Image
from septet.inputs.text import Text
from septet.recipe.model import FILES
from septet.report import Finding
from septet.tasks import Batch, Example, Head, Prediction, Row, Task
from septet.tasks._classify import Options
from septet.tasks._weights import class_weights

if TYPE_CHECKING:
    import torch

    from septet.metrics import Choices

GAMMA = 2.0  # Lin et al. 2017, table 1b: the best of 0 to 5
SURE = 1e-12


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
        return ("majority",) if self._media is not None else ("majority", "tfidf", "features")

    @property
    def schema(self) -> Schema:
        """The columns as the data stage takes them.

        Raises:
            RecipeError: the same column is read and learned.
        """
        media, members = self._media, self.members
        if self.options.columns is not None and self.options.label not in members:
            keys = dict.fromkeys(members or self.texts, "task.columns")
            return Schema(tuple(self.texts), self.options.label, keys=keys, members=tuple(members))
        key = "text" if media is None else FILES[media]
        if self.options.label in (*self.texts, *members):
            raise RecipeError(
                f"task.{'columns' if members else key} and task.label are the same column ({self.options.label!r}).",
                hint="take it out of task.columns"
                if members
                else f"name the column that holds the {'text' if media is None else f'{media}s'}",
            )
        keys = {} if media is None else {self.texts[0]: f"task.{key}"}
        return Schema(tuple(self.texts), self.options.label, keys=keys, media=media)

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
        if self._media is not None:
            return [getattr(self.options, FILES[self._media])]
        return [self.options.text] if isinstance(self.options.text, str) else list(self.options.text or ())

    @property
    def input(self) -> Input:
        if self.options.audio is not None:
            return Audio(self.options.seconds)
        return Text(self.max_length) if self.options.image is None else Image(self.options.size)

    @property
    def _media(self) -> str | None:
        """What is in the files that the rows are; None where they are texts."""
        return next((kind for kind, key in FILES.items() if getattr(self.options, key) is not None), None)

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
        """Return what the input encodes: the text, the pair, or the address of the picture or recording.

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

        from septet.model.placing import put

        logits_BK = model(**_as_computed(model, batch)).logits.float()
        targets = put(batch.targets, logits_BK.device)  # pyright: ignore[reportArgumentType]
        each = cross_entropy(logits_BK, targets, reduction="none", label_smoothing=self.options.label_smoothing)
        if self.options.loss == "focal":
            # -expm1(-x) keeps 1 - p exact where p is nearly 1; at p = 1 a power below 1 has no gradient
            missed = (-torch.expm1(-each)).clamp(min=SURE)
            each = each * missed ** (GAMMA if self.options.gamma is None else self.options.gamma)
        return {"label": each * put(self.weights(batch)["label"], each.device)}

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
            text = "a text, or " if len(self.texts) == 1 and not self.members else ""
            fields = " and ".join(self.fields)
            raise DataError(f"An input is {text}an object with {fields}.", where=where, received=value)
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
    """Return the inputs of a batch, numbers in the format that the model computes with."""
    found = batch.inputs.items()
    return {name: each.to(model.dtype) if each.is_floating_point() else each for name, each in found}
