"""The cross-entropy by hand is PyTorch's, forward and backward, however the rows are cut."""

import pytest
import torch
from torch.nn.functional import cross_entropy as reference

from septet.model import entropy
from septet.model.supervised import cross_entropy


@pytest.mark.parametrize("at_once", [1 << 18, 150, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_and_gradients(monkeypatch, at_once, dtype):
    monkeypatch.setattr(entropy, "AT_ONCE", at_once)
    torch.manual_seed(0)
    logits = (torch.randn(13, 50) * 4).to(dtype)
    goals = torch.randint(50, (13,))
    scale = torch.rand(13)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    losses, expected = cross_entropy(ours, goals), reference(theirs.float(), goals, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    (losses * scale).sum().backward()
    (expected * scale).sum().backward()
    assert ours.grad.dtype == dtype
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_large_logits_and_no_rows():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e38, 0.0, 0.0]], requires_grad=True)
    losses = cross_entropy(logits, torch.tensor([1, 1]))
    torch.testing.assert_close(losses, torch.tensor([2e4, torch.log(torch.tensor(2.0))]))
    losses.sum().backward()
    assert bool(logits.grad.isfinite().all())
    none = torch.empty(0, 3, requires_grad=True)
    cross_entropy(none, torch.empty(0, dtype=torch.int64)).sum().backward()
    assert none.grad.shape == (0, 3)


def test_a_cell_that_is_no_number_is_not_hidden():
    assert cross_entropy(torch.tensor([[float("nan"), 0.0]]), torch.tensor([1])).isnan().all()
