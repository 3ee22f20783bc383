"""`check_metric`: a metric stays in its range, is best when every answer is right, and counts rows, not their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from septet import registry
from septet.metrics import Answers
from septet.testing.contract import require


def check_metric(metric: str | Callable[..., Any]) -> None:
    """Check a metric by its registered name, or as a function marked with `@metric`.

    Raises:
        ContractError: it breaks a promise.
    """
    function: Any = registry.part("metric", metric) if isinstance(metric, str) else metric
    name = metric if isinstance(metric, str) else metric.__name__
    require(
        bool((function.__doc__ or "").strip()), f"{name} has a docstring.", expected="one sentence", received="none"
    )
    require(
        hasattr(function, "range"),
        f"{name} is marked with @metric.",
        expected="a range and a direction",
        received="neither",
    )
    require(
        function.better in ("higher", "lower"),
        f"{name} says which direction is better.",
        expected="higher or lower",
        received=function.better,
    )
    for seed in range(12):
        answers = _answers(seed)
        value = _value(function, answers, name)
        _check_order(function, answers, value, name)
        _check_repeats(function, answers, name)
        best = _value(function, _perfect(answers), name)
        worse = value > best + 1e-9 if function.better == "higher" else value < best - 1e-9
        require(
            not worse or math.isnan(value),
            f"{name} is best when every answer is right.",
            expected=f"at best {best}",
            received=value,
        )
    for answers in (_one_row(), _unknown_only()):
        _value(function, answers, name)


def _value(function: Any, answers: Answers, name: str) -> float:
    value, again = float(function(_fresh(answers))), float(function(_fresh(answers)))
    require(value == again or math.isnan(value), f"{name} is deterministic.", expected=value, received=again)
    low, high = function.range
    require(
        math.isnan(value) or low - 1e-9 <= value <= high + 1e-9,
        f"{name} stays in its range.",
        expected=f"{low} to {high}",
        received=value,
    )
    return value


def _check_order(function: Any, answers: Answers, value: float, name: str) -> None:
    turned = float(function(answers.take(np.arange(len(answers))[::-1])))
    require(_same(value, turned), f"{name} does not depend on the order of the rows.", expected=value, received=turned)


def _check_repeats(function: Any, answers: Answers, name: str) -> None:
    """A weight of 2 is the row twice; several resamples at once are each of them alone."""
    if not function.weighted:
        return
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (3, len(answers))).astype(np.float64)
    counts[:, 0] = 1
    together = np.asarray(function(answers.weighted(counts)), dtype=np.float64)
    require(
        together.shape == (3,),
        f"{name} takes several resamples at once.",
        expected="shape (3,)",
        received=together.shape,
    )
    for weights, value in zip(counts, together, strict=True):
        repeated = float(function(answers.take(np.repeat(np.arange(len(answers)), weights.astype(int)))))
        require(
            _same(repeated, float(value)),
            f"{name} counts a weight of 2 as the row twice.",
            expected=repeated,
            received=float(value),
        )


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _fresh(answers: Answers) -> Answers:
    return replace(answers, _kept={}, _drawn={})


def _answers(seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    labels = [f"label{i}" for i in range(2 + seed % 4)]
    n = int(rng.integers(5, 60))
    scores = rng.dirichlet(np.full(len(labels), 0.5), n)
    targets = rng.integers(-1 if seed % 2 else 0, len(labels), n)
    targets[0] = 0
    return Answers(rng.integers(0, 2**62, n), labels, targets, scores)


def _perfect(answers: Answers) -> Answers:
    targets = np.maximum(answers.targets, 0)
    return Answers(answers.rows, answers.labels, targets, np.eye(len(answers.labels))[targets])


def _one_row() -> Answers:
    return Answers(np.array([1]), ["a", "b"], np.array([1]), np.array([[1.0, 0.0]]))


def _unknown_only() -> Answers:
    return Answers(np.array([1, 2]), ["a", "b"], np.array([-1, -1]), np.array([[1.0, 0.0], [0.5, 0.5]]))
