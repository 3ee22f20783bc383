"""Metrics of one label for each row: accuracy, precision, recall, F1 and their relatives.

All follow from three counts by class (right, predicted, wanted), so that a bootstrap needs no confusion matrix. Each value
equals scikit-learn's. Macro averages run over the classes that occur among the targets or the predictions, and a rate whose
divisor is 0 counts as 0, both as in scikit-learn. A row whose label the model does not know (target -1) counts as wrong: it is
in the divisor of accuracy and of precision, and no class of its own in the averages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.errors import UsageError
from septet.metrics import Choices, Metric, metric


@dataclass(frozen=True, slots=True)
class Counts:
    """Weighted rows by class, (K,) or (R, K): right, predicted as it, labelled as it; and of all classes, `n`."""

    right: np.ndarray
    predicted: np.ndarray
    wanted: np.ndarray
    n: Any

    @classmethod
    def of(cls, answers: Choices) -> Counts:
        """Return the counts of these rows under their weights; many metrics share them."""
        return answers.keep_drawn("counts", lambda: cls._of(answers))

    @classmethod
    def _of(cls, answers: Choices) -> Counts:
        num_labels = len(answers.labels)
        hits = np.where(answers.correct, answers.targets, -1)
        predicted = answers.histogram(answers.predicted, num_labels)
        wanted = answers.histogram(answers.targets, num_labels)
        return cls(answers.histogram(hits, num_labels), predicted, wanted, predicted.sum(-1))

    @property
    def precision(self) -> np.ndarray:
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return _ratio(self.right, self.wanted)

    @property
    def f1(self) -> np.ndarray:
        return _ratio(2 * self.right, self.predicted + self.wanted)

    def macro(self, values: np.ndarray) -> Any:
        """Return the mean over the classes that occur."""
        occurs = self.predicted + self.wanted > 0
        return (np.nan_to_num(values) * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)

    def by_support(self, values: np.ndarray) -> Any:
        """Return the mean over the classes, weighted by their labelled rows."""
        return _ratio((np.nan_to_num(values) * self.wanted).sum(-1), self.wanted.sum(-1))


@metric(low=0, high=1, better="higher", weighted=True)
def accuracy(answers: Choices) -> Any:
    """Share of the rows whose most probable label is the right one."""
    counts = Counts.of(answers)
    return _ratio(counts.right.sum(-1), counts.n)


@metric(low=0, high=1, better="higher", weighted=True)
def balanced_accuracy(answers: Choices) -> Any:
    """Mean recall of the classes that have rows: each class counts the same."""
    counts = Counts.of(answers)
    present = counts.wanted > 0
    return (np.nan_to_num(counts.recall) * present).sum(-1) / np.maximum(present.sum(-1), 1)


@metric(low=0, high=1, better="higher", weighted=True)
def precision(answers: Choices) -> Any:
    """Macro precision: of the rows given a class, the share that has it; mean over the classes."""
    counts = Counts.of(answers)
    return counts.macro(counts.precision)


@metric(low=0, high=1, better="higher", weighted=True)
def recall(answers: Choices) -> Any:
    """Macro recall: of the rows of a class, the share that was given it; mean over the classes."""
    counts = Counts.of(answers)
    return counts.macro(counts.recall)


@metric(low=0, high=1, better="higher", weighted=True)
def f1(answers: Choices) -> Any:
    """Macro F1: the harmonic mean of precision and recall of each class; mean over the classes."""
    counts = Counts.of(answers)
    return counts.macro(counts.f1)


@metric(low=0, high=1, better="higher", weighted=True)
def precision_micro(answers: Choices) -> Any:
    """Micro precision: right answers of all classes over answers given."""
    counts = Counts.of(answers)
    return _ratio(counts.right.sum(-1), counts.predicted.sum(-1))


@metric(low=0, high=1, better="higher", weighted=True)
def recall_micro(answers: Choices) -> Any:
    """Micro recall: right answers of all classes over rows with a known label."""
    counts = Counts.of(answers)
    return _ratio(counts.right.sum(-1), counts.wanted.sum(-1))


@metric(low=0, high=1, better="higher", weighted=True)
def f1_micro(answers: Choices) -> Any:
    """Micro F1: from the sums over all classes; with one label a row and no unknown label it equals accuracy."""
    counts = Counts.of(answers)
    return _ratio(2 * counts.right.sum(-1), counts.predicted.sum(-1) + counts.wanted.sum(-1))


@metric(low=0, high=1, better="higher", weighted=True)
def precision_weighted(answers: Choices) -> Any:
    """Precision of each class, averaged by its rows."""
    counts = Counts.of(answers)
    return counts.by_support(counts.precision)


@metric(low=0, high=1, better="higher", weighted=True)
def recall_weighted(answers: Choices) -> Any:
    """Recall of each class, averaged by its rows."""
    counts = Counts.of(answers)
    return counts.by_support(counts.recall)


@metric(low=0, high=1, better="higher", weighted=True)
def f1_weighted(answers: Choices) -> Any:
    """F1 of each class, averaged by its rows."""
    counts = Counts.of(answers)
    return counts.by_support(counts.f1)


@metric(low=-1, high=1, better="higher", weighted=True)
def mcc(answers: Choices) -> Any:
    """Matthews correlation between labels and predictions (Gorodkin 2004): 0 is chance, 1 is perfect."""
    counts = Counts.of(answers)
    n, unknown = counts.n, counts.n - counts.wanted.sum(-1)
    shared = counts.right.sum(-1) * n - (counts.predicted * counts.wanted).sum(-1)
    given = n**2 - (counts.predicted**2).sum(-1)
    wanted = n**2 - (counts.wanted**2).sum(-1) - unknown**2
    return np.nan_to_num(_ratio(shared, np.sqrt(given * wanted)))


def of_class(name: str, label: str) -> Metric:
    """Return precision, recall or f1 of one class as a metric.

    Raises:
        UsageError: (when called) there is no such label.
    """

    @metric(low=0, high=1, better="higher", weighted=True)
    def measure(answers: Choices) -> Any:
        if label not in answers.labels:
            raise UsageError(
                f"{name}[{label}] names no label.", hint=f"the labels are {', '.join(answers.labels[:20])}"
            )
        return getattr(Counts.of(answers), name)[..., answers.labels.index(label)]

    measure.__name__ = f"{name}[{label}]"
    return measure


def _ratio(above: Any, below: Any) -> Any:
    """Divide; NaN where the divisor is 0 (undefined, reported as 0, left out of an interval)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(below) > 0, np.asarray(above) / np.where(np.asarray(below) > 0, below, 1), np.nan)
