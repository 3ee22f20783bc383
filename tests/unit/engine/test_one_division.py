"""The one division: a group's loss and gradient are PyTorch's over all its rows at once, however it is split."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import CrossEntropyLoss

from septet.engine.step import backward, group_weights
from tiny import bench

WEIGHTS = {"money": 0.5, "post": 1.0, "shop": 3.0}
SPLITS = [[range(12)], [range(1), range(1, 12)], [range(0, 12, 2), range(1, 12, 2)], [[i] for i in range(12)]]


def ours(b, splits):
    batches = [b.batch(indices) for indices in splits]
    totals = group_weights(b.task, batches)
    b.model.train().zero_grad()
    value = 0.0
    for batch in batches:
        b.clock.set(batch.rows, 0)
        value += float(backward(b.model, b.task, batch, totals))
    return value, torch.cat([p.grad.flatten() for p in b.model.parameters() if p.grad is not None])


def theirs(b, criterion):
    batch = b.batch(range(12))
    b.model.train().zero_grad()
    loss = criterion(b.model(**batch.inputs).logits, batch.targets)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in b.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("splits", SPLITS, ids=["whole", "1+11", "6+6", "12x1"])
@pytest.mark.parametrize(
    ("options", "criterion"),
    [
        ({}, {}),
        ({"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
        ({"class_weights": WEIGHTS}, {"weight": torch.tensor(list(WEIGHTS.values()))}),
    ],
    ids=["plain", "smoothed", "weighted"],
)
def test_equals_cross_entropy_over_the_whole_group(tiny_bert, options, criterion, splits):
    b = bench(tiny_bert, options=options)
    expected_loss, expected = theirs(b, CrossEntropyLoss(**criterion))
    loss, gradient = ours(b, splits)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-6


def test_weights_and_smoothing_together_weigh_rows(tiny_bert):
    """A row's weight is its own class's, also for the smoothed part (PyTorch weighs that part by every class's weight)."""
    b = bench(tiny_bert, options={"class_weights": WEIGHTS, "label_smoothing": 0.2})
    weights = torch.tensor([WEIGHTS[label] for label in b.task.labels])

    def criterion(logits, targets):
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
        return (each * weights[targets]).sum() / weights[targets].sum()

    expected_loss, expected = theirs(b, criterion)
    loss, gradient = ours(b, SPLITS[1])
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-6


def focal(logits, targets, gamma, weights=None):
    """Focal loss of a group as the paper writes it, over a softmax."""
    p = logits.double().softmax(-1)[torch.arange(len(targets)), targets]
    w = torch.ones(len(targets)) if weights is None else weights[targets]
    return ((1 - p) ** gamma * -p.log() * w).sum() / w.sum()


@pytest.mark.parametrize("splits", SPLITS, ids=["whole", "1+11", "6+6", "12x1"])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 5.0])
def test_focal_loss_is_that_of_the_paper_however_the_group_is_split(tiny_bert, gamma, splits):
    b = bench(tiny_bert, options={"loss": "focal", "gamma": gamma, "class_weights": WEIGHTS})
    weights = torch.tensor([WEIGHTS[label] for label in b.task.labels])
    power = 2.0 if gamma is None else gamma
    expected_loss, expected = theirs(b, lambda logits, targets: focal(logits, targets, power, weights))
    loss, gradient = ours(b, splits)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-5


def test_focal_loss_of_gamma_0_is_cross_entropy_and_of_2_is_not(tiny_bert):
    plain, zero, two = (
        ours(bench(tiny_bert, options=options), SPLITS[1])
        for options in ({}, {"loss": "focal", "gamma": 0.0}, {"loss": "focal"})
    )
    assert zero[0] == pytest.approx(plain[0], rel=1e-6) and two[0] < 0.9 * plain[0]
    assert float((zero[1] - plain[1]).norm() / plain[1].norm()) < 1e-6


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_loss_of_a_row_that_is_sure_has_a_finite_gradient(tiny_bert, gamma):
    b = bench(tiny_bert, options={"loss": "focal", "gamma": gamma})
    batch = b.batch(range(3))
    logits = torch.zeros(3, 3)
    logits[torch.arange(3), batch.targets] = 200.0
    logits[0] = 0
    logits.requires_grad_()
    loss = b.task.loss(lambda **_: SimpleNamespace(logits=logits), batch)["label"]
    loss.sum().backward()
    assert logits.grad.isfinite().all() and loss.isfinite().all()
    assert float(loss.detach()[1:].abs().max()) == 0 < float(loss.detach()[0])


def test_a_mean_over_micro_batches_would_have_been_seen(tiny_bert):
    """The field's bug, planted: averaging the means of unequal micro-batches is far outside the tolerance above."""
    b = bench(tiny_bert)
    _, expected = theirs(b, CrossEntropyLoss())
    b.model.zero_grad()
    for indices in SPLITS[1]:
        batch = b.batch(indices)
        (CrossEntropyLoss()(b.model(**batch.inputs).logits, batch.targets) / 2).backward()
    wrong = torch.cat([p.grad.flatten() for p in b.model.parameters() if p.grad is not None])
    assert float((wrong - expected).norm() / expected.norm()) > 1e-2


def test_group_weights_add_up_in_double(tiny_bert):
    b = bench(tiny_bert, options={"class_weights": WEIGHTS})
    total = sum(WEIGHTS[row["label"]] for row in b.rows)
    batches = [b.batch([i]) for i in range(len(b.rows))]
    assert group_weights(b.task, batches) == {"label": pytest.approx(total, rel=1e-12)}


class TwoParts:
    """A task of two parts with their own weights, one of which is empty in some groups."""

    coefficients = {"a": 1.0, "b": 0.5}

    def weights(self, batch):
        return {"a": torch.ones(len(batch)), "b": batch.targets.float()}

    def loss(self, model, batch):
        x = model.weight.sum() * torch.tensor([float(r) for r in batch.rows])
        return {"a": x, "b": x**2 * batch.targets}


@pytest.mark.parametrize("targets", [[1, 0, 1], [0, 0, 0]])
def test_parts_are_divided_by_their_own_weights(targets):
    from septet.tasks import Batch

    model = torch.nn.Linear(1, 1, bias=False)
    rows = [1, 2, 3]
    batches = [Batch({}, torch.tensor([t]), [r], [{}]) for r, t in zip(rows, targets, strict=True)]
    totals = group_weights(TwoParts(), batches)
    value = sum(float(backward(model, TwoParts(), batch, totals)) for batch in batches)
    w = float(model.weight.detach())
    second = sum((w * r) ** 2 * t for r, t in zip(rows, targets, strict=True)) / max(1, sum(targets))
    assert value == pytest.approx(w * 2 + 0.5 * second, rel=1e-5)
