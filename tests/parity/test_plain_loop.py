"""Our step beside ten lines of PyTorch: the same rows, AdamW and schedule give the same losses and weights."""

import pytest
import torch
from transformers import get_scheduler

from tiny import bench

STEPS, LR = 20, 1e-3


def plain(b, planner):
    decayed = [p for p in b.model.parameters() if p.ndim > 1]
    rest = [p for p in b.model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=LR, eps=1e-8
    )
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=2, num_training_steps=STEPS)
    b.model.train()
    for step in range(STEPS):
        batch = b.batch(planner.group(step)[1])
        loss = torch.nn.functional.cross_entropy(b.model(**batch.inputs).logits, batch.targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(b.model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        yield float(loss.detach()), float(norm)


@pytest.mark.parametrize("attention", ["septet", "sdpa"])
def test_losses_norms_and_weights(tiny_bert, attention):
    ours, theirs = bench(tiny_bert, count=60, attention=attention), bench(tiny_bert, count=60, attention="eager")
    planner = ours.planner(batch=8, budget=90)
    optimizer = ours.optimizer()
    steps = ours.steps(planner, optimizer, total=STEPS, lr=LR)
    for step, (loss, norm) in zip(steps, plain(theirs, planner), strict=True):
        assert step.loss == pytest.approx(loss, abs=1e-5), step.step
        assert step.grad_norm == pytest.approx(norm, rel=1e-3), step.step
    expected = {name: p.detach() for name, p in theirs.model.named_parameters()}
    for name, value in optimizer.masters.state().items():
        if not name.endswith("key.bias"):  # its true gradient is 0; Adam turns rounding into steps
            assert float((value - expected[name]).norm() / expected[name].norm()) < 1e-3, name
