"""Schedules are transformers' own, step by step, and the warm-up's edges hold."""

import pytest
import torch
from transformers import get_scheduler

from septet.engine.schedule import KINDS, factor, warmup_steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("total", "warmup"), [(20, 0), (20, 5), (20, 20), (1, 0), (7, 1)])
def test_equals_transformers(kind, total, warmup):
    name = "constant_with_warmup" if kind == "constant" else kind
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total):
        assert factor(kind, step, total, warmup) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        theirs.step()


def test_reaches_the_peak_after_the_warm_up_and_0_after_the_last_step():
    assert [factor("linear", s, 10, 4) for s in range(5)] == [0, 0.25, 0.5, 0.75, 1.0]
    assert factor("linear", 10, 10, 4) == 0
    assert factor("linear", 12, 10, 4) == 0
    assert factor("cosine", 10, 10, 4) == pytest.approx(0, abs=1e-15)
    assert factor("constant", 9, 10, 4) == 1


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(0, 100, 0), (0.06, 100, 6), (0.06, 101, 7), (0.5, 1, 1), (1, 100, 1), (30, 20, 20), (0.999, 10, 10)],
)
def test_warm_up_is_a_share_below_1_and_a_number_above(warmup, total, steps):
    assert warmup_steps(warmup, total) == steps
