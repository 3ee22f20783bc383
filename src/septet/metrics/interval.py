"""Intervals and paired tests by resampling rows, for any metric.

`intervals(names, answers)` gives each metric with its percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13);
`compare(name, ours, theirs)` resamples the same rows for two systems; `mcnemar` is exact and for accuracy. The draws depend on
`seed` and on the number of rows only, so that systems measured on the same rows are always paired. Memory stays bounded:
resamples are drawn in chunks of about two million row weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from septet.errors import UsageError
from septet.metrics import Answers, Choices, Metric, Score, compute, find

_CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours minus theirs on the same rows, with its interval and two-sided p-value.

    Args:
        value: difference of the metric.
        p: how often a resample puts the difference on the other side of 0, both sides; at least 2 / (resamples + 1).
    """

    metric: str
    value: float
    low: float
    high: float
    p: float
    n: int


def intervals(
    names: Sequence[str], answers: Answers, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> list[Score]:
    """Return each metric's value and percentile interval.

    Where all rows are right, or all wrong, every resample is like them and says nothing of rows to come; the bound is then the exact one
    of a share of so many rows (Clopper & Pearson 1934). A resample in which a metric is undefined (the class has no row in it) is left out of its interval; when that is so in all of them the
    interval is the value.

    Raises:
        UsageError: unknown metric, or no rows.
    """
    values = compute(names, answers)
    found = _resampled(names, [answers], resamples=resamples, seed=seed)[0]
    scores = []
    for i, name in enumerate(names):
        low, high = _edges(found[:, i], confidence, values[name])
        n = answers.num_rows(name)
        if isinstance(answers, Choices) and n and low == high == values[name]:
            low, high = _all_alike(values[name], n, confidence)
        scores.append(Score(name, values[name], low, high, n))
    return scores


def compare(
    name: str, ours: Answers, theirs: Answers, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> Difference:
    """Return the difference of a metric between two systems that answered the same rows.

    Raises:
        UsageError: the rows differ.
    """
    if not ours.pairs_with(theirs):
        raise UsageError("A paired test needs two systems that answered the same rows in the same order.")
    first, second = _resampled([name], [ours, theirs], resamples=resamples, seed=seed)
    differences = (first - second)[:, 0]
    value = compute([name], ours)[name] - compute([name], theirs)[name]
    low, high = _edges(differences, confidence, value)
    differences = differences[~np.isnan(differences)]
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (len(differences) + 1))
    return Difference(name, value, low, high, float(p), ours.num_rows(name))


def mcnemar(ours: Choices, theirs: Choices) -> tuple[int, int, float]:
    """Return the rows only we got right, the rows only they got right, and the exact two-sided p-value.

    Source:  McNemar 1947, with the binomial distribution instead of chi-squared.
    """
    won = int((ours.correct & ~theirs.correct).sum())
    lost = int((~ours.correct & theirs.correct).sum())
    return won, lost, _binomial_p(min(won, lost), won + lost)


def _resampled(names: Sequence[str], systems: Sequence[Answers], *, resamples: int, seed: int) -> list[np.ndarray]:
    """Return, for each system, (resamples, metrics) values over the same resampled rows."""
    measures = [find(name) for name in names]
    parts: list[list[np.ndarray]] = [[] for _ in systems]
    for weights in _weights(len(systems[0]), resamples, seed):
        for answers, found in zip(systems, parts, strict=True):
            drawn = answers.weighted(weights)
            found.append(np.stack([_values(measure, drawn, weights) for measure in measures], axis=1))
    return [np.concatenate(found) if found else np.empty((0, len(names))) for found in parts]


def _values(measure: Metric, drawn: Answers, weights: np.ndarray) -> np.ndarray:
    """Return (R,) values of a metric over R resamples."""
    if getattr(measure, "weighted", False):
        return np.asarray(measure(drawn), dtype=np.float64)
    places = np.arange(len(drawn))
    return np.array([float(measure(drawn.take(np.repeat(places, counts.astype(np.int64))))) for counts in weights])


def _weights(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (R, n) float64 counts: how often each row was drawn, with replacement."""
    rng = np.random.default_rng([seed, n])
    size = max(1, _CHUNK // n)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _edges(values: np.ndarray, confidence: float, fallback: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return fallback, fallback
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _all_alike(value: float, n: int, confidence: float) -> tuple[float, float]:
    """Return the bounds of a share that is 1 or 0 of `n` rows; of anything else, the value."""
    least = ((1 - confidence) / 2) ** (1 / n)
    return {1.0: (least, 1.0), 0.0: (0.0, 1 - least)}.get(value, (value, value))


def _binomial_p(least: int, n: int) -> float:
    """Two-sided p of at most `least` of `n` at one half; logs of gamma, so that large n stay finite."""
    if not n:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    return min(1.0, 2 * sum(math.exp(value) for value in logs))
