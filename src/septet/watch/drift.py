"""Drift tests: do these requests come from where the validation rows came from?

Three questions, each a two-sample test that is exact at any sample size, since its p-value comes from permutations:
the texts (kernel two-sample test on pooled embeddings), the predicted labels (likelihood-ratio test), the lengths
(Kolmogorov-Smirnov). Holm's correction keeps the probability that *any* of them cries wolf below `false_alarm`.

Left out: drift of the true labels given the text, which no test can see without labels.

Source:
    Gretton et al. 2012, "A Kernel Two-Sample Test", the biased MMD² with a Gaussian kernel, its width the median
    distance; Holm 1979; p-values count the observed value itself (Phipson and Smyth 2010).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Name = Literal["text", "labels", "length", "coverage"]
MAX_ROWS = 1_000
NEIGHBOURS = 5
FAR = 0.95
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """Answered rows.

    Args:
        labels: how often each label was predicted.
        tokens: (N,) tokens of each row.
        embeddings: (M, H) pooled embeddings; rows that are not finite are left out of the test.
    """

    labels: dict[str, int]
    tokens: np.ndarray
    embeddings: np.ndarray


@dataclass(slots=True)
class Test:
    """One test's outcome.

    Args:
        name: `text`, `labels`, `length` or `coverage`.
        statistic: MMD², G, the largest distance of the distribution functions, or the share of rows that are far.
        p: probability of such a statistic without drift.
        n: rows of the reference and of the window that it used.
        drift: whether it counts as drift after Holm's correction.
        threshold: what p was compared with.
        effect: how large the difference is, in words that need no statistics.
    """

    __test__ = False

    name: Name
    statistic: float
    p: float
    n: tuple[int, int]
    effect: dict[str, Any] = field(default_factory=dict)
    drift: bool = False
    threshold: float = 0.0

    def to_json(self) -> dict[str, Any]:
        figures = {"statistic": self.statistic, "p": self.p, "threshold": self.threshold, "drift": self.drift}
        return {"test": self.name, **figures, "n_reference": self.n[0], "n_window": self.n[1], "effect": self.effect}


def compare(
    reference: Sample,
    window: Sample,
    *,
    false_alarm: float = 0.01,
    permutations: int = 1000,
    seed: int = 42,
    beside: Sequence[Test | None] = (),
) -> list[Test]:
    """Return the tests that could be made, Holm's correction applied.

    Args:
        reference: the validation rows.
        window: the requests.
        false_alarm: probability that any test says drift where there is none.
        permutations: at least; more are drawn where `false_alarm` needs a finer p-value.
        seed: of the permutations.
        beside: further tests that share the rate.
    """
    draws = max(permutations, math.ceil(6 / false_alarm))
    streams = np.random.default_rng(seed).spawn(3)
    tests = [
        text_test(reference.embeddings, window.embeddings, draws=draws, rng=streams[0]),
        labels_test(reference.labels, window.labels, draws=draws, rng=streams[1]),
        length_test(reference.tokens, window.tokens, draws=draws, rng=streams[2]),
    ]
    made = [test for test in (*tests, *beside) if test is not None]
    _holm(made, false_alarm)
    return made


def text_test(reference: np.ndarray, window: np.ndarray, *, draws: int, rng: np.random.Generator) -> Test | None:
    """Test whether two sets of embeddings differ; None where there are none to compare.

    Args:
        reference: (N, H); a random 1,000 rows of it are used.
        window: (M, H); likewise.
        draws: permutations.
        rng: their source.
    """
    if not len(reference) or not len(window) or reference.shape[1] != window.shape[1]:
        return None
    ours, theirs = _directions(reference, rng), _directions(window, rng)
    if len(ours) < 2 or len(theirs) < 2:
        return None
    distances = _squared_distances(np.concatenate([ours, theirs]))
    width = float(np.median(distances[np.triu_indices(len(distances), 1)]))
    kernel = np.exp(-distances / width) if width > 0 else np.ones_like(distances)
    observed, permuted = _mmd(kernel, len(ours), draws=draws, rng=rng)
    effect = {"told_apart": told_apart(kernel, len(ours)), "far_share": far_share(distances, len(ours))}
    p = (1 + int((permuted >= observed * (1 - 1e-6)).sum())) / (1 + draws)
    return Test("text", float(observed), p if width > 0 else 1.0, (len(ours), len(theirs)), effect)


def labels_test(
    reference: dict[str, int], window: dict[str, int], *, draws: int, rng: np.random.Generator
) -> Test | None:
    """Test whether the labels are predicted as often as they were; arguments as for `text_test`."""
    names = sorted({*reference, *window}, key=lambda name: -reference.get(name, 0))
    ours = np.array([reference.get(name, 0) for name in names])
    theirs = np.array([window.get(name, 0) for name in names])
    if not ours.sum() or not theirs.sum():
        return None
    observed, permuted = _resampled(ours, theirs, statistic=_likelihood_ratio, draws=draws, rng=rng)
    before, now = ours / ours.sum(), theirs / theirs.sum()
    order = np.argsort(-np.abs(now - before), kind="stable")[:5]
    moved = [{"label": names[i], "before": round(float(before[i]), 4), "now": round(float(now[i]), 4)} for i in order]
    effect = {"moved_share": round(float(np.abs(now - before).sum() / 2), 4), "labels": moved}
    return Test("labels", observed, _p(observed, permuted), (int(ours.sum()), int(theirs.sum())), effect)


def length_test(reference: np.ndarray, window: np.ndarray, *, draws: int, rng: np.random.Generator) -> Test | None:
    """Test whether the rows are as long as they were; arguments as for `text_test`."""
    if not len(reference) or not len(window):
        return None
    values, place = np.unique(np.concatenate([reference, window]), return_inverse=True)
    ours = np.bincount(place[: len(reference)], minlength=len(values))
    theirs = np.bincount(place[len(reference) :], minlength=len(values))
    observed, permuted = _resampled(ours, theirs, statistic=_largest_gap, draws=draws, rng=rng)
    quantiles = {"median": 0.5, "p95": 0.95}
    effect = {
        "before": {name: float(np.quantile(reference, q)) for name, q in quantiles.items()},
        "now": {name: float(np.quantile(window, q)) for name, q in quantiles.items()},
    }
    return Test("length", observed, _p(observed, permuted), (len(reference), len(window)), effect)


def coverage_test(reference: np.ndarray, window: np.ndarray, *, rng: np.random.Generator) -> Test | None:
    """Test whether more of the window lies far from the reference than chance would have it; None where there is too little to say.

    Half of the reference is what rows are near to or far from, the other half shows how far rows of the same origin lie: without drift it and the
    window are exchangeable, and of all rows beyond a common threshold the window's number is hypergeometric, exactly.
    """
    if not len(reference) or not len(window) or reference.shape[1] != window.shape[1]:
        return None
    usual, theirs = distances(reference, window, rng=rng)
    if not len(usual) or not len(theirs):
        return None
    from scipy.stats import hypergeom

    both = np.concatenate([usual, theirs])
    threshold = float(np.quantile(both, FAR))
    far, beyond = int((both > threshold).sum()), int((theirs > threshold).sum())
    p = float(hypergeom.sf(beyond - 1, len(both), far, len(theirs)))
    own = float(np.quantile(usual, FAR))
    effect = {"far_share": round(float((theirs > own).mean()), 4), "expected": round(1 - FAR, 4)}
    return Test("coverage", beyond / len(theirs), min(1.0, p), (len(reference), len(window)), effect)


def distances(reference: np.ndarray, window: np.ndarray, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rows lie from one half of the reference: those of its other half, and those of the window.

    The distance is 1 - cosine to the fifth-nearest row. Rows that are not finite are infinitely far in the window, and left out of the reference.
    """
    finite = reference[np.isfinite(reference).all(1)]
    order = rng.permutation(len(finite))
    base, held = finite[order[::2]], finite[order[1::2]]
    if len(base) < NEIGHBOURS or not len(held):
        return np.zeros(0), np.zeros(0)
    return _nearest(base, held), _nearest(base, window)


