"""The mixture: an epoch shows each example as often as its source weighs, by seed, epoch and place alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.engine.mixture import Mixture, again
from septet.engine.plan import Planner

mixtures = st.integers(1, 4).flatmap(
    lambda num: st.tuples(
        st.lists(st.integers(0, num - 1), min_size=1, max_size=60),
        st.lists(st.floats(0.01, 6) | st.sampled_from([0.5, 1.0, 2.0, 2.5]), min_size=num, max_size=num),
    )
)


def planner(sources, weights, *, seed=7, batch=4, **changes):
    lengths = [3 + 5 * i % 11 for i in range(len(sources))]
    return Planner(lengths, batch, seed, 40, mixture=Mixture(sources, weights), **changes)


def counts(draws, num):
    """Return how often each example is among draws; the n-th time it must be told as the n-th."""
    times, places = np.divmod(draws, num)
    for place in set(places.tolist()):
        assert sorted(times[places == place]) == list(range((places == place).sum()))
    return np.bincount(places, minlength=num)


@settings(max_examples=200, deadline=None)
@given(mixtures, st.integers(0, 2**31), st.integers(0, 50))
def test_an_epoch_shows_what_the_weights_say(mixture, seed, epoch):
    sources, weights = mixture
    p = planner(sources, weights, seed=seed)
    found = counts(p.order(epoch), len(sources))
    assert p.draws_per_epoch == found.sum() == len(p.order(epoch))
    for source, weight in enumerate(weights):
        own = found[np.array(sources) == source]
        if len(own):
            assert own.sum() == max(1, np.floor(len(own) * weight + 0.5))
            assert set(own) <= {own.sum() // len(own), own.sum() // len(own) + 1}


@settings(max_examples=100, deadline=None)
@given(mixtures, st.integers(0, 2**31), st.integers(1, 12))
def test_no_example_falls_behind(mixture, seed, epochs):
    """Over any number of epochs the examples of a source have been shown equally often, to within one."""
    sources, weights = mixture
    p = planner(sources, weights, seed=seed)
    found = np.sum([counts(p.order(epoch), len(sources)) for epoch in range(epochs)], axis=0)
    for source in set(sources):
        own = found[np.array(sources) == source]
        assert own.max() - own.min() <= 1


@settings(max_examples=100, deadline=None)
@given(mixtures, st.integers(0, 2**31), st.data())
def test_a_group_follows_from_its_step_alone(mixture, seed, data):
    """A planner that is made anew, as after a kill, gives the group of any step that the first one gave."""
    p = planner(*mixture, seed=seed)
    groups = [p.group(step) for step in range(2 * p.groups_per_epoch)]
    step = data.draw(st.integers(0, len(groups) - 1))
    epoch, draws = planner(*mixture, seed=seed).group(step)
    assert epoch == groups[step][0]
    assert (draws == groups[step][1]).all()
    per_epoch = p.groups_per_epoch
    for first in (0, per_epoch):
        whole = np.concatenate([draws for _, draws in groups[first : first + per_epoch]])
        assert (whole == p.order(first // per_epoch)).all()
    assert (np.sort(np.concatenate(p.micro_batches(draws))) == np.sort(draws)).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=50), st.integers(0, 2**31), st.integers(0, 20))
def test_weights_of_one_are_no_weights(sources, seed, epoch):
    ours = planner(sources, [1.0, 1.0, 1.0], seed=seed)
    plain = Planner(ours.lengths, ours.batch, seed, ours.token_budget)
    assert ours.groups_per_epoch == plain.groups_per_epoch
    assert ours.tokens_per_epoch == plain.tokens_per_epoch
    assert (ours.order(epoch) == plain.order(epoch)).all()


def test_the_rest_goes_round():
    """Half of a source, epoch by epoch: no example comes again before all have come, and another seed begins elsewhere."""
    sources, weights = [0] * 10 + [1] * 4, [0.5, 2.0]
    halves = [set(planner(sources, weights).order(epoch) % 14) & set(range(10)) for epoch in range(4)]
    assert [len(half) for half in halves] == [5] * 4
    assert halves[0] | halves[1] == set(range(10)) == halves[2] | halves[3]
    assert any(set(planner(sources, weights, seed=seed).order(0) % 14) & set(range(10)) != halves[0] for seed in (1, 2))


def test_steps_and_tokens_count_what_is_shown():
    p = planner([0] * 10 + [1] * 4, [2.5, 0.5])
    assert (p.draws_per_epoch, p.groups_per_epoch) == (27, 7)
    assert (p.total_steps(3), p.total_steps(0.5)) == (21, 4)
    assert sum(len(p.group(step)[1]) for step in range(7)) == 27
    tokens = [np.asarray(p.lengths)[p.order(epoch) % 14].sum() for epoch in range(20)]
    assert np.mean(tokens) == pytest.approx(p.tokens_per_epoch)
    assert 0 <= p.padding() < 1


def test_a_tiny_weight_shows_one_example_and_an_empty_source_none():
    assert Mixture([0, 0, 0, 2], [0.01, 5.0, 1.0]).shown.tolist() == [1, 0, 1]


def test_an_example_that_comes_again_has_another_id():
    rows = [2**62 + 5, 5, -9, 0]
    ids = [again(row, time) for row in rows for time in range(1000)]
    assert len(set(ids)) == len(ids)
    assert [again(row, 0) for row in rows] == rows
    assert all(-(2**63) <= each < 2**63 for each in ids)
