"""Metrics: one public function is one metric.

A metric is `f(answers) -> float`, marked with `@metric`, which states its range, which direction is better, and of which kind
of answers it is: `Choices` among labels, or `Texts` (those of texts say whether they need the generated text or only the loss).
A metric marked `weighted=True` honours `answers.weights`, and then takes many resamples of the rows at once: that is what makes
its bootstrap interval quick. Any other function of answers works too; its resamples are drawn row by row.

`compute(["accuracy", "f1", "f1[refund]"], answers)` gives values; `septet.metrics.interval` gives them with intervals and
compares two systems on the same rows. `f1[refund]` is a metric of one class: any of `precision`, `recall`, `f1`. `adherence[mention]` is
of one kind of limit (`adhere.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from septet import registry
from septet.errors import UsageError
from septet.metrics._answers import BY_KIND, LIMITS_HINT, Answers, Choices, Texts, split_name

__all__ = [
    "BY_CLASS",
    "BY_KIND",
    "KINDS",
    "LIMITS_HINT",
    "OF_WRITING",
    "Answers",
    "Choices",
    "Metric",
    "Score",
    "Texts",
    "compute",
    "find",
    "higher_is_better",
    "metric",
    "names_of",
    "needs_limits",
    "needs_texts",
    "split_name",
]

BY_CLASS = ("precision", "recall", "f1")
KINDS = (Choices.kind, Texts.kind)
# by which written answers are compared where there is no loss: the first that can be computed
OF_WRITING = (BY_KIND, "chrf")

Metric = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value with its interval, and n, the number of rows it rests on."""

    metric: str
    value: float
    low: float
    high: float
    n: int


def metric(
    *,
    low: float,
    high: float,
    better: str,
    weighted: bool = False,
    of: Literal["choices", "texts"] = "choices",
    needs: Literal["texts", "loss", "limits"] | None = None,
) -> Callable[[Metric], Metric]:
    """Mark a function as a metric with its range and the better direction, `higher` or `lower`.

    Asked of another kind of answers, or of answers that lack what it needs, a marked function raises UsageError.

    Args:
        weighted: the function honours `answers.weights`, also when they are (R, N), and then returns (R,).
        of: the kind of answers it measures.
        needs: of texts: the generated `texts` (the default), these and the `limits` of each row, or only the `loss` of the references.
    """
    if of == Texts.kind and needs is None:
        needs = "texts"

    def mark(function: Metric) -> Metric:
        @functools.wraps(function)
        def measure(answers: Answers) -> Any:
            _check_kind(measure.__name__, of, answers)
            answers.check(measure.__name__, needs)
            return function(answers)

        marks = {"range": (low, high), "better": better, "weighted": weighted, "of": of, "needs": needs}
        for name, value in marks.items():
            setattr(measure, name, value)
        return measure

    return mark


def find(name: str) -> Metric:
    """Return the metric of a name such as `f1`, `f1[refund]` or `adherence[mention]`.

    Raises:
        UsageError: there is no such metric; the nearest names are given.
    """
    base, label = split_name(name)
    if label is None:
        return registry.part("metric", base)
    if base == BY_KIND:
        from septet.metrics.adhere import of_kind

        return of_kind(label)
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
        UsageError: there is no metric of that name, no row to measure, or the metric is of other answers or needs what these lack.
    """
    measures = {name: find(name) for name in names}
    if not len(answers):
        raise UsageError("There is no row to measure.")
    return {name: float(np.nan_to_num(measure(answers))) for name, measure in measures.items()}


def higher_is_better(name: str) -> bool:
    """Whether a larger value of the metric is the better one."""
    return find(name).better == "higher"  # type: ignore[attr-defined]


def needs_texts(name: str) -> bool:
    """Whether the metric is of generated texts, so that someone has to write them first."""
    return getattr(find(name), "needs", None) in ("texts", "limits")


def needs_limits(name: str) -> bool:
    """Whether the metric is of the limits that rows state."""
    return getattr(find(name), "needs", None) == "limits"


def names_of(kind: str) -> list[str]:
    """Return the registered metrics of a kind of answers, `choices` or `texts`, sorted."""
    return [name for name in registry.names("metric") if getattr(find(name), "of", Choices.kind) == kind]


def _check_kind(name: str, kind: str, answers: Answers) -> None:
    if kind != answers.kind:
        raise UsageError(
            f"{name} is a metric of {kind}; these answers are {answers.kind}.",
            hint=f"metrics of {answers.kind}: {', '.join(names_of(answers.kind))}",
        )
