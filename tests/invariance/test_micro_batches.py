"""The same rows give the same update: split, order of accumulation and padding change nothing, with dropout on.

Tolerances are the design's: gradients to 1e-6 of their norm in fp32 and 2e-2 in bf16, an AdamW update to 2e-4 in fp32.
"""

import numpy as np
import pytest
import torch

from septet.engine.shortcut import first_token_only
from septet.engine.step import backward, group_weights
from tiny import bench, model_folder

ROWS = range(8)
SPLITS = {
    "1 of 8": [list(ROWS)],
    "8 of 1": [[i] for i in ROWS],
    "8 of 1, backwards": [[i] for i in reversed(ROWS)],
    "shuffled 3+5": [[6, 1, 3], [7, 0, 5, 2, 4]],
    "5+3, padded": [[0, 2, 4, 5, 7], [1, 3, 6]],
}
KINDS = ["bert", "roberta", "distilbert", "gpt2", "llama"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: model_folder(tmp_path_factory.mktemp(kind), kind, dropout=0.1) for kind in KINDS}


def gradients(b, split, *, length=None, epoch=0):
    """Return the accumulated gradient of each tensor, from the masters, and the loss."""
    optimizer = b.optimizer()
    batches = [b.batch(indices, length) for indices in split]
    totals = group_weights(b.task, batches)
    b.model.train()
    loss = 0.0
    for batch in batches:
        b.clock.set(batch.rows, epoch)
        loss += float(backward(b.model, b.task, batch, totals))
    found = {name: t.grad.float().clone() for name, t in optimizer.masters.tensors.items()}
    return optimizer, found, loss


def distance(a, b):
    a, b = (torch.cat([t.flatten().double() for t in x.values()]) for x in (a, b))
    return float((a - b).norm() / b.norm())


def update(folder, split, *, length=None):
    b = bench(folder, count=8)
    before = {name: p.detach().clone() for name, p in b.model.named_parameters()}
    optimizer, _, _ = gradients(b, split, length=length)
    optimizer.step(1e-3)
    after = optimizer.masters.state()
    # softmax ignores what a key's bias adds to all scores: its gradient is 0 but for rounding, which Adam's first step turns into signs
    return {name: after[name] - before[name] for name in after if not name.endswith("key.bias")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", list(SPLITS)[1:])
def test_fp32_gradients(folders, kind, split):
    _, whole, loss = gradients(bench(folders[kind], count=8), SPLITS["1 of 8"])
    _, parts, again = gradients(bench(folders[kind], count=8), SPLITS[split], length=60 if "padded" in split else None)
    assert distance(parts, whole) <= 1e-6
    assert again == pytest.approx(loss, rel=1e-6)


def test_dropout_was_on(folders):
    _, one, _ = gradients(bench(folders["bert"], count=8), SPLITS["8 of 1"])
    _, other, _ = gradients(bench(folders["bert"], count=8), SPLITS["8 of 1"], epoch=1)
    assert distance(one, other) > 1e-2


@pytest.mark.parametrize("split", list(SPLITS)[1:])
def test_bf16_gradients(folders, split):
    _, whole, _ = gradients(bench(folders["bert"], count=8, precision="bf16"), SPLITS["1 of 8"])
    _, parts, _ = gradients(
        bench(folders["bert"], count=8, precision="bf16"), SPLITS[split], length=60 if "padded" in split else None
    )
    assert 0 < distance(parts, whole) <= 2e-2


@pytest.mark.parametrize("split", list(SPLITS)[1:])
def test_the_adamw_update(folders, split):
    expected = update(folders["bert"], SPLITS["1 of 8"])
    found = update(folders["bert"], SPLITS[split], length=60 if "padded" in split else None)
    assert distance(found, expected) <= 2e-4


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_short_cut_at_the_first_token(folders, kind):
    """Computing the last layer at the first token only gives the same loss and gradient, with dropout and padding."""
    plain, cut = bench(folders[kind], count=8), bench(folders[kind], count=8)
    shortcut = first_token_only(cut.model, cut.clock, len(cut.processor))
    assert shortcut is not None
    _, expected, loss = gradients(plain, SPLITS["1 of 8"])
    _, found, again = gradients(cut, SPLITS["shuffled 3+5"])
    assert distance(found, expected) <= 1e-6
    assert again == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["distilbert", "gpt2", "llama"])
def test_the_short_cut_is_refused_where_it_would_be_wrong(folders, kind):
    b = bench(folders[kind], count=8)
    assert first_token_only(b.model, b.clock, len(b.processor)) is None


def curve(folder, *, total=50, **plan):
    b = bench(folder, count=48)
    planner = b.planner(batch=8, **plan)
    return np.array([s.loss for s in b.steps(planner, b.optimizer(), total=total, lr=1e-3)])


def test_the_budget_does_not_change_the_loss_curve(folders):
    expected = curve(folders["bert"], budget=10**6)
    for plan in ({"budget": 64}, {"budget": 10**6, "micro_batch": 3, "length": 24}):
        assert abs(curve(folders["bert"], **plan) - expected).max() <= 1e-5, plan
    assert expected[-5:].mean() < expected[:5].mean() - 0.05, "nothing was learnt, so nothing was compared"
