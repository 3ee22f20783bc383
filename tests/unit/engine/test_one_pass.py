"""AdamW in one compiled pass moves masters and parameters as PyTorch's fused kernel does, and either goes on from the other's state."""

import shutil
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from septet.engine import compiled
from septet.engine.guard import TrainingError
from septet.engine.masters import Masters
from septet.engine.muon import Muon
from septet.engine.one_pass import OnePassAdamW, _native_move
from septet.engine.optim import AdamW
from septet.recipe.schema import chosen_block
from septet.setup import Setup

USED = [0, 2, 3, 7]
GROUPS = [
    {"names": ["words.weight", "out.weight"], "weight_decay": 0.1},
    {"names": ["out.bias", "scale"], "weight_decay": 0.0},
]
OPTIONS = {"betas": (0.9, 0.99), "eps": 1e-6}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(12, 40)
        self.out = nn.Linear(40, 7)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, ids_BT):
        return self.out(self.words(ids_BT).mean(1)) * self.scale


def made(kind, *, compact=False, dtype=torch.bfloat16):
    torch.manual_seed(3)
    model = Net()
    used = {"words.weight": torch.tensor(USED)} if compact else None
    return model, kind(Masters(model, used, dtype), GROUPS, **OPTIONS)


def learn(model, optimizer, steps, *, parts=1, begin=0, factor=1.0):
    """Return the norms; both optimizers see the same gradients, as a difference of one bit would grow."""
    norms = []
    for i in range(begin, begin + steps):
        generator = torch.Generator().manual_seed(i)
        for _ in range(parts):
            for name, p in model.named_parameters():
                grad = torch.randn(p.shape, generator=generator) * 10.0 ** -(i % 4)
                if name == "words.weight" and name in optimizer.masters.used_rows:
                    keep = torch.zeros(len(p), 1).index_fill_(0, torch.tensor(USED), 1.0)
                    grad *= keep
                (p * grad.to(p.dtype)).sum().backward()
        norms.append(float(optimizer.gradient_norm()))
        optimizer.step(0.01 / (1 + i), factor)
    return norms


def close(a, b):
    found, expected = a.masters.state(), b.masters.state()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("parts", [1, 3])
def test_it_moves_as_the_fused_kernel_does(parts):
    plain, expected = made(AdamW)
    quick, found = made(OnePassAdamW)
    norms = learn(plain, expected, 20, parts=parts, factor=0.5)
    assert learn(quick, found, 20, parts=parts, factor=0.5) == pytest.approx(norms, rel=1e-5)
    close(found, expected)
    for name, p in quick.named_parameters():
        assert p.equal(found.masters.tensors[name].to(torch.bfloat16)), name
        assert p.grad is None and found.masters.gradient(name) is None


@needs_compiler
def test_rows_of_an_embedding_that_are_never_used_only_decay():
    plain, expected = made(AdamW, compact=True)
    quick, found = made(OnePassAdamW, compact=True)
    learn(plain, expected, 10)
    learn(quick, found, 10)
    close(found, expected)
    assert quick.words.weight.equal(found.masters.state()["words.weight"].to(torch.bfloat16))


@needs_compiler
def test_either_goes_on_from_the_state_of_the_other():
    _, whole = (model, optimizer) = made(AdamW)
    learn(model, optimizer, 12)
    for first, second in ((AdamW, OnePassAdamW), (OnePassAdamW, AdamW), (OnePassAdamW, OnePassAdamW)):
        begun, before = made(first)
        learn(begun, before, 5)
        model, after = made(second)
        after.masters.load_state(before.masters.state())
        after.load_state({name: value.clone() for name, value in before.state().items()})
        learn(model, after, 7, begin=5)
        close(after, whole)


@needs_compiler
def test_a_weight_that_lies_transposed_is_moved_too():
    nets = []
    for kind in (AdamW, OnePassAdamW):
        torch.manual_seed(3)
        model = Net()
        model.out.weight = nn.Parameter(torch.randn(40, 7).t())
        optimizer = kind(Masters(model, None, torch.bfloat16), GROUPS, **OPTIONS)
        learn(model, optimizer, 4)
        assert not optimizer.masters.tensors["out.weight"].is_contiguous()
        nets.append(optimizer)
    close(nets[1], nets[0])


