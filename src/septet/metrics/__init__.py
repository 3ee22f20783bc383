"""Metrics: one public function is one metric.

A metric is `f(answers) -> float`, marked with `@metric`, which states its range and which direction is better. A metric
marked `weighted=True` honours `Answers.weights`, and then takes many resamples of the rows at once: that is what makes its
bootstrap interval quick. Any other function of `Answers` works too; its resamples are drawn row by row.

`compute(["accuracy", "f1", "f1[refund]"], answers)` gives values; `septet.metrics.interval` gives them with intervals and
compares two systems on the same rows. `f1[refund]` is a metric of one class: any of `precision`, `recall`, `f1`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from septet import registry
from septet.errors import UsageError

BY_CLASS = ("precision", "recall", "f1")

Metric = Callable[["Answers"], Any]


@dataclass(slots=True)
class Answers:
    """Targets and predictions of one split, row by row.

    Args:
        rows: (N,) row ids.
        labels: the K label names; the columns of `scores`.
        targets: (N,) int, index into `labels`; -1 where the label is unknown to the model.
        scores: (N, K) float64 probabilities.
        weights: (N,) or (R, N) how often each row counts, for R resamples at once; None: each once.
    """

    rows: np.ndarray
    labels: list[str]
    targets: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _drawn: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def predicted(self) -> np.ndarray:
        """(N,) index of the most probable label."""
        return self.keep("predicted", lambda: self.scores.argmax(1))

    @property
    def confidence(self) -> np.ndarray:
        """(N,) probability of the most probable label."""
        return self.keep("confidence", lambda: self.scores.max(1))

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool; False where the label is unknown."""
        return self.keep("correct", lambda: self.predicted == self.targets)

    def take(self, index: np.ndarray) -> Answers:
        """Return the rows at these places, which may repeat."""
        return Answers(self.rows[index], self.labels, self.targets[index], self.scores[index])

    def weighted(self, weights: np.ndarray) -> Answers:
        """Return the same rows with other weights; what was computed row by row is shared."""
        return Answers(self.rows, self.labels, self.targets, self.scores, weights, self._kept)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value that depends on the rows but not on their weights, computed once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def keep_drawn(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value that depends on the weights as well, computed once for these weights."""
        if name not in self._drawn:
            self._drawn[name] = make()
        return self._drawn[name]

    def total(self, values: np.ndarray) -> Any:
        """Return the weighted sum of (N,) values: a number, or one for each resample."""
        return values.sum() if self.weights is None else self.weights @ values.astype(np.float64)

    def histogram(self, places: np.ndarray, num_places: int, values: np.ndarray | None = None) -> np.ndarray:
        """Return the weighted sum of `values` (default: ones) by place: (num_places,) or (R, num_places).

        Args:
            places: (N,) int; a row with a place below 0 is left out.
        """
        inside = places >= 0
        weights = self.weights if self.weights is not None else np.ones(len(places))
        if values is not None:
            weights = weights * values
        if weights.ndim == 1:
            return np.bincount(places[inside], weights[inside], num_places)
        shifted = places[inside] + num_places * np.arange(len(weights))[:, None]
        return np.bincount(shifted.ravel(), weights[:, inside].ravel(), num_places * len(weights)).reshape(
            len(weights), num_places
        )


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value with its interval, and n, the number of rows it rests on."""

    metric: str
    value: float
    low: float
    high: float
    n: int


def metric(*, low: float, high: float, better: str, weighted: bool = False) -> Callable[[Metric], Metric]:
    """Mark a function as a metric with its range and the better direction, `higher` or `lower`.

    Args:
        weighted: the function honours `answers.weights`, also when they are (R, N), and then returns (R,).
    """

    def mark(function: Metric) -> Metric:
        function.range = (low, high)  # type: ignore[attr-defined]
        function.better = better  # type: ignore[attr-defined]
        function.weighted = weighted  # type: ignore[attr-defined]
        return function

    return mark


def find(name: str) -> Metric:
    """Return the metric of a name such as `f1` or `f1[refund]`.

    Raises:
        UsageError: there is no such metric; the nearest names are given.
    """
    base, label = split_name(name)
    if label is None:
        return registry.part("metric", base)
    if base not in BY_CLASS:
        raise UsageError(
            f"There is no metric {name!r}.",
            hint=f"of one class there are {', '.join(f'{b}[{label}]' for b in BY_CLASS)}",
        )
    from septet.metrics.classify import of_class

    return of_class(base, label)


def compute(names: Sequence[str], answers: Answers) -> dict[str, float]:
    """Return the value of each metric, by name.

    Raises:
        UsageError: there is no metric of that name, or no row to measure.
    """
    measures = {name: find(name) for name in names}
    if not len(answers):
        raise UsageError("There is no row to measure.")
    return {name: float(np.nan_to_num(measure(answers))) for name, measure in measures.items()}


def higher_is_better(name: str) -> bool:
    """Whether a larger value of the metric is the better one."""
    return find(name).better == "higher"  # type: ignore[attr-defined]


def num_rows(name: str, answers: Answers) -> int:
    """Return the rows a metric rests on: those of the class for a class, those with a known label for the log loss."""
    _, label = split_name(name)
    if label is not None:
        return int((answers.targets == answers.labels.index(label)).sum())
    return int((answers.targets >= 0).sum()) if name == "log_loss" else len(answers)


def split_name(name: str) -> tuple[str, str | None]:
    """Return ("f1", "refund") for `f1[refund]` and ("f1", None) for `f1`."""
    if name.endswith("]") and "[" in name:
        base, _, label = name[:-1].partition("[")
        return base, label
    return name, None
