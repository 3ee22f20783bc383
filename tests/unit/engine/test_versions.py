"""Versions: an epoch shows each row once, as it is or as a variant, by seed, epoch and row alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from septet.engine.mixture import Mixture
from septet.engine.plan import Planner
from septet.engine.versions import Versions

ROWS = list(range(100, 110))
OWNERS = [0, 0, 1, 2, 2, 2, 9]


def owner(example: int) -> int:
    return example if example < len(ROWS) else OWNERS[example - len(ROWS)]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_shares_are_kept_and_every_row_comes_once(share):
    versions, seen = Versions(ROWS, OWNERS, share), Counter()
    for epoch in range(2000):
        draws = versions.draws(3, epoch).tolist()
        assert [owner(draw) for draw in draws] == list(range(10))
        seen.update(draws)
    found = np.array([seen[example] / 2000 for example in range(17)])
    assert found == pytest.approx(versions.means, abs=0.04)
    assert versions.means.sum() == pytest.approx(versions.draws_per_epoch)


def test_a_draw_follows_from_seed_epoch_and_row_alone():
    versions = Versions(ROWS, OWNERS, 0.5)
    again = Versions(ROWS, OWNERS, 0.5)
    assert versions.draws(1, 4).tolist() == again.draws(1, 4).tolist()
    assert versions.draws(1, 4).tolist() != versions.draws(2, 4).tolist()
    others = Versions([*ROWS[1:], 7], [0, 1, 1, 1, 8], 0.5).draws(1, 4)  # row 101 is the first one now
    chosen = versions.draws(1, 4)
    assert [(x >= 10) for x in others[:9]] == [(x >= 10) for x in chosen[1:]]


def test_over_a_mixture_each_showing_is_drawn_by_itself():
    mixture = Mixture([0] * 5 + [1] * 5, [1.0, 4.0])
    versions = Versions(ROWS, list(range(10)), 0.5, mixture)
    draws = versions.draws(0, 0)
    times, examples = np.divmod(draws, 20)
    assert Counter(owner_of % 10 for owner_of in examples.tolist()) == dict.fromkeys(range(5), 1) | dict.fromkeys(
        range(5, 10), 4
    )
    shown = [(int(e) % 10, int(t)) for e, t in zip(examples, times, strict=True)]
    assert len(set(shown)) == len(shown) == versions.draws_per_epoch == 25
    assert any({e >= 10 for e in examples[examples % 10 == row].tolist()} == {True, False} for row in range(5, 10))


def test_the_planner_counts_what_is_shown():
    versions = Versions(ROWS, OWNERS, 0.5)
    planner = Planner([3] * 10 + [5] * 7, 4, 1, 100, mixture=versions)
    assert planner.draws_per_epoch == 10 and planner.groups_per_epoch == 3
    assert planner.tokens_per_epoch == pytest.approx(30 + 4 * 0.5 * 2)
    epochs = [[planner.group(3 * epoch + i)[1].tolist() for i in range(3)] for epoch in range(2)]
    assert all(sorted(owner(d) for group in groups for d in group) == list(range(10)) for groups in epochs)
    assert epochs[0] != epochs[1]
