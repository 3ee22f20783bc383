"""Labels that a model doubts: confident learning on probabilities of rows that the model did not learn from.

1. A label's threshold is the mean probability that rows given this label get for it: a label of which the model is never sure is not
   doubted everywhere.
2. A row counts for a label where that label reaches its threshold and is the likeliest of those that do. The counts (given label, counted
   label) say which share of each given label is wrong; rows that reach no threshold are taken to be as those that do.
3. Of each label, that many rows are doubtful: those whose given label is least likely, if another is likelier at all.

A row is ambiguous when two labels are nearly as likely as each other, and it is not doubtful. Labels of few rows are left alone.

Source: Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels": the confident joint (3.1) and its
calibration, pruned by class (3.2): by the given label's probability, which finds more than the margin to the likeliest does (docs/why.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 0.1  # of two labels that are nearly as likely as each other
LEAST = 0.3  # of the second one: a tie between two of seventy labels at 0.05 each is no tie but ignorance


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model makes of the labels of N rows.

    Args:
        given: (N,) float64 probability of the row's own label.
        suggested: (N,) int64 the label it should have: its own where the row is not doubtful.
        confidence: (N,) float64 probability of the suggested label.
        doubtful: (N,) bool.
        ambiguous: (N,) bool: two labels nearly as likely as each other, and not doubtful.
        rivals: (N, 2) int64 the two likeliest labels.
    """

    given: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray
    doubtful: np.ndarray
    ambiguous: np.ndarray
    rivals: np.ndarray

    @property
    def ranked(self) -> np.ndarray:
        """(D,) int64: the doubtful rows, those first whose given label is least likely."""
        found = np.flatnonzero(self.doubtful)
        return found[np.argsort(self.given[found], kind="stable")]


def thresholds(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (K,) float64: the mean probability of each label over the rows that have it; 2, which nothing reaches, without rows."""
    given = probabilities[np.arange(len(targets)), targets]
    num_labels = probabilities.shape[1]
    counts = np.bincount(targets, minlength=num_labels)
    sums = np.bincount(targets, weights=given, minlength=num_labels)
    return np.where(counts > 0, sums / np.maximum(1, counts), 2.0)


def judge(
    probabilities: np.ndarray, targets: np.ndarray, limits: np.ndarray, *, judged: np.ndarray | None = None
) -> Judged:
    """Return which rows are doubtful.

    Args:
        probabilities: (N, K), K from 2, of rows that the model has not learned from.
        targets: (N,) int64 the labels given.
        limits: (K,) from `thresholds`.
        judged: (K,) bool: labels that have rows enough; a row of another is not doubtful, and no other is suggested. All when None.
    """
    rows = np.arange(len(targets))
    known = np.ones(probabilities.shape[1], dtype=bool) if judged is None else judged
    # the last digits of a product are not the same on every machine; which rows are found should be
    probabilities = np.round(probabilities.astype(np.float64), 5)
    given = probabilities[rows, targets]
    eligible = np.where(known, probabilities, -1.0)
    behind = eligible.max(1) > given
    doubtful = np.zeros(len(targets), dtype=bool)
    for label, count in enumerate(_wrong(eligible, targets, np.round(limits, 5))):
        own = np.flatnonzero((targets == label) & behind)
        if known[label] and count:
            doubtful[own[np.argsort(given[own], kind="stable")[:count]]] = True
    rivals = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    first, second = probabilities[rows, rivals[:, 0]], probabilities[rows, rivals[:, 1]]
    ambiguous = ~doubtful & (second >= LEAST) & (first - second <= MARGIN)
    suggested = np.where(doubtful, eligible.argmax(1), targets)
    return Judged(given, suggested, probabilities[rows, suggested], doubtful, ambiguous, rivals)


def _wrong(probabilities: np.ndarray, targets: np.ndarray, limits: np.ndarray) -> list[int]:
    """Return how many rows of each given label have another one, by the confident joint."""
    sure = np.where(probabilities >= limits, probabilities, -1.0)
    counted = sure.max(1) >= 0
    num_labels = len(limits)
    right = np.bincount(targets[counted & (sure.argmax(1) == targets)], minlength=num_labels)
    all_counted = np.bincount(targets[counted], minlength=num_labels)
    shares = np.where(all_counted > 0, 1 - right / np.maximum(1, all_counted), 0.0)
    return np.rint(shares * np.bincount(targets, minlength=num_labels)).astype(int).tolist()
