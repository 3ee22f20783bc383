"""Each kernel beside PyTorch in fp32: as near as PyTorch in bf16 or nearer, whatever the sizes; and what happens where there is none."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

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
    assert kernels.attends(query, layout_of((longest, 3), 0), causal=causal)
    assert not kernels.attends(query, layout_of((longest + 1, 3), 0), causal=causal)
    assert not kernels.attends(query.float(), layout_of((3,), 0), causal=causal)
    assert not kernels.attends(random(4, 2, 24), layout_of((3,), 0), causal=causal)


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
def test_a_tensor_in_pieces_is_refused():
    with pytest.raises(RuntimeError, match="septet_square_sum takes tensors that lie in one piece"):
        native.call("septet_square_sum", random(4, 8).t(), 32, False)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    native._loaded.cache_clear()
    yield monkeypatch
    native._loaded.cache_clear()


def test_without_the_instructions(monkeypatch):
    monkeypatch.setattr(native, "cpu_flags", lambda: ["avx2", "avx512f"])
    assert native.lacking() == "the processor has no avx512_bf16"
    assert kernels.worth(1e15, torch.device("cpu"), "bf16") == (False, "the processor has no avx512_bf16")


def test_without_a_compiler(fresh):
    fresh.setattr(native, "cpu_flags", lambda: list(native.NEEDS))
    fresh.setattr(native.shutil, "which", lambda _name: None)
    assert native.lacking() == "no C++ compiler (g++) is installed"
    finding = kernels.unused(kernels.unfit(torch.device("cpu"), "bf16"))
    assert finding.slug == "kernels-unused" and "no C++ compiler (g++) is installed" in finding.message
    with pytest.raises(RuntimeError, match="no C"):
        native.call("septet_square_sum", random(4), 4, False)


def test_a_compiler_that_fails(fresh, tmp_path):
    fresh.setattr(native, "cpu_flags", lambda: list(native.NEEDS))
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'kernels.cpp:1: error: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    fresh.setenv("CXX", str(broken))
    assert native.lacking() == "kernels.cpp:1: error: no such thing"
    assert not list((tmp_path / "native").iterdir())


@pytest.mark.parametrize(
    "processor, tiles", [("sapphirerapids", True), ("cooperlake", False)], ids=["amx", "avx512-bf16"]
)
def test_it_compiles_for_either_processor(processor, tiles):
    """Also for the one that the tests do not run on; a compiler that does not know it is told of."""
    compiler = shutil.which("g++")
    if platform.machine() != "x86_64" or compiler is None:
        pytest.skip("needs g++ on x86-64")
    source = Path(native.__file__).parent / "attention.cpp"
    command = [compiler, *native.FLAGS, f"-march={processor}", "-S", str(source), "-o", "-"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=native.LONGEST_S)
    if "for ‘-march=’" in made.stderr:
        pytest.skip(f"g++ does not know {processor}")
    assert made.returncode == 0, made.stderr
    assert ("tdpbf16ps" in made.stdout) == tiles and ("vdpbf16ps" in made.stdout) != tiles


@needs_kernels
def test_it_is_compiled_once(fresh, tmp_path):
    assert native.lacking() == ""
    kept = list((tmp_path / "native").iterdir())
    assert [path.suffix for path in kept] == [".so"]
    native._loaded.cache_clear()
    fresh.setattr(native, "LONGEST_S", 0)
    assert native.lacking() == ""


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
