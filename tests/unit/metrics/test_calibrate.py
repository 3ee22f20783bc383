import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from septet.metrics import Choices, compute
from septet.metrics.calibrate import BINS, reliability


def binary(n: int = 2000, seed: int = 0, pull: float = 1.0) -> Choices:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    targets = (rng.random(n) < p**pull).astype(int)
    return Choices(np.arange(n), ["no", "yes"], targets, np.stack([1 - p, p], 1))


def test_calibration_error_is_that_of_sklearns_bins():
    answers = binary(pull=2.0)
    right, confidence = answers.correct, answers.confidence
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    counts = np.bincount(np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1), minlength=BINS)
    counts = counts[counts > 0]
    expected = (np.abs(accuracy - mean) * counts).sum() / len(answers)
    assert compute(["calibration_error"], answers)["calibration_error"] == pytest.approx(expected)


def test_honest_probabilities_have_little_error_and_boasting_has_much():
    honest = compute(["calibration_error"], binary(20_000))["calibration_error"]
    sure = Choices(np.arange(100), ["a", "b"], np.arange(100) % 2, np.tile([0.99, 0.01], (100, 1)))
    assert honest < 0.02
    assert compute(["calibration_error"], sure)["calibration_error"] == pytest.approx(0.49)


def test_unknown_labels_count_as_wrong():
    answers = Choices(np.arange(2), ["a", "b"], np.array([-1, 0]), np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert compute(["calibration_error", "brier"], answers) == pytest.approx(
        {"calibration_error": 0.4, "brier": (0.81 + 0.01 + 1 + 0.02) / 2}
    )


def test_reliability_holds_every_row_once():
    answers = binary(500)
    bins = reliability(answers)
    assert sum(b["n"] for b in bins) == 500
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)
    error = sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 500
    assert error == pytest.approx(compute(["calibration_error"], answers)["calibration_error"])


def test_edges_belong_to_the_bin_below_and_certainty_to_the_last():
    scores = np.array([[1.0, 0.0], [0.6, 0.4]])
    bins = reliability(Choices(np.arange(2), ["a", "b"], np.array([0, 0]), scores))
    assert [b["high"] for b in bins] == pytest.approx([9 / 15, 1.0])
