"""fp16's dynamic loss scaling: an overflow skips the update and halves the scale; quiet stretches double it. In fp32 it is an error."""

import pytest
import torch

from septet.engine import loop, passes
from septet.engine.guard import TrainingError
from septet.engine.state import TrainState
from tiny import bench


@pytest.fixture
def b(tiny_bert):
    return bench(tiny_bert, count=16)


def weights(b):
    return {name: p.detach().clone() for name, p in b.model.named_parameters()}


def overflow_at(b, monkeypatch, steps):
    """Make the gradient of the n-th update infinite."""
    calls = iter(range(10**6))
    real = passes.backward

    def planted(model, task, batch, totals, *, scale=1.0, **options):
        value = real(model, task, batch, totals, scale=scale, **options)
        if next(calls) in steps:
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("inf"))
        return value

    monkeypatch.setattr(passes, "backward", planted)


def run(b, state, total, *, scaled=True, **changes):
    planner = b.planner(batch=8, budget=10**6)
    return b.steps(planner, b.optimizer(compact=False), total=total, state=state, scaled=scaled, **changes)


def test_an_overflow_skips_and_halves(b, monkeypatch):
    overflow_at(b, monkeypatch, {1, 2})
    before, state = weights(b), TrainState(loss_scale=1024.0)
    steps = run(b, state, 1)
    assert any(not torch.equal(before[n], p) for n, p in b.model.named_parameters()) or steps[0].lr == 0
    before = weights(b)
    steps = run(b, state, 3)
    assert [s.skipped for s in steps] == [True, True]
    assert state.loss_scale == 256
    assert state.skipped == 2
    assert state.good_steps == 0
    assert all(torch.equal(before[n], p) for n, p in b.model.named_parameters())
    assert not run(b, state, 4)[0].skipped
    assert any(not torch.equal(before[n], p) for n, p in b.model.named_parameters())


def test_the_scale_never_falls_below_1(b, monkeypatch):
    overflow_at(b, monkeypatch, {0, 1, 2})
    state = TrainState(loss_scale=2.0)
    run(b, state, 3)
    assert state.loss_scale == 1.0


def test_it_grows_after_a_quiet_stretch(b, monkeypatch):
    monkeypatch.setattr(loop, "GROW_AFTER", 3)
    state = TrainState(loss_scale=8.0)
    run(b, state, 7)
    assert state.loss_scale == 32.0
    assert state.good_steps == 1


def test_the_scale_does_not_change_the_update(b, tiny_bert):
    scaled = run(b, TrainState(loss_scale=4096.0), 6)
    other = bench(tiny_bert, count=16)
    plain = run(other, TrainState(), 6, scaled=False)
    for a, c in zip(scaled, plain, strict=True):
        assert a.loss == pytest.approx(c.loss, rel=1e-5)
        assert a.grad_norm == pytest.approx(c.grad_norm, rel=1e-4)
    for (name, p), q in zip(b.model.named_parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=2e-5, msg=name)


def test_without_scaling_an_infinite_gradient_is_an_error_and_changes_nothing(b, monkeypatch):
    overflow_at(b, monkeypatch, {2})
    state = TrainState()
    with pytest.raises(TrainingError, match="gradient is not a finite number at step 3") as caught:
        run(b, state, 5, scaled=False)
    assert state.step == 2
    batch = b.source(b.planner(batch=8, budget=10**6)).group(2)[1][0]
    assert all(str(row) in str(caught.value) for row in batch.rows[:8])


def test_clipping_bounds_the_update_and_reports_the_norm_before_it(tiny_bert):
    """SGD would show the clip directly; in AdamW it shows in the moments."""
    moments = {}
    for clip in (None, 1e-3):
        b = bench(tiny_bert, count=16)
        optimizer = b.optimizer(compact=False)
        steps = b.steps(b.planner(batch=8, budget=10**6), optimizer, total=1, clip=clip)
        moments[clip] = torch.cat([v.flatten() for k, v in optimizer.state().items() if k.startswith("exp_avg.")]) / 0.1
        assert steps[0].grad_norm > 1e-2
    assert float(moments[None].norm()) == pytest.approx(steps[0].grad_norm, rel=1e-4)
    assert float(moments[1e-3].norm()) == pytest.approx(1e-3, rel=1e-2)
