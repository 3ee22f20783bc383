"""Muon moves hidden matrices as torch's Muon does and everything else as torch's AdamW does; its state resumes exactly."""

import pytest
import torch
from torch import nn

from septet.engine.masters import Masters
from septet.engine.muon import Muon, hidden_matrices

NAMES = ["words.weight", "one.weight", "one.bias", "two.weight", "head.weight"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(20, 8)
        self.one = nn.Linear(8, 12)
        self.two = nn.Linear(12, 8, bias=False)
        self.head = nn.Linear(8, 20, bias=False)

    def forward(self, ids_BT):
        return self.head(self.two(torch.tanh(self.one(self.words(ids_BT)))))

    def get_output_embeddings(self):
        return self.head


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(20, (4, 6), generator=generator) for _ in range(count)]


def learn(model, optimizer, steps, factor=1.0):
    for i, ids in enumerate(steps):
        torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step(0.02 / (i + 1), factor)


def made(model):
    groups = [
        {"names": [n for n in NAMES if "bias" not in n], "weight_decay": 0.1},
        {"names": ["one.bias"], "weight_decay": 0.0},
    ]
    return Muon(Masters(model), groups, betas=(0.9, 0.99), eps=1e-8, matrices=hidden_matrices(model))


def test_matrices_between_embedding_and_head_are_chosen():
    model = Net()
    assert hidden_matrices(model) == {"one.weight", "two.weight"}
    model.head.weight = model.words.weight
    assert hidden_matrices(model) == {"one.weight", "two.weight"}


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_each_part_is_moved_by_torchs_own(factor):
    ours, reference = Net(), Net()
    learn(ours, made(ours), batches(6), factor)
    muon = torch.optim.Muon(
        [reference.one.weight, reference.two.weight], lr=1.0, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [
            {"params": [reference.words.weight, reference.head.weight], "weight_decay": 0.1},
            {"params": [reference.one.bias], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
    )
    for i, ids in enumerate(batches(6)):
        torch.nn.functional.cross_entropy(reference(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        for p in reference.parameters():
            p.grad *= factor
        for optimizer in (muon, adamw):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (i + 1)
            optimizer.step()
            optimizer.zero_grad()
    for name, p in reference.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name], p, rtol=1e-5, atol=1e-6)
    assert not torch.equal(ours.one.weight, Net().one.weight)


def test_a_step_is_as_large_as_its_rate_says():
    """Updates of matrices have a root mean square of 0.2 times the rate (Liu et al. 2025), within what five iterations leave."""
    model = Net()
    before = model.two.weight.detach().clone()
    ids = batches(1)[0]
    optimizer = Muon(
        Masters(model), [{"names": NAMES, "weight_decay": 0.0}], betas=(0.9, 0.99), eps=1e-8, matrices={"two.weight"}
    )
    model(ids).square().sum().backward()
    optimizer.step(0.1)
    size = (model.two.weight - before).square().mean().sqrt()
    assert 0.7 * 0.02 < size < 1.3 * 0.02


def test_its_state_resumes_exactly():
    whole, half = Net(), Net()
    optimizer = made(whole)
    learn(whole, optimizer, batches(8)[:4])
    first = made(half)
    learn(half, first, batches(8)[:4])
    state = {name: value.clone() for name, value in first.state().items()}
    assert {name.split(".", 1)[0] for name in state} == {"step", "exp_avg", "exp_avg_sq", "momentum_buffer"}
    again = Net()
    again.load_state_dict(half.state_dict())
    second = made(again)
    second.load_state(state)
    learn(whole, optimizer, batches(8)[4:])
    learn(again, second, batches(8)[4:])
    for name, p in whole.named_parameters():
        assert torch.equal(dict(again.named_parameters())[name], p)


def test_without_matrices_it_is_adamw_and_without_others_muon():
    model = Net()
    for names in (["one.bias"], ["one.weight"]):
        optimizer = Muon(
            Masters(model),
            [{"names": names, "weight_decay": 0.0}],
            betas=(0.9, 0.99),
            eps=1e-8,
            matrices=hidden_matrices(model),
        )
        learn(model, optimizer, batches(2))
        assert optimizer.state()
