"""Each kernel beside PyTorch in fp32: as near as PyTorch in bf16 or nearer, whatever the sizes; and where none is used."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from septet import hasten
from septet.engine import kernels, native
from septet.engine.attention import _Unpadded
from septet.engine.dropout import AttentionSite, DropoutClock, RowDropout
from septet.engine.unpad import Layout

WHY = native.lacking()
needs_kernels = pytest.mark.skipif(bool(WHY), reason=f"no kernels: {WHY}")
BF16 = torch.bfloat16


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def off(found, exact):
    return float((found.float() - exact.float()).norm() / exact.float().norm())


def near(found, exact, plain):
    """Whether the kernel's numbers are as near to exact ones as those of PyTorch in bf16."""
    assert found.shape == exact.shape and found.dtype == BF16
    assert off(found, exact) <= max(1.05 * off(plain, exact), 3e-3)


def both(make, *given):
    """Return what a function of PyTorch gives in fp32 and in bf16, and the gradients, for the same numbers and gradient."""
    found = []
    for dtype in (torch.float32, BF16):
        inputs = [x.detach().to(dtype).requires_grad_() for x in given]
        out = make(*inputs)
        out.backward(random(*out.shape, seed=9).to(dtype))
        found.append([out.detach(), *(x.grad for x in inputs)])
    return found


def layout_of(lengths, filling):
    rows = torch.tensor([i for i, n in enumerate(lengths) for _ in range(n)] + [0] * filling)
    places = torch.tensor([t for n in lengths for t in range(n)] + [0] * filling)
    return Layout(list(lengths), rows, places)


@needs_kernels
@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["whole", "causal", "first"])
@pytest.mark.parametrize("depth", [32, 64])
def test_attention(rate, kind, depth):
    lengths, heads = (150, 97, 64, 61, 48, 33, 32, 17, 16, 2, 1), 3
    layout, clock = layout_of(lengths, 6), DropoutClock(1)
    site = AttentionSite(clock)
    site.first_only = kind == "first"
    clock.set(list(range(len(lengths))), 0)
    real = layout.starts[-1]
    qkv = [random(real + 6, heads, depth, seed=i) for i in range(3)]

    def by(function):
        # nothing else is asked for, as a head and a loss never read it
        asked = layout.firsts_B if kind == "first" else slice(0, real)
        return lambda *x: function.apply(*x, layout, site, rate, depth**-0.5, kind == "causal")[asked]

    exact, plain = both(by(_Unpadded), *qkv)
    given = [x.clone().requires_grad_() for x in qkv]
    out = by(kernels.Attention)(*given)
    out.backward(random(*out.shape, seed=9))
    for found, *others in zip([out.detach(), *(x.grad for x in given)], exact, plain, strict=True):
        near(found, *others)


@needs_kernels
@pytest.mark.parametrize("kind", ["whole", "causal", "first"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e5, 1e9, 1e17])
def test_one_token_gets_it_all_whatever_the_size_of_scores(kind, size):
    """Rows of one token, and rows whose scores are so far apart that one token gets all: nothing flows to queries and keys, not even rounding."""
    lengths = (1, 1, 1) if size == 1.0 else (20, 33, 1, 7)
    layout, clock = layout_of(lengths, 0), DropoutClock(1)
    site = AttentionSite(clock)
    site.first_only = kind == "first"
    clock.set(list(range(len(lengths))), 0)
    asked = layout.firsts_B if kind == "first" else slice(0, None)
    spread = [random(sum(lengths), 2, 32, seed=i) for i in range(3)]
    qkv = [spread[0] * size, spread[1] * size, spread[2]]
    found, exact = [], both(lambda *x: _Unpadded.apply(*x, layout, site, 0.1, 0.2, kind == "causal")[asked], *qkv)[0]
    given = [x.clone().requires_grad_() for x in qkv]
    out = kernels.Attention.apply(*given, layout, site, 0.1, 0.2, kind == "causal")[asked]
    out.backward(random(*out.shape, seed=9))
    found = [out.detach(), *(x.grad for x in given)]
    assert all(x.isfinite().all() for x in found)
    assert off(found[0], exact[0]) < 3e-3 and off(found[3], exact[3]) < 3e-3
    if exact[1].count_nonzero() == 0:
        assert found[1].count_nonzero() == found[2].count_nonzero() == 0
    assert size != 1.0 or exact[1].count_nonzero() == 0


