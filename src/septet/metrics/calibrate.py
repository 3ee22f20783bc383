"""Metrics of the probabilities: log loss, Brier score, calibration error; and the reliability table behind the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from septet.metrics import Choices, metric

BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4


@metric(low=0, high=float("inf"), better="lower", weighted=True)
def log_loss(answers: Choices) -> Any:
    """Mean of -ln(probability of the right label), in nats.

    Probabilities are clipped to at least 2.2e-16 (float64's epsilon, as in scikit-learn), so that one certain mistake costs 36 nats
    and not infinity. Rows with an unknown label have no such probability and are left out; `n` says so.
    """
    known = (answers.targets >= 0).astype(np.float64)
    divisor = np.asarray(answers.total(known))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(divisor > 0, answers.total(row_losses(answers) * known) / divisor, np.nan)


@metric(low=0, high=2, better="lower", weighted=True)
def brier(answers: Choices) -> Any:
    """Mean squared distance between the probabilities and the right answer, summed over the labels (Brier 1950): 0 to 2."""
    return answers.total(answers.keep("brier", lambda: _squares(answers))) / _size(answers)


@metric(low=0, high=1, better="lower", weighted=True)
def calibration_error(answers: Choices) -> Any:
    """Expected calibration error: |accuracy - confidence| over 15 bins of equal width, weighted by their rows.

    Equal width, not equal mass: it is the definition that published figures use, and its bins do not move from one resample to the next.

    Source:  Guo et al. 2017, eq. 3.
    """
    places = bins(answers)
    right = answers.histogram(places, BINS, answers.correct.astype(np.float64))
    sure = answers.histogram(places, BINS, answers.confidence)
    return np.abs(right - sure).sum(-1) / _size(answers)


def row_losses(answers: Choices) -> np.ndarray:
    """Return (N,) -ln(probability of the right label); 0 where the label is unknown."""
    return answers.keep("losses", lambda: _losses(answers))


def reliability(answers: Choices) -> list[dict[str, float]]:
    """Return the bins of the calibration error that hold rows: their edges, n, mean confidence and accuracy."""
    places = bins(answers)
    counts = np.bincount(places, minlength=BINS)
    right = np.bincount(places, answers.correct, BINS)
    sure = np.bincount(places, answers.confidence, BINS)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int(counts[b]),
            "confidence": sure[b] / counts[b],
            "accuracy": right[b] / counts[b],
        }
        for b in range(BINS)
        if counts[b]
    ]


def bins(answers: Choices) -> np.ndarray:
    """Return (N,) the bin of each row's confidence; the upper edge belongs to the bin."""
    return answers.keep("bins", lambda: np.clip(np.ceil(answers.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1))


def _size(answers: Choices) -> Any:
    return len(answers) if answers.weights is None else answers.weights.sum(-1)


def _losses(answers: Choices) -> np.ndarray:
    known = answers.targets >= 0
    chosen = answers.scores[np.arange(len(answers)), np.where(known, answers.targets, 0)]
    return np.where(known, -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0)), 0.0)


def _squares(answers: Choices) -> np.ndarray:
    known = answers.targets >= 0
    chosen = np.where(known, answers.scores[np.arange(len(answers)), np.where(known, answers.targets, 0)], 0.0)
    return (answers.scores**2).sum(1) - 2 * chosen + 1
