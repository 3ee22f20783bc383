"""The planner: what one update sees depends on seed and epoch alone; a budget only splits it, at the least cost."""

import itertools

import numpy as np
import pytest

from septet.engine.plan import Planner

COST = 37
LENGTHS = np.random.default_rng(0).integers(4, 60, 203).tolist()


def planner(**changes):
    return Planner(**{"lengths": LENGTHS, "batch": 16, "seed": 7, "token_budget": 400, **changes})


def test_a_batch_above_the_rows_is_told_and_every_row_is_in_it_once():
    short = planner(lengths=LENGTHS[:9])
    epoch, group = short.group(3)
    assert (epoch, sorted(group), short.groups_per_epoch, short.most_rows) == (3, list(range(9)), 1, 9)
    assert sorted(np.concatenate(short.micro_batches(group))) == list(range(9))
    finding = short.shortened()
    assert (finding.slug, finding.level) == ("batch-above-rows", "note")
    assert "train.batch is 16, and an epoch has 9 rows: every update sees all 9" in finding.message
    assert finding.evidence == {"batch": 16, "rows": 9}
    assert planner(lengths=LENGTHS[:16]).shortened() is None and planner().most_rows == 16


def test_every_row_once_an_epoch():
    p = planner()
    assert p.groups_per_epoch == 13
    for epoch in range(3):
        groups = [p.group(epoch * 13 + i) for i in range(13)]
        assert {e for e, _ in groups} == {epoch}
        assert sorted(np.concatenate([g for _, g in groups])) == list(range(203))
        assert [len(g) for _, g in groups] == [16] * 12 + [11]


def test_groups_do_not_depend_on_budget_rows_or_padding():
    others = [planner(token_budget=50), planner(micro_batch=1), planner(length=64), planner(token_budget=10**6)]
    for step in (0, 12, 13, 30):
        for other in others:
            assert other.group(step)[0] == planner().group(step)[0]
            assert (other.group(step)[1] == planner().group(step)[1]).all()


def test_the_same_seed_gives_the_same_order_and_another_another():
    assert (planner().order(3) == planner().order(3)).all()
    assert (planner().order(3) != planner().order(4)).any()
    assert (planner(seed=8).order(3) != planner().order(3)).any()
    # a run that was begun with an older version must go on with the same rows
    assert planner().order(0)[:6].tolist() == np.random.Generator(np.random.PCG64([7, 0])).permutation(203)[:6].tolist()


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, 13), (3, 39), (0.5, 7), (0.01, 1), (2.5, 33), (3 + 1e-12, 39), (0.1 * 3, 4)]
)
def test_total_steps_rounds_up(epochs, steps):
    assert planner().total_steps(epochs) == steps


@pytest.mark.parametrize("changes", [{}, {"token_budget": 90}, {"micro_batch": 3}, {"length": 64}, {"micro_batch": 1}])
def test_micro_batches_hold_the_group_within_the_limits(changes):
    p = planner(**changes)
    for step in range(13):
        group = p.group(step)[1]
        micros = p.micro_batches(group)
        assert sorted(np.concatenate(micros)) == sorted(group)
        for micro in micros:
            width = max(max(LENGTHS[i] for i in micro), p.length or 0)
            assert len(micro) == 1 or len(micro) * width <= p.token_budget
            assert len(micro) <= (p.micro_batch or 16)
        sizes = [LENGTHS[i] for micro in micros for i in micro]
        assert sizes == sorted(sizes)


def test_a_row_above_the_budget_goes_alone():
    p = Planner([500, 10, 11], 3, 0, 100)
    assert [m.tolist() for m in p.micro_batches(np.array([0, 1, 2]))] == [[1, 2], [0]]


def cost(sizes, cuts, budget, most):
    total = 0
    for a, b in itertools.pairwise(cuts):
        if b - a > 1 and ((b - a) * sizes[b - 1] > budget or b - a > most):
            return float("inf")
        total += (b - a) * sizes[b - 1] + COST
    return total


def test_cuts_are_the_cheapest_of_all():
    rng = np.random.default_rng(1)
    for _ in range(60):
        n = int(rng.integers(1, 9))
        lengths = rng.integers(1, 120, n).tolist()
        budget, most = int(rng.integers(60, 400)), int(rng.integers(1, n + 1))
        micros = Planner(lengths, n, 0, budget, most, pass_cost=COST).micro_batches(np.arange(n))
        found = [0, *np.cumsum([len(m) for m in micros]).tolist()]
        sizes = sorted(lengths)
        every = [[0, *cuts, n] for k in range(n) for cuts in itertools.combinations(range(1, n), k)]
        least = min(cost(sizes, cuts, budget, most) for cuts in every)
        assert cost(sizes, found, budget, most) == least


def test_padding_is_the_share_of_padded_tokens():
    p = planner()
    real = padded = 0
    for step in range(13):
        for micro in p.micro_batches(p.group(step)[1]):
            sizes = [LENGTHS[i] for i in micro]
            real, padded = real + sum(sizes), padded + max(sizes) * len(sizes)
    assert p.padding(groups=50) == pytest.approx(1 - real / padded)
    assert 0 < p.padding() < 0.15
    assert planner(length=64).padding() > 0.4
    assert Planner([7] * 20, 5, 0, 100).padding() == 0
