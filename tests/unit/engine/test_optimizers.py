"""Every registered optimizer beside PyTorch's own in a plain loop, its state, and what it does with rows that no gradient reaches."""

import importlib.util
import math

import pytest
import torch
from torch import nn

from septet import registry
from septet.engine.masters import Masters
from septet.engine.schedule import factor
from septet.errors import RunError

ROWS, WIDTH, STEPS, LR, DECAY, CLIP = 90, 64, 60, 0.01, 0.1, 0.5
USED = [1, 4, 5, 9, 17, 31, 64]
OPTIONS = {
    "adamw": [{"betas": (0.9, 0.99)}],
    "muon": [{"momentum": 0.9}],
    "sgd": [{}, {"nesterov": True}, {"momentum": 0.0}],
    "adafactor": [{}],
    "adamw8bit": [{}],
}
CASES = [
    pytest.param(
        name,
        options,
        id="-".join([name, *options]),
        marks=pytest.mark.skipif(
            name == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not there"
        ),
    )
    for name in registry.names("optimizer")
    for options in OPTIONS[name]
]
every = pytest.mark.parametrize(("name", "options"), CASES)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(ROWS, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, ids_BT):
        return self.out(torch.tanh(self.hidden(self.words(ids_BT).mean(1))))

    def get_output_embeddings(self):
        return self.out


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return Net().to(dtype)


GROUPS = [
    {"names": ["words.weight", "hidden.weight", "out.weight"], "weight_decay": DECAY},
    {"names": ["hidden.bias", "out.bias"], "weight_decay": 0.0},
]


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.tensor(USED)[torch.randint(len(USED), (4, 5), generator=generator)] for _ in range(STEPS)]


def loss(model, ids):
    return (model(ids).float() - ids.float().mean(1, keepdim=True) / 10).square().mean() * 8


def chosen(name, options):
    return registry.part("optimizer", name)(registry.module("optimizer", name).Options(**options))


def made(name, options, *, dtype=torch.float32, compact=False):
    model = net()
    used = {"words.weight": torch.tensor(USED)} if compact else {}
    masters = Masters(model, used, dtype)
    return model, chosen(name, options).over(masters, GROUPS, model=model, by="torch")


def lrs():
    return [LR * factor("linear", step, STEPS, 5) for step in range(STEPS)]


def learn(model, optimizer, steps, at=0):
    clipped = 0
    for ids, lr in list(zip(steps, lrs(), strict=True))[at:]:
        loss(model, ids).backward()
        norm = float(optimizer.gradient_norm())
        clipped += norm > CLIP
        optimizer.step(lr, min(1.0, CLIP / (norm + 1e-6)))
    return clipped


def reference(name, options, model):
    """Return PyTorch's own optimizers for the same groups, and whether decay is applied before them."""
    named = dict(model.named_parameters())
    decayed, rest = ([named[n] for n in group["names"]] for group in GROUPS)
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    if name == "adamw":
        return [torch.optim.AdamW(groups, betas=options["betas"], eps=1e-8)], False
    if name == "adafactor":
        return [torch.optim.Adafactor(groups)], False
    if name == "sgd":
        return [torch.optim.SGD([*decayed, *rest], **{"momentum": 0.9} | options)], True
    if name == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return [AdamW8bit(groups)], False
    hidden = [{"params": [named["hidden.weight"]], "weight_decay": DECAY}]
    groups[0]["params"] = [named["words.weight"], named["out.weight"]]
    muon = torch.optim.Muon(hidden, momentum=options["momentum"], adjust_lr_fn="match_rms_adamw")
    return [torch.optim.AdamW(groups), muon], False