def unusual(reference: np.ndarray, window: np.ndarray, *, most: int = 10) -> list[tuple[int, float]]:
    """Return the window's rows that lie farthest from the reference: (index, distance), farthest first."""
    usable = np.flatnonzero(np.isfinite(window).all(1)) if window.size else np.array([], int)
    finite = reference[np.isfinite(reference).all(1)][:MAX_ROWS] if reference.size else reference
    if not len(usable) or not len(finite) or reference.shape[1] != window.shape[1]:
        return []
    nearest = _nearest(finite, window[usable])
    order = np.argsort(-nearest, kind="stable")[:most]
    return [(int(usable[i]), round(float(nearest[i]), 4)) for i in order]


def told_apart(kernel: np.ndarray, n: int) -> float:
    """Return how often a row of the window looks more like the window than a row of the reference does; 0.5 is chance.

    Args:
        kernel: (N + M, N + M) similarities, the reference first; no row is compared with itself.
        n: the number of rows of the reference.
    """
    m = len(kernel) - n
    own = np.diag(kernel)
    to_reference = (kernel[:, :n].sum(1) - np.where(np.arange(n + m) < n, own, 0)) / np.r_[
        np.full(n, n - 1), np.full(m, n)
    ]
    to_window = (kernel[:, n:].sum(1) - np.where(np.arange(n + m) < n, 0, own)) / np.r_[
        np.full(n, m), np.full(m, m - 1)
    ]
    leaning = to_window - to_reference
    ours = np.sort(leaning[:n])
    below, upto = np.searchsorted(ours, leaning[n:], "left"), np.searchsorted(ours, leaning[n:], "right")
    return round(float((below + upto).mean() / (2 * n)), 4)


