"""Each check can fail: parts that break one promise each, and the promise that is then named."""

import dataclasses
import itertools
import types
from typing import Any

import numpy as np
import pytest
import torch

from septet.metrics import metric
from septet.metrics.classify import accuracy
from septet.tasks.classify import Classify, Options
from septet.testing import ContractError, check_method, check_metric, check_task
from septet.testing.bench import texts

OPTIONS = {"text": "text", "label": "label"}
counter = itertools.count()


class Same(Classify):
    """Breaks nothing: what the others are measured against."""


class MeanLoss(Classify):
    def loss(self, model: Any, batch: Any):
        each = super().loss(model, batch)["label"]
        return {"label": each.mean().expand(len(batch))}


class ScalarLoss(Classify):
    def loss(self, model: Any, batch: Any):
        return {"label": super().loss(model, batch)["label"].sum()}


class CentredLoss(Classify):
    def loss(self, model: Any, batch: Any):
        each = super().loss(model, batch)["label"]
        return {"label": each - each.detach().min()}


class UnknownPart(Classify):
    def loss(self, model: Any, batch: Any):
        return {**super().loss(model, batch), "extra": super().loss(model, batch)["label"]}


class TwoCalls(Classify):
    def loss(self, model: Any, batch: Any):
        model(**batch.inputs)
        return super().loss(model, batch)


class SubModule(Classify):
    def loss(self, model: Any, batch: Any):
        hidden = model.base_model(**batch.inputs).pooler_output
        return {"label": torch.nn.functional.cross_entropy(model.classifier(hidden), batch.targets, reduction="none")}


class RandomEncode(Classify):
    def encode(self, rows: Any, processor: Any):
        return [
            [
                dataclasses.replace(
                    e, inputs={**e.inputs, "input_ids": [*e.inputs["input_ids"], 5 + next(counter) % 7]}
                )
                for e in found
            ]
            for found in super().encode(rows, processor)
        ]


class TouchesRandomness(Classify):
    def encode(self, rows: Any, processor: Any):
        np.random.random()
        return super().encode(rows, processor)


class DependsOnNeighbours(Classify):
    def encode(self, rows: Any, processor: Any):
        return [
            [dataclasses.replace(e, size=e.size + len(rows)) for e in found]
            for found in super().encode(rows, processor)
        ]


class LosesRowIds(Classify):
    def encode(self, rows: Any, processor: Any):
        return [[dataclasses.replace(e, row=0) for e in found] for found in super().encode(rows, processor)]


class IgnoresMask(Classify):
    def collate(self, examples: Any, processor: Any, length: int | None = None):
        batch = super().collate(examples, processor, length)
        batch.inputs.pop("attention_mask", None)
        return batch


class KeyErrorOnColumns(Classify):
    def value(self, row: Any):
        return str(row[self.options.text])


class NotJson(Classify):
    def predict(self, model: Any, batch: Any, processor: Any, embed: bool = False):
        found = super().predict(model, batch, processor, embed)
        for prediction in found:
            prediction.scores = {k: np.float32(v) for k, v in prediction.scores.items()}
        return found


class Constant(Classify):
    def loss(self, model: Any, batch: Any):
        return {"label": super().loss(model, batch)["label"] * 0 + 1.0}


class ForgetsLabels(Classify):
    @classmethod
    def from_json(cls, value: Any):
        return cls(Options(**value["options"]), [], value["class_weights"], value["max_length"])


class TurnsLabels(Classify):
    """Stores its labels in another order than it trained with, and hides it in to_json."""

    def to_json(self):
        return {**super().to_json(), "labels": sorted(self.labels)}

    @classmethod
    def from_json(cls, value: Any):
        return cls(
            Options(**value["options"]),
            sorted(value["labels"], reverse=True),
            value["class_weights"],
            value["max_length"],
        )


class UnknownMetric(Classify):
    metrics = ("acuracy",)


class OtherPrimary(Classify):
    primary = "brier"


BROKEN = [
    (MeanLoss, "additive"),
    (ScalarLoss, "one sum for each example"),
    (CentredLoss, "additive"),
    (UnknownPart, "same parts"),
    (TwoCalls, "once, through its root"),
    (SubModule, "once, through its root"),
    (RandomEncode, "encode is deterministic"),
    (TouchesRandomness, "global random generators"),
    (DependsOnNeighbours, "alone and among others"),
    (LosesRowIds, "carries its row's id"),
    (IgnoresMask, "additive|Padding"),
    (KeyErrorOnColumns, "an error a user can read"),
    (NotJson, "written as JSON"),
    (Constant, "overfits 8 rows"),
    (ForgetsLabels, "is the same task"),
    (TurnsLabels, "same predictions"),
    (UnknownMetric, "metrics are registered"),
    (OtherPrimary, "primary metric"),
]
for kind, _ in [(Same, ""), *BROKEN]:
    kind.Options = Options


def test_a_class_that_breaks_nothing_passes():
    check_task(Same, OPTIONS, texts())


@pytest.mark.parametrize(("kind", "promise"), BROKEN, ids=lambda v: v.__name__ if isinstance(v, type) else "")
def test_a_broken_task_is_found(kind, promise):
    with pytest.raises(ContractError, match=promise) as caught:
        check_task(kind, OPTIONS, texts())
    assert "expected:" in str(caught.value)
    assert "received:" in str(caught.value)


