"""What is compiled or computed by kernels is decided by all processes of a run together: all do it, or none."""

import socket
from types import SimpleNamespace

import pytest

from septet import hasten
from septet.engine import compiled, kernels
from septet.report import Report

MINE = socket.gethostname()


class Filled(SimpleNamespace):
    def filled(self, values):
        (path, told), *_ = values.items()
        setattr(self.train, path.split(".")[1], told[0])
        return Filled(train=self.train, whys={**self.whys, path: told[1]})


@pytest.fixture
def world(monkeypatch):
    """Let other processes say what they would."""

    def told(*others):
        monkeypatch.setattr(
            hasten, "here", lambda: SimpleNamespace(world=1 + len(others), gather=lambda mine: [mine, *others])
        )

    return told


def made(**train):
    return SimpleNamespace(
        model=None,
        ceiling=None,
        clock=SimpleNamespace(native=False),
        device=SimpleNamespace(type="cpu"),
        total=10,
        flops_per_token=1.0,
        planner=SimpleNamespace(tokens_per_epoch=100.0, groups_per_epoch=10),
        recipe=Filled(
            train=SimpleNamespace(**{"compile": None, "kernels": None, "precision": "bf16", "shard": False, **train}),
            whys={},
        ),
        findings=Report(),
    )


@pytest.mark.parametrize("part", ["compile", "kernels"])
def test_left_open_all_do_it_or_none(world, monkeypatch, part):
    monkeypatch.setattr(compiled, "worth", lambda *_: (True, "about 10 min"))
    monkeypatch.setattr(kernels, "worth", lambda *_, **__: (True, "fewer passes"))
    monkeypatch.setattr(compiled, "no_compiler", lambda *_: "")
    monkeypatch.setattr(kernels, "unfit", lambda *_, **__: "")
    monkeypatch.setattr(compiled, "compile_blocks", lambda model: None)
    installed = []
    monkeypatch.setattr(kernels, "install", lambda *_: installed.append(1))
    decide = hasten._compile if part == "compile" else hasten._use_kernels
    own = "about 10 min" if part == "compile" else "fewer passes"
    for others, value, why in (
        ((), True, own),
        (([True, own, "b"],), True, own),
        (([False, "no g++", "b"],), False, "no g++ (rank 1 of 2, on b)"),
        (
            ([True, own, "b"], [False, "no g++", "c"], [False, "cut", "d"]),
            False,
            "no g++ (rank 2 of 4, on c, and 1 more)",
        ),
    ):
        world(*others)
        setup = made()
        decide(setup)
        assert getattr(setup.recipe.train, part) is value
        assert setup.recipe.whys[f"train.{part}"] == why


def test_what_no_process_would_is_told_without_names(world, monkeypatch):
    monkeypatch.setattr(compiled, "worth", lambda *_: (False, "too short"))
    world([False, "too short", "b"])
    setup = made()
    hasten._compile(setup)
    assert setup.recipe.whys == {"train.compile": "too short"}


def test_the_optimizer_is_compiled_on_all_or_none(world, monkeypatch):
    monkeypatch.setattr(compiled, "no_compiler", lambda *_: "")
    setup = made(compile=True)
    world([True, "", "b"])
    assert hasten.optimizer_by(setup) == "compiled"
    world([False, "no g++", "b"])
    assert hasten.optimizer_by(setup) == "torch"
    hasten._compile(setup)
    (finding,) = setup.findings
    assert finding.slug == "nothing-compiled" and "no g++ (rank 1 of 2, on b)" in finding.message


def test_this_process_is_named_where_it_is_the_one(world, monkeypatch):
    monkeypatch.setattr(compiled, "no_compiler", lambda *_: "no g++")
    world([True, "", "b"])
    assert hasten._lacking(compiled.no_compiler()) == f"no g++ (rank 0 of 2, on {MINE})"
