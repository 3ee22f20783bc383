"""The optimizer over masters is torch's AdamW, with embedding rows left out, and in bf16."""

import pytest
import torch
from torch import nn

from septet.engine.masters import Masters
from septet.engine.optim import AdamW

ROWS, USED = 40, [1, 4, 5, 9, 17, 31]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(ROWS, 6)
        self.out = nn.Linear(6, 3)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, ids_BT):
        return self.frozen(torch.tanh(self.out(self.words(ids_BT).mean(1))))


def net(dtype=torch.float32):
    torch.manual_seed(0)
    made = Net()
    for p in made.parameters():
        p.data = p.data.to(dtype)
    return made


def groups(decay):
    return [
        {"names": ["words.weight", "out.weight"], "weight_decay": decay},
        {"names": ["out.bias"], "weight_decay": 0.0},
    ]


def batches(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.tensor(USED)[torch.randint(len(USED), (4, 5), generator=generator)] for _ in range(count)]


def loss(model, ids):
    return model(ids).float().square().sum() + (ids.float().mean() / 10 - model(ids).float()).square().mean()


def ours(model, steps, *, compact, decay=0.1, lrs=None):
    masters = Masters(model, {"words.weight": torch.tensor(USED)} if compact else None)
    optimizer = AdamW(masters, groups(decay), betas=(0.9, 0.99), eps=1e-8)
    for i, ids in enumerate(steps):
        loss(model, ids).backward()
        optimizer.step(lrs[i] if lrs else 0.01)
    return optimizer


def test_compact_rows_equal_dense_adamw_over_30_steps():
    steps = batches(30)
    lrs = [0.01 * (1 - i / 30) for i in range(30)]
    compact = net()
    state = ours(compact, steps, compact=True, lrs=lrs).masters.state()
    dense = net()
    start = dense.words.weight.detach().clone()
    reference = torch.optim.AdamW(
        [
            {"params": [dense.words.weight, dense.out.weight], "weight_decay": 0.1},
            {"params": [dense.out.bias], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
        eps=1e-8,
    )
    for lr, ids in zip(lrs, steps, strict=True):
        for group in reference.param_groups:
            group["lr"] = lr
        reference.zero_grad()
        loss(dense, ids).backward()
        reference.step()
    for name, p in dense.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(state[name], p.detach(), rtol=2e-6, atol=2e-7)
            torch.testing.assert_close(dict(compact.named_parameters())[name].detach(), state[name], rtol=0, atol=0)
    unused = [i for i in range(ROWS) if i not in USED]
    assert (state["words.weight"][unused] - start[unused]).abs().max() > 1e-3, "the decay of unused rows was not seen"


def test_settling_in_between_changes_nothing():
    steps = batches(12)
    often, once = net(), net()
    masters = Masters(often, {"words.weight": torch.tensor(USED)})
    optimizer = AdamW(masters, groups(0.1), betas=(0.9, 0.99), eps=1e-8)
    for ids in steps:
        loss(often, ids).backward()
        optimizer.step(0.01)
        masters.settle()
        masters.settle()
    expected = ours(once, steps, compact=True).masters.state()
    for name, value in masters.state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8)


def test_frozen_parameters_have_no_master_and_do_not_move():
    model = net()
    before = model.frozen.weight.clone()
    optimizer = ours(model, batches(3), compact=True)
    assert set(optimizer.masters.state()) == {"words.weight", "out.weight", "out.bias"}
    assert torch.equal(model.frozen.weight, before)


def test_bf16_keeps_small_updates_in_the_masters():
    """2e-5 a step is far below half a unit in the last place of bf16 weights near 1: without masters nothing would move."""
    model = net(torch.bfloat16)
    model.out.weight.data.fill_(1.0)
    masters = Masters(model)
    optimizer = AdamW(masters, groups(0.0), betas=(0.9, 0.99), eps=1e-8)
    for _ in range(50):
        model.out.weight.sum().backward()
        optimizer.step(2e-5)
    master = masters.state()["out.weight"]
    torch.testing.assert_close(master, torch.full_like(master, 1 - 50 * 2e-5), rtol=1e-5, atol=0)
    assert torch.equal(model.out.weight.data, master.to(torch.bfloat16))


def test_bf16_gradients_are_accumulated_in_fp32():
    model = net(torch.bfloat16)
    masters = Masters(model)
    for part in (1.0, *[2**-10] * 64):  # in bf16, 1 + 2**-10 is 1
        (model.out.bias.float() * part).sum().backward()
    assert model.out.bias.grad is None
    torch.testing.assert_close(masters.tensors["out.bias"].grad, torch.full((3,), 1 + 64 * 2**-10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_goes_round_and_training_goes_on_the_same(dtype):
    steps = batches(8)
    whole = ours(net(dtype), steps, compact=dtype == torch.float32).masters.state()
    first = ours(net(dtype), steps[:5], compact=dtype == torch.float32)
    saved, moments = (
        {k: v.clone() for k, v in first.masters.state().items()},
        {k: v.clone() for k, v in first.state().items()},
    )
    model = net(dtype)
    masters = Masters(model, {"words.weight": torch.tensor(USED)} if dtype == torch.float32 else None)
    second = AdamW(masters, groups(0.1), betas=(0.9, 0.99), eps=1e-8)
    masters.load_state(saved)
    second.load_state(moments)
    for ids in steps[5:]:
        loss(model, ids).backward()
        second.step(0.01)
    # the reference settles its decay once at the end, the resumed one where it was saved as well: the same but for rounding
    for name, value in masters.state().items():
        if name == "words.weight" and dtype == torch.float32:
            assert torch.equal(value[USED], whole[name][USED])
            torch.testing.assert_close(value, whole[name], rtol=1e-6, atol=1e-8)
        else:
            assert torch.equal(value, whole[name])


def test_gradient_norm_counts_every_tensor():
    model, plain = net(), net()
    optimizer = AdamW(Masters(model, {"words.weight": torch.tensor(USED)}), groups(0.1), betas=(0.9, 0.99), eps=1e-8)
    loss(model, batches(1)[0]).backward()
    loss(plain, batches(1)[0]).backward()
    expected = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters() if p.grad is not None])
    assert float(optimizer.gradient_norm()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_factor_is_as_if_the_gradients_were_smaller(dtype):
    """Clipping and fp16's scale are a factor; where eps is not small beside the gradients, it shows in the update."""
    results = []
    for inside in (True, False):
        model = net(dtype)
        masters = Masters(model)
        optimizer = AdamW(masters, groups(0.1), betas=(0.9, 0.99), eps=1e-2)
        for ids in batches(4):
            loss(model, ids).backward()
            if not inside:
                for tensor in masters.tensors.values():
                    tensor.grad.mul_(0.05)
            optimizer.step(0.01, 0.05 if inside else 1.0)
        results.append(masters.state())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=2e-5, atol=1e-6)


def test_a_missing_tensor_is_not_passed_over():
    model = net()
    masters = Masters(model)
    saved = masters.state()
    del saved["out.bias"]
    with pytest.raises(KeyError, match=r"out\.bias"):
        masters.load_state(saved)