def broken_metric(**changes):
    marks = {"low": 0, "high": 1, "better": "higher", "weighted": True} | {
        k: v for k, v in changes.items() if k != "function"
    }
    made = changes["function"]
    copy = types.FunctionType(made.__code__, globals(), made.__name__)
    copy.__doc__ = made.__doc__
    return metric(**marks)(copy)


def doubled(answers):
    """Twice the accuracy: above its range."""
    return 2 * accuracy(answers)


def first_row(answers):
    """Looks at the first row only."""
    return float(answers.correct[0])


def errors(answers):
    """The error rate, called higher is better."""
    return 1 - accuracy(answers)


def drifting(answers):
    """Another value each time."""
    return (next(counter) % 10) / 10


def blind(answers):
    """Ignores the weights it says it honours."""
    value = answers.correct.mean()
    return value if answers.weights is None else np.full(len(answers.weights), value)


def single(answers):
    """Takes one resample only."""
    return float(np.mean(answers.correct))


def undocumented(answers):
    return accuracy(answers)


def counting_words(answers):
    """The words that were written: above 1."""
    return float(sum(len(text.split()) for text in answers.texts))


def first_text(answers):
    """Looks at the first text only."""
    return float(answers.texts[0] == answers.references[0])


def reading_losses(answers):
    """Says that it needs texts, and reads the losses."""
    return float(np.exp(-answers.losses.sum()))


def mean_row(answers):
    """Ignores the weights of the rows."""
    same = np.mean([a == b for a, b in zip(answers.references, answers.texts, strict=True)])
    return same if answers.weights is None else np.full(len(answers.weights), same)


@pytest.mark.parametrize(
    ("made", "promise"),
    [
        (broken_metric(function=doubled), "stays in its range"),
        (broken_metric(function=first_row, weighted=False), "order of the rows"),
        (broken_metric(function=errors), "best when every answer is right"),
        (broken_metric(function=drifting, weighted=False), "deterministic"),
        (broken_metric(function=blind), "the row twice"),
        (broken_metric(function=single), "several resamples at once"),
        (broken_metric(function=undocumented), "docstring"),
        (lambda answers: 1.0, "docstring"),
        (broken_metric(function=errors, better="best"), "which direction"),
        (broken_metric(function=errors, of="text"), "which answers"),
        (broken_metric(function=counting_words, of="texts", weighted=False), "stays in its range"),
        (broken_metric(function=first_text, of="texts", weighted=False), "order of the rows"),
        (broken_metric(function=reading_losses, of="texts", weighted=False), "measures texts"),
        (broken_metric(function=first_text, of="texts", needs="loss"), "measures texts"),
        (broken_metric(function=mean_row, of="texts"), "the row twice"),
        (broken_metric(function=first_text, weighted=False), "measures choices"),
    ],
)
def test_a_broken_metric_is_found(made, promise):
    with pytest.raises(ContractError, match=promise):
        check_metric(made)


METHOD = '''"""A method that breaks a promise, for the tests."""
from pydantic import BaseModel, ConfigDict, Field
from septet.methods.full import Full

kind = "method"


class Options(BaseModel):
    """None that matter."""

    model_config = ConfigDict(extra="forbid")
    {option}


class {name}(Full):
    def __init__(self, options=None):
        self.options = options
{body}
'''
FIELD = 'size: int = Field(1, description="Something.")'


@pytest.mark.parametrize(
    ("name", "option", "body", "promise"),
    [
        ("Sound", FIELD, "", None),
        ("Undocumented", "size: int = 1", "", "option size is documented"),
        (
            "Nothing",
            FIELD,
            "    def attach(self, model):\n        return model.requires_grad_(False)",
            "something to learn",
        ),
        (
            "Forgetful",
            FIELD,
            "    def param_groups(self, model, weight_decay):\n        return super().param_groups(model, weight_decay)[:1]",
            "each learning parameter once",
        ),
        (
            "Decaying",
            FIELD,
            "    def param_groups(self, model, weight_decay):\n        return [{'names': [n for n, _ in model.named_parameters()], 'weight_decay': 0.1}]",
            "do not decay",
        ),
        (
            "Unmerged",
            FIELD,
            "    def merge(self, model):\n        model.classifier.weight.data.zero_()\n        return model",
            "same answers",
        ),
        ("Refusing", FIELD, "    def refuses(self, model):\n        return 'no'", "Finding or None"),
        (
            "Unseeded",
            FIELD,
            "    def attach(self, model):\n        import numpy as np, torch\n        model.classifier.weight.data += torch.from_numpy(np.random.randn(*model.classifier.weight.shape)).float()\n        return model",
            "same new tensors",
        ),
        ("Heavy", FIELD, "import torch", "readable without heavy packages"),
    ],
)
def test_a_broken_method_is_found(tmp_path, forget_code, name, option, body, promise):
    from septet import registry

    path = tmp_path / f"{name.lower()}.py"
    path.write_text(METHOD.format(name=name, option=option, body=body))
    registry.load_code(path)
    if promise is None:
        check_method(name.lower())
        return
    with pytest.raises(ContractError, match=promise):
        check_method(name.lower())
