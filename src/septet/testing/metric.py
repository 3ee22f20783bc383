"""`check_metric`: a metric stays in its range, is best when every answer is right, and counts rows, not their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from septet import registry
from septet.metrics import KINDS, Answers
from septet.testing.answers import draws
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
    require(function.of in KINDS, f"{name} says which answers it is of.", expected=KINDS, received=function.of)
    made = draws(function.of, function.needs)
    _check_needs(function, made.usual(0), name)
    for seed in range(12):
        answers = made.usual(seed)
        value = _value(function, answers, name)
        _check_order(function, answers, value, name)
        _check_repeats(function, answers, name)
        best = _value(function, made.right(answers), name)
        worse = value > best + 1e-9 if function.better == "higher" else value < best - 1e-9
        require(
            not worse or math.isnan(value),
            f"{name} is best when every answer is right.",
            expected=f"at best {best}",
            received=value,
        )
    for answers in made.awkward():
        _value(function, answers, name)


def _check_needs(function: Any, answers: Answers, name: str) -> None:
    """Answers hold only what the metric says it needs; a metric of class labels finds all there is."""
    try:
        function(_fresh(answers))
    except Exception as error:
        expected = f"a value from the {function.needs} alone" if function.needs else "a value"
        require(False, f"{name} measures {function.of}.", expected=expected, received=repr(error))


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
