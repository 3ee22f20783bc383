"""The nearest rows of other folds: by the book, dense and sparse, and never a row of one's own fold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from septet.baselines import _neighbours
from septet.baselines._neighbours import NEAREST, SHARPNESS, Neighbours


def by_the_book(vector, own, vectors, targets, numbers, num_labels):
    cosines = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
    others = np.flatnonzero(numbers != own)
    nearest = others[np.argsort(-cosines[others])[:NEAREST]]
    weights = np.exp(SHARPNESS * cosines[nearest])
    return np.bincount(targets[nearest], weights=weights, minlength=num_labels) / weights.sum()


@pytest.mark.parametrize("sparse", [False, True])
def test_the_nearest_rows_of_other_folds_are_counted(monkeypatch, sparse):
    monkeypatch.setattr(_neighbours, "_CELLS", 700)  # seven rows a block
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 12)).astype(np.float32)
    targets, numbers = rng.integers(3, size=100), np.arange(100) % 4
    known = Neighbours(csr_matrix(vectors) if sparse else vectors, targets, numbers, num_labels=3)
    found = known.of_others()
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    for i in range(100):
        wanted = by_the_book(vectors[i], numbers[i], vectors, targets, numbers, 3)
        assert np.allclose(found[i], wanted, atol=1e-4)
    new = rng.normal(size=(5, 12)).astype(np.float32)
    scores = known.scores(csr_matrix(new) if sparse else new)
    for vector, score in zip(new, scores, strict=True):
        assert np.allclose(score, by_the_book(vector, -1, vectors, targets, numbers, 3), atol=1e-4)


def test_a_row_and_its_copies_do_not_vouch_for_it():
    """Each text is there five times, all in one fold and with one label that is drawn: nobody else knows it."""
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.normal(size=(40, 60)), 5, axis=0).astype(np.float32)
    targets, numbers = np.repeat(rng.integers(4, size=40), 5), np.repeat(np.arange(40) % 5, 5)
    found = Neighbours(vectors, targets, numbers, num_labels=4).of_others()
    assert (found.argmax(1) == targets).mean() < 0.5


def test_few_rows_have_few_neighbours(monkeypatch):
    found = Neighbours(np.eye(4, dtype=np.float32), np.array([0, 1, 1, 0]), np.arange(4) % 2, num_labels=2)
    assert np.allclose(found.of_others(), [[0.5, 0.5]] * 4)
    monkeypatch.setattr(_neighbours, "MOST", 3)
    some = Neighbours(np.eye(4, dtype=np.float32), np.array([0, 1, 1, 0]), np.full(4, 7), num_labels=2)
    assert np.allclose(some.scores(np.ones((1, 4), np.float32)).sum(), 1)
