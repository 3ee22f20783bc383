"""Every kind of task, as a recipe sets it up, with dropout on: how a group is split, ordered and padded changes no gradient, no update and no loss curve.

Tolerances are the design's: gradients to 1e-6 of their norm in fp32 and 2e-2 in bf16, an AdamW update to 2e-4, a curve of 50 updates to 1e-5.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import kinds
import small
from septet.engine.loop import Examples, learn_modes, train_steps
from septet.engine.state import TrainState
from septet.engine.step import backward, group_weights
from septet.prepare import prepare
from septet.setup import set_up

KINDS = {"classify, full": kinds.augmented, **kinds.TEXTS}
SPLITS = {
    "one row each": lambda rows: [[row] for row in rows],
    "backwards": lambda rows: [[row] for row in rows[::-1]],
    "5 and 3": lambda rows: [rows[[6, 1, 3, 0, 5]], rows[[7, 2, 4]]],
}
CURVES = [({"token_budget": 40}, False), ({"token_budget": 10**6, "micro_batch": 3}, True)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(kind, precision)` → a fresh setup, always of the same weights; and whether it takes padding out of its batches."""
    known = {}

    def build(kind, precision="fp32"):
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind.replace(", ", "-").replace(" ", "-"))
            known[kind] = KINDS[kind](folder), folder
        source, folder = known[kind]
        source["train"] |= {"precision": precision, "epochs": 10, "token_budget": 10**6}
        recipe, run = small.begin(source, folder / precision)
        return set_up(recipe, prepare(recipe, run))

    return build


def source_of(setup, *, padded=False, **plan):
    length = setup.recipe.model.max_length
    planner = replace(setup.planner, **plan)
    unpadder = None if padded else setup.unpadder
    return Examples(setup.train, planner, setup.task, setup.processor, setup.device, unpadder, length)


def first_update(setup, split=None, *, padded=False):
    """Return the gradient of the first group, split in a way or not at all, and what AdamW makes of it."""
    optimizer, source = setup.optimizer(), source_of(setup, padded=padded)
    epoch, rows = setup.planner.group(0)
    parts = [rows] if split is None else SPLITS[split](rows)
    batches = [source.batch(np.asarray(part), epoch) for part in parts]
    totals = group_weights(setup.task, batches)
    for module, learns in learn_modes(setup.model):
        module.training = learns
    for batch in batches:
        setup.clock.set(batch.rows, epoch)
        with setup.clock.layout(batch.layout):
            backward(setup.model, setup.task, batch, totals)
    masters = optimizer.masters
    gradient = {name: t.grad.float().clone() for name, t in masters.tensors.items() if t.grad is not None}
    before = masters.state()
    optimizer.step(1e-3)
    after = masters.state()
    # a key's bias changes no attention: its gradient is rounding, which Adam's first step turns into signs
    moved = {name: after[name] - before[name] for name in after if not name.endswith(("key.bias", "k_proj.bias"))}
    return gradient, moved


def distance(one, other):
    one, other = (torch.cat([t.flatten().double() for t in x.values()]) for x in (one, other))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_update(made, kind, split):
    gradient, moved = first_update(made(kind))
    for padded in (False, True):
        found, moves = first_update(made(kind), split, padded=padded)
        assert distance(found, gradient) <= 1e-6
        assert distance(moves, moved) <= 2e-4


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_bf16(made, kind):
    gradient, _ = first_update(made(kind, "bf16"))
    for split in SPLITS:
        found, _ = first_update(made(kind, "bf16"), split)
        assert 0 < distance(found, gradient) <= 2e-2


def curve(setup, *, padded=False, **plan):
    source = source_of(setup, padded=padded, **plan)
    steps = train_steps(
        setup.model, setup.task, setup.optimizer(), source, TrainState(), rates=setup.rates(), clock=setup.clock
    )
    return np.array([step.loss for step, _ in zip(steps, range(50), strict=False)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_of_50_updates(made, kind):
    expected = curve(made(kind))
    assert len(expected) == 50
    assert expected[-5:].mean() < expected[:5].mean() - 0.05, "nothing was learned, so nothing was compared"
    for plan, padded in CURVES:
        assert abs(curve(made(kind), padded=padded, **plan) - expected).max() <= 1e-5, plan


@pytest.mark.parametrize(
    ("kind", "packed"),
    [("classify, full", True), ("causal, lora", True), ("hidden words", True), ("encoder-decoder, full", False)],
)
def test_which_take_their_padding_out(made, kind, packed):
    """Else `padded` above would compare a thing with itself."""
    assert (made(kind).unpadder is not None) == packed