@needs_kernels
def test_what_is_dropped_is_the_same_to_the_last_word():
    """A word between what the rate is in fp64 and in fp32 is kept, as `DropoutClock.keep` keeps it."""
    rate, odd = 0.1, -2073254261
    mixed = 2 * (2**30 - int(rate * 2**31) - 1)
    clock, layout = DropoutClock(0), layout_of((1,), 0)
    site = AttentionSite(clock)
    word = int(clock.words_of_pairs(1, 1, 1, torch.device("cpu"))[0])
    key = (word ^ (mixed * pow(odd, -1, 2**32))) & 0xFFFFFFFF
    clock.keys_SB = torch.tensor([[key - 2**32 if key >= 2**31 else key]], dtype=torch.int32)
    assert clock.keep(0, torch.tensor([word], dtype=torch.int32), rate, torch.float32).item() > 1
    qkv = [random(1, 1, 32, seed=i) for i in range(3)]
    assert kernels.Attention.apply(*qkv, layout, site, rate, 1.0, False).equal((qkv[2].float() / 0.9).to(BF16))


@needs_kernels
def test_sums_are_of_fp32_whatever_a_user_has_set():
    layout, clock = layout_of((40, 24), 0), DropoutClock(1)
    site = AttentionSite(clock)
    clock.set([0, 1], 0)
    given = (*[random(64, 2, 32, seed=i) for i in range(3)], layout, site, 0.1, 0.2, False)
    expected = kernels.Attention.apply(*given)
    torch.set_default_dtype(BF16)
    try:
        assert kernels.Attention.apply(*given).equal(expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_shapes_and_precisions_that_differ_are_pytorchs():
    layout, x = layout_of((40, 24), 0), random(64, 2, 32)
    assert kernels.attends([x, x, x], layout, causal=False)
    assert not kernels.attends([x, x, random(64, 2, 64)], layout, causal=False)
    assert not kernels.attends([x, x.float(), x], layout, causal=False)


class Block(nn.Module):
    """As BERT adds a projection to its residual."""

    def __init__(self, clock, width, rate):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(64, width), nn.LayerNorm(width, eps=1e-12)
        self.dropout = RowDropout(rate, clock)

    def forward(self, hidden_states, input_tensor):
        return self.LayerNorm(self.dropout(self.dense(hidden_states)) + input_tensor)


@needs_kernels
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("laid", [True, False])
def test_dropout_residual_and_norm(rate, laid):
    clock, width = DropoutClock(3), 96
    block = Block(clock, width, rate)
    nn.init.normal_(block.LayerNorm.weight), nn.init.normal_(block.LayerNorm.bias)
    clock.set([5, 6, 7], 0)
    layout = layout_of((9, 4, 2), 1) if laid else None
    shape = (1, 16) if laid else (3, 5)
    block.to(BF16).train()
    x, beside = random(*shape, 64), random(*shape, width, seed=1)
    block.dense.requires_grad_(False)  # so that the projection is the same on both sides
    norm = block.LayerNorm

    def passed(module, *given):
        module.zero_grad()
        with clock.layout(layout):
            out = module(*given)
            out.backward(random(*out.shape, seed=9).to(out.dtype))
        return [out.detach(), given[1].grad, norm.weight.grad.clone(), norm.bias.grad.clone()]

    plain = passed(block, x, beside.clone().requires_grad_())
    exact = passed(block.float(), x.float(), beside.float().requires_grad_())
    block.float()
    assert kernels.install(block, clock) == 1
    block.to(BF16)
    found = passed(block, x, beside.clone().requires_grad_())
    assert [off(f, p) > 0 for f, p in zip(found, plain, strict=True)].count(True) >= 2  # it was the kernel
    for each in zip(found, exact, plain, strict=True):
        near(*each)


@pytest.mark.parametrize(("causal", "longest"), [(False, 512), (True, 1024)])
def test_longer_rows_are_left_to_pytorch(causal, longest):
    query = random(4, 2, 32)
    assert kernels.attends([query] * 3, layout_of((longest, 3), 0), causal=causal)
    assert not kernels.attends([query] * 3, layout_of((longest + 1, 3), 0), causal=causal)
    assert not kernels.attends([query.float()] * 3, layout_of((3,), 0), causal=causal)
    assert not kernels.attends([random(4, 2, 24)] * 3, layout_of((3,), 0), causal=causal)


@needs_kernels
def test_what_is_no_number_stays_none():
    x = random(64, 64)
    x[3, 5] = float("nan")
    layout, clock = layout_of((40, 24), 0), DropoutClock(1)
    site = AttentionSite(clock)
    clock.set([0, 1], 0)
    out = kernels.Attention.apply(*[x.view(64, 2, 32)] * 3, layout, site, 0.0, 1.0, False)
    assert out[:40, 0].isnan().all() and not out[40:].isnan().any()


@needs_kernels
def test_a_norm_too_large_for_fp32_is_no_number():
    """Not a norm of 0 that nobody would notice."""
    places, keys = torch.arange(3), torch.zeros(3, dtype=torch.int32)
    x = random(3, 32)
    x[1] *= 1e25
    words = DropoutClock(0).words(3 * 32, torch.device("cpu"))
    out = kernels._Norm.apply(x, random(3, 32), places, places, keys, words, 0.1, random(32), random(32), 1e-5)
    assert out.isnan().any(1).tolist() == [False, True, False]


@needs_kernels
def test_a_tensor_in_pieces_is_refused():
    with pytest.raises(RuntimeError, match="septet_square_sum takes tensors that lie in one piece"):
        native.call("septet_square_sum", random(4, 8).t(), 32, False)


@pytest.mark.parametrize("asked", [None, True])
def test_processes_use_them_all_or_none(monkeypatch, asked):
    filled, found = {}, []
    recipe = SimpleNamespace(train=SimpleNamespace(kernels=asked, precision="bf16", shard=False))
    recipe.filled = lambda values: (
        filled.update(values) or SimpleNamespace(train=SimpleNamespace(kernels=values["train.kernels"][0]))
    )
    setup = SimpleNamespace(recipe=recipe, device=torch.device("cpu"), flops_per_token=1, model=nn.Linear(2, 2))
    setup.clock, setup.findings = DropoutClock(0), SimpleNamespace(add=found.append)
    other = [False, "no compiler there", "far"]
    monkeypatch.setattr(hasten, "here", lambda: SimpleNamespace(world=2, gather=lambda value: [value, other]))
    monkeypatch.setattr(hasten, "_tokens", lambda _setup: 1)
    monkeypatch.setattr(kernels, "worth", lambda *_, **__: (True, "here they are"))
    monkeypatch.setattr(kernels, "unfit", lambda *_, **__: "")
    hasten._use_kernels(setup)
    assert not setup.clock.native
    if asked:
        assert [each.slug for each in found] == ["kernels-unused"] and "no compiler there" in found[0].message
    else:
        assert filled == {"train.kernels": (False, "no compiler there (rank 1 of 2, on far)")}


@needs_kernels
def test_kernels_that_compute_something_else_are_not_used(monkeypatch):
    assert kernels._agree()
    call = native.call

    def wrong(name, *arguments):
        found = call(name, *arguments)
        if name == "septet_attention_back":
            arguments[-1].mul_(1.1)
        return found

    monkeypatch.setattr(native, "call", wrong)
    kernels._agree.cache_clear()
    try:
        told = kernels.worth(1e15, torch.device("cpu"), "bf16")
    finally:
        kernels._agree.cache_clear()
    assert told == (False, "as compiled here, they give other numbers than PyTorch")


@pytest.mark.parametrize(
    "flops, device, precision, why",
    [
        (1e9, "cpu", "bf16", "the run is over before they are compiled"),
        (1e15, "cpu", "fp32", "they are of bf16 on a CPU"),
        (1e15, "meta", "bf16", "they are of bf16 on a CPU"),
    ],
)
def test_where_they_are_not_used(flops, device, precision, why):
    assert kernels.worth(flops, torch.device(device), precision) == (False, why)


def test_a_divided_model_keeps_to_pytorch():
    assert kernels.unfit(torch.device("cpu"), "bf16", divided=True) == "the model is divided (train.shard)"
