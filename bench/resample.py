"""The difference of two systems, each trained with several seeds, with an interval over rows and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from septet.metrics import Answers, compute, find

CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean over the seeds of each side, and ours minus theirs with its percentile interval.

    Args:
        low, high: a two-sided interval; `low` is the bound that a claim of "not worse" has to pass.
    """

    metric: str
    ours: float
    theirs: float
    value: float
    low: float
    high: float
    rows: int
    seeds: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def difference(
    metric: str,
    ours: Sequence[Answers],
    theirs: Sequence[Answers],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 42,
) -> Difference:
    """Return the difference of a metric's means over the seeds.

    In each resample the same rows are drawn for all systems, and the seeds of each side are drawn on their own, with replacement.

    Args:
        ours, theirs: answers to the same rows, one for each seed.

    Raises:
        ValueError: the rows differ, or a side has no seed.
    """
    if not ours or not theirs:
        raise ValueError("each side needs the answers of at least one seed")
    if any(not np.array_equal(each.rows, ours[0].rows) for each in [*ours, *theirs]):
        raise ValueError("the systems answered different rows")
    rng = np.random.default_rng([seed, len(ours[0])])
    drawn_SR = _resampled(metric, [*ours, *theirs], resamples, rng)
    first = _of_drawn_seeds(drawn_SR[: len(ours)], rng)
    second = _of_drawn_seeds(drawn_SR[len(ours) :], rng)
    low, high = np.quantile(first - second, [(1 - confidence) / 2, (1 + confidence) / 2])
    means = [float(np.mean([compute([metric], each)[metric] for each in side])) for side in (ours, theirs)]
    mean, other = means
    return Difference(metric, mean, other, mean - other, float(low), float(high), len(ours[0]), len(ours))


def _resampled(metric: str, systems: Sequence[Answers], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return (systems, resamples) values over the same resampled rows."""
    n = len(systems[0])
    measure = find(metric)
    size = max(1, CHUNK // n)
    parts = []
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = rng.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
        parts.append(np.stack([np.nan_to_num(measure(each.weighted(weights))) for each in systems]))
    return np.concatenate(parts, axis=1)


def _of_drawn_seeds(values_SR: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (R,) means over as many seeds, drawn with replacement in each resample."""
    seeds, resamples = values_SR.shape
    chosen = rng.integers(seeds, size=(seeds, resamples))
    return np.take_along_axis(values_SR, chosen, axis=0).mean(0)