def far_share(distances: np.ndarray, n: int) -> float:
    """Return the share of the window's rows that lie farther from the reference than 95 % of the reference's own do.

    Args:
        distances: (N + M, N + M) squared distances, the reference first.
        n: the number of rows of the reference.
    """
    near = min(NEIGHBOURS, n - 1)
    own = np.partition(distances[:n, :n], near, axis=1)[:, near]  # its nearest is itself
    theirs = np.partition(distances[n:, :n], near - 1, axis=1)[:, near - 1]
    return round(float((theirs > np.quantile(own, FAR)).mean()), 4)


# ---- parts ----


def _holm(tests: Sequence[Test], false_alarm: float) -> None:
    standing = True
    for rank, test in enumerate(sorted(tests, key=lambda t: t.p)):
        test.threshold = false_alarm / (len(tests) - rank)
        standing = standing and test.p <= test.threshold
        test.drift = standing


def _nearest(base: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (N,) distance of each row to its fifth-nearest row of the base, or to the last of fewer."""
    found = np.full(len(rows), np.inf)
    near, turned = min(NEIGHBOURS, len(base)) - 1, _unit(base).T
    for start in range(0, len(rows), MAX_ROWS):
        some = rows[start : start + MAX_ROWS]
        usable = np.isfinite(some).all(1)
        found[start : start + MAX_ROWS][usable] = np.partition(1 - _unit(some[usable]) @ turned, near, axis=1)[:, near]
    return found


def _directions(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) > MAX_ROWS:
        rows = rows[rng.permutation(len(rows))[:MAX_ROWS]]
    return _unit(rows)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    squares = (rows * rows).sum(1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _mmd(kernel: np.ndarray, n: int, *, draws: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Return the biased MMD² of the first n rows and the rest, and (draws,) values under permutation."""
    total = len(kernel)
    signs = np.full(total, -1 / n, np.float32)
    signs[n:] = 1 / (total - n)
    observed = float(signs @ kernel @ signs)
    found = [_quadratic(rng.permuted(np.tile(signs, (size, 1)), axis=1), kernel) for size in _blocks(draws)]
    return observed, np.concatenate(found)


def _quadratic(signs_PN: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("pn,pn->p", signs_PN @ kernel, signs_PN)


def _blocks(draws: int) -> Iterator[int]:
    for start in range(0, draws, _BLOCK):
        yield min(_BLOCK, draws - start)


def _resampled(
    ours: np.ndarray, theirs: np.ndarray, *, statistic: Any, draws: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Return a statistic of two count vectors, and its (draws,) values when the rows are dealt out at random."""
    both, size = ours + theirs, int(theirs.sum())
    dealt = rng.multivariate_hypergeometric(both, size, size=draws, method="marginals")
    return float(statistic(ours[None], theirs[None])[0]), statistic(both - dealt, dealt)


def _likelihood_ratio(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    both = ours + theirs
    total = 0.0
    for counts in (ours, theirs):
        share = counts.sum(1, keepdims=True) / both.sum(1, keepdims=True)
        expected = np.maximum(both * share, 1e-12)
        total = total + 2 * (counts * np.log(np.maximum(counts, 1e-12) / expected)).sum(1)
    return np.asarray(total)


def _largest_gap(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    before = ours.cumsum(1) / ours.sum(1, keepdims=True)
    now = theirs.cumsum(1) / theirs.sum(1, keepdims=True)
    return np.abs(before - now).max(1)


def _p(observed: float, permuted: np.ndarray) -> float:
    return (1 + int((permuted >= observed - 1e-9).sum())) / (1 + len(permuted))
