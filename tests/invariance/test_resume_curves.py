"""A run that stops and goes on from its checkpoint ends with the bytes of one that did not stop."""

import pytest
import torch

from septet.engine.state import TrainState, load_latest
from septet.engine.writer import Checkpoints
from septet.run import Run
from tiny import bench


def whole(folder, *, total=12, **changes):
    b = bench(folder, count=40, **changes)
    optimizer = b.optimizer()
    steps = b.steps(b.planner(budget=60), optimizer, total=total)
    return steps, optimizer


def key(steps):
    return [(s.step, s.epoch, s.loss, s.lr, s.grad_norm, s.rows, s.tokens) for s in steps]


@pytest.mark.parametrize(("precision", "stop"), [("fp32", 1), ("fp32", 5), ("fp32", 11), ("bf16", 5)])
def test_resume_is_exact(tiny_dropout_bert, tmp_path, precision, stop):
    expected, reference = whole(tiny_dropout_bert, precision=precision)
    b = bench(tiny_dropout_bert, count=40, precision=precision)
    optimizer, state = b.optimizer(), TrainState()
    first = b.steps(b.planner(budget=60), optimizer, total=12, state=state, until=stop)
    run = Run(tmp_path / "run").create()
    checkpoints = Checkpoints(run, keep=2)
    checkpoints.save(state, optimizer)
    checkpoints.finish()
    del b, optimizer, state, checkpoints
    torch.randn(7)  # whatever else a process has drawn in between
    b = bench(tiny_dropout_bert, count=40, precision=precision)
    optimizer, found = b.optimizer(), load_latest(run.checkpoints)
    optimizer.masters.load_state(found.masters)
    optimizer.load_state(found.optimizer)
    second = b.steps(b.planner(budget=60), optimizer, total=12, state=found.state)
    assert key(first + second) == key(expected)
    assert optimizer.masters.used_rows
    saved = reference.masters.state()
    for tensor, value in optimizer.masters.state().items():
        assert torch.equal(value, saved[tensor]), tensor


def test_saving_does_not_disturb(tiny_dropout_bert, tmp_path):
    """The run that saves after every step has the losses, and the last bits, of the one that never saves."""
    expected, reference = whole(tiny_dropout_bert)
    b = bench(tiny_dropout_bert, count=40)
    optimizer, state = b.optimizer(), TrainState()
    checkpoints = Checkpoints(Run(tmp_path / "run").create(), keep=2)
    steps = []
    for i in range(1, 13):
        steps += b.steps(b.planner(budget=60), optimizer, total=12, state=state, until=i)
        checkpoints.save(state, optimizer)
    checkpoints.finish()
    assert key(steps) == key(expected)
    saved = reference.masters.state()
    for tensor, value in optimizer.masters.state().items():
        assert torch.equal(value, saved[tensor]), tensor