@every
@pytest.mark.parametrize("compact", [False, True], ids=["whole", "used rows"])
def test_it_is_pytorchs_own_with_clipping_decay_and_warmup(name, options, compact):
    part = registry.part("optimizer", name)
    if compact and not part.by_row:
        pytest.skip(f"{name} is not exact on used rows alone, so it is never given them")
    model, optimizer = made(name, options, compact=compact)
    clipped = learn(model, optimizer, batches())
    assert clipped > 0, "nothing was clipped, so clipping was not compared"
    found = optimizer.masters.state()
    plain = net()
    inners, decays = reference(name, options, plain)
    named = dict(plain.named_parameters())
    start = {n: p.detach().clone() for n, p in named.items()}
    for ids, lr in zip(batches(), lrs(), strict=True):
        loss(plain, ids).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), CLIP)
        with torch.no_grad():
            for n in GROUPS[0]["names"] if decays else ():
                named[n].mul_(1 - lr * DECAY)
        for inner in inners:
            for group in inner.param_groups:
                group["lr"] = lr
            inner.step()
            inner.zero_grad()
    bound = 2e-4
    if (
        name == "muon"
    ):  # its orthogonalisation is computed in bf16, which makes much of a clipping that differs in the last place
        bound = 0.05
    if (
        name == "adamw8bit"
    ):  # so does 8 bits; and blocks of 256 numbers share a scale, with other rows where only used ones are kept
        bound = 0.1 if compact else 0.01
    for n, p in named.items():
        moved = float((p.detach() - start[n]).norm())
        assert float((found[n] - p.detach()).norm()) <= bound * moved, n
    if compact:
        unused = [i for i in range(ROWS) if i not in USED]
        kept = math.prod(1 - lr * DECAY for lr in lrs())
        torch.testing.assert_close(
            found["words.weight"][unused], start["words.weight"][unused] * kept, rtol=1e-5, atol=0
        )


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_saved_in_between_it_ends_in_the_same_bytes(name, options, dtype, tmp_path):
    from safetensors.torch import load_file, save_file

    compact = registry.part("optimizer", name).by_row
    model, optimizer = made(name, options, dtype=dtype, compact=compact)
    steps, half = batches(), STEPS // 2
    for ids, lr in list(zip(steps, lrs(), strict=True))[:half]:
        loss(model, ids).backward()
        optimizer.step(lr)
    masters = {n: t.clone() for n, t in optimizer.masters.state().items()}
    save_file({n: t.clone() for n, t in optimizer.state().items()}, tmp_path / "state.safetensors")
    learn(model, optimizer, steps, half)
    again, resumed = made(name, options, dtype=dtype, compact=compact)
    resumed.masters.load_state(masters)
    resumed.load_state(load_file(tmp_path / "state.safetensors"))
    learn(again, resumed, steps, half)
    for n, value in optimizer.masters.state().items():
        assert torch.equal(value, resumed.masters.state()[n]), n
    for n, value in optimizer.state().items():
        assert torch.equal(value, resumed.state()[n]), n


@every
def test_bf16_keeps_small_updates_in_the_masters(name, options):
    """Steps far below half a unit in the last place of a bf16 weight still add up."""
    model, optimizer = made(name, options, dtype=torch.bfloat16)
    before = optimizer.masters.state()["out.weight"].clone()
    for ids in batches()[:20]:
        loss(model, ids).backward()
        optimizer.step(2e-6)
    after = optimizer.masters.state()["out.weight"]
    assert 0 < float((after - before).abs().mean()) < 1e-3
    assert torch.equal(model.out.weight.data, after.to(torch.bfloat16))


@every
def test_the_state_of_another_optimizer_is_refused(name, options):
    _, optimizer = made(name, options)
    other = "adamw" if name != "adamw" else "sgd"
    model, foreign = made(other, OPTIONS[other][0])
    loss(model, batches()[0]).backward()
    foreign.step(LR)
    with pytest.raises(RunError, match="another optimizer"):
        optimizer.load_state(foreign.state())


def test_which_optimizers_may_leave_out_rows():
    assert {n for n in registry.names("optimizer") if not registry.part("optimizer", n).by_row} == {"adafactor"}
