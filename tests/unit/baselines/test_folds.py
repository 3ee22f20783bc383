"""Out of fold: no row is judged by a model that has learned from it, in whatever order the folds come."""

from __future__ import annotations

import numpy as np
import pytest

from septet.baselines import _folds


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_follow_from_nothing_are_found_by_chance_alone(seed: int) -> None:
    """More features than rows: any model that has seen a row knows its label."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(200, 400)).astype(np.float32)
    targets = rng.integers(4, size=200)
    folds = [list(range(fold, 200, 5)) for fold in range(5)]
    judge = _folds.out_of_fold(vectors, targets, folds, num_labels=4, candidates=(1.0,), seed=0)
    right = judge.probabilities.argmax(1) == targets
    assert right.mean() < 0.4
    assert all(right[fold].mean() < 0.55 for fold in folds)  # a quarter by chance, of 40 rows


def test_a_fold_does_not_depend_on_those_before_it() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    vectors = (np.eye(3)[targets] + rng.normal(size=(60, 3))).astype(np.float32)
    folds = [list(range(fold, 60, 3)) for fold in range(3)]
    first, second = (
        _folds.out_of_fold(vectors, targets, order, num_labels=3, candidates=(1.0,), seed=0)
        for order in (folds, folds[::-1])
    )
    assert np.allclose(first.probabilities, second.probabilities, atol=1e-6)