def test_moments_that_are_not_of_fp32_are_moved_by_pytorch(monkeypatch):
    """The kernel would read and write beyond their end."""
    monkeypatch.setattr("septet.engine.native.call", lambda *_: pytest.fail("the kernel was called"))
    moved = [torch.ones(40), *(torch.ones(40, dtype=torch.bfloat16) for _ in range(4))]
    _native_move(*moved, torch.tensor([1.0, 0.1, 0.999, 0.001, 1.0, 1e-8, 1.0, 0.1]))
    assert float(moved[0][0]) < 1 and moved[4].equal(moved[0].bfloat16())


@needs_compiler
def test_a_parameter_without_a_gradient_stays_and_a_dropped_one_is_not_learned():
    model, optimizer = made(OnePassAdamW)
    before = optimizer.masters.state()
    (model.words.weight.sum() * 2).backward()
    assert optimizer.masters.gradient("words.weight").dtype == torch.bfloat16
    optimizer.zero()
    (model.out.bias.sum()).backward()
    optimizer.step(0.1)
    after = optimizer.masters.state()
    assert [name for name in before if not before[name].equal(after[name])] == ["out.bias"]
    assert set(optimizer.state()) == {f"{what}.out.bias" for what in ("step", "exp_avg", "exp_avg_sq")}


def test_where_the_compiler_fails_it_computes_the_same_and_says_so(monkeypatch):
    def compile_(function, **_):
        def broken(*_):
            raise TorchDynamoException("no space left")

        return broken

    monkeypatch.setattr(torch, "compile", compile_)
    plain, expected = made(AdamW)
    quick, found = made(OnePassAdamW)
    learn(plain, expected, 5)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        learn(quick, found, 5)
    assert sorted(str(each.message).split(" cannot")[0] for each in told) == ["The gradient's norm", "The optimizer"]
    close(found, expected)


def test_where_the_compiler_fails_on_one_of_several_processes_none_goes_on(monkeypatch):
    """Its masters would part from those of the others, which are moved by what is compiled."""

    def compile_(function, **_):
        def broken(*_):
            raise TorchDynamoException("no space left")

        return broken

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr("septet.engine.one_pass.here", lambda: SimpleNamespace(world=2))
    with pytest.raises(TrainingError, match="The gradient's norm cannot be compiled: no space left"):
        learn(*made(OnePassAdamW), 1)


@pytest.mark.parametrize(
    ("precision", "compiles", "compiler", "native", "name", "kind"),
    [
        ("bf16", True, "", False, "adamw", OnePassAdamW),
        ("bf16", False, "none here", True, "adamw", OnePassAdamW),
        ("bf16", False, "", False, "adamw", AdamW),
        ("bf16", True, "none here", False, "adamw", AdamW),
        ("fp32", True, "", True, "adamw", AdamW),
        ("bf16", True, "", False, "muon", Muon),
    ],
)
def test_it_is_taken_where_masters_lie_apart_and_kernels_or_a_compiler_work(
    monkeypatch, precision, compiles, compiler, native, name, kind
):
    monkeypatch.setattr(compiled, "no_compiler", lambda *_: compiler)
    monkeypatch.setattr("septet.engine.muon.hidden_matrices", lambda model: {"out.weight"})
    train = SimpleNamespace(precision=precision, compile=compiles, weight_decay=0.1, shard=False)
    setup = SimpleNamespace(
        recipe=SimpleNamespace(train=train, optimizer=chosen_block("optimizer", name)(name=name, **OPTIONS)),
        task=SimpleNamespace(draws=True),
        processor=None,
        method=SimpleNamespace(param_groups=lambda model, decay: GROUPS),
        model=Net(),
        clock=SimpleNamespace(native=native),
        device=torch.device("cpu"),
    )
    assert type(Setup.optimizer(setup)) is kind
