"""Which rows are picked: typical ones first, then those a model is unsure of; never one twice, nor one that is labelled."""

from __future__ import annotations

import numpy as np
import pytest

from septet.labelling.picks import pick


def clusters(num: int, each: int, seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    centres = 4 * np.eye(num, 12)
    kinds = np.repeat(np.arange(num), each)
    return (centres[kinds] + spread * rng.normal(size=(num * each, 12))).astype(np.float32), [f"k{k}" for k in kinds]


def test_without_labels_every_cluster_gives_its_most_typical_row():
    vectors, kinds = clusters(6, 40)
    picks = pick(vectors, {}, num=6, seed=0)
    assert {kinds[each.row] for each in picks} == set(kinds)
    assert {each.why for each in picks} == {"typical"}
    for each in picks:
        own = vectors[[kind == kinds[each.row] for kind in kinds]]
        far = np.linalg.norm(own - own.mean(0), axis=1)
        assert np.linalg.norm(vectors[each.row] - own.mean(0)) <= np.median(far)


def test_with_labels_the_rows_between_two_labels_come_first():
    vectors, kinds = clusters(2, 60)
    between = np.array([[2.0, 2.0, *[0.0] * 10]], np.float32) + 0.05 * np.random.default_rng(1).normal(size=(8, 12))
    both = np.concatenate([vectors, between]).astype(np.float32)
    known = {i: kinds[i] for i in (*range(10), *range(60, 70))}
    picks = pick(both, known, num=4, seed=0)
    assert [each.margin for each in picks] == sorted(each.margin for each in picks)
    assert picks[0].row >= 120
    assert set(picks[0].between) == {"k0", "k1"}
    assert {each.why for each in picks} == {"uncertain"}


@pytest.mark.parametrize("known", [{}, {0: "a"}, {0: "a", 50: "b", 51: "b"}])
def test_no_row_comes_twice_nor_is_labelled_and_there_are_as_many_as_wanted(known):
    vectors, _ = clusters(5, 30)
    for num in (1, 7, 60, 1000):
        rows = [each.row for each in pick(vectors, known, num=num, seed=0)]
        assert len(rows) == len(set(rows)) == min(num, 150 - len(known))
        assert not set(rows) & set(known)


def test_of_equal_rows_the_others_come_last():
    vectors = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    picks = pick(vectors, {}, num=6, seed=0)
    assert [each.why for each in picks] == ["typical"] * 4 + ["equal"] * 2
    assert len({tuple(vectors[each.row]) for each in picks[:4]}) == 4


def test_nothing_is_left_to_pick():
    assert pick(np.eye(2, dtype=np.float32), {0: "a", 1: "b"}, num=3, seed=0) == []


def test_the_picks_can_be_repeated():
    vectors, kinds = clusters(5, 30, spread=1.5)
    known = {i: kinds[i] for i in range(0, 150, 10)}
    assert pick(vectors, known, num=9, seed=3) == pick(vectors, known, num=9, seed=3)


def test_labels_are_learned_faster_than_from_random_rows():
    vectors, kinds = clusters(10, 60, spread=1.2)
    names = np.array(kinds)
    picked, drawn = [], []
    for seed in range(5):
        picked.append(len({names[each.row] for each in pick(vectors, {}, num=12, seed=seed)}))
        drawn.append(len(set(names[np.random.default_rng(seed).permutation(600)[:12]])))
    assert np.mean(picked) > np.mean(drawn) + 1
