"""Whether a micro-batch has room: what a pass keeps is counted to the byte, told for longer rows, and decides before training."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import languages
import small
from septet import hasten
from septet.engine import room
from septet.engine.recompute import recomputable
from septet.journey import train
from septet.recipe import Recipe

KIB = 1024


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_what_a_pass_keeps_is_counted_to_the_byte():
    model = Two()
    x = torch.ones(5, 8)
    # the input, and what the ReLU gave, which is kept once for two
    assert room.kept_bytes(model, {"x": x}) == 4 * (5 * 8 + 5 * 16)
    model.first.requires_grad_(False)
    assert room.kept_bytes(model, {"x": x}) == 4 * 5 * 16
    assert model.training


def test_nothing_of_the_pass_is_left():
    model = Two()
    left = [weakref.ref(p) for p in model.parameters()]
    room.kept_bytes(model, {"x": torch.ones(5, 8)})
    del model
    gc.collect()
    assert [ref() for ref in left] == [None] * 4


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_two_short_rows_tell_what_a_longer_one_keeps(kind, attention):
    model = languages.model(kind, attention=attention)
    keeps = room.kept(model, 64, len(recomputable(model)), halves=False)
    sides = 2 if model.config.is_encoder_decoder else 1
    exact = room.kept_bytes(model, room._row(model, 100))
    assert keeps.of(100 * sides, 100 * sides) == pytest.approx(exact, rel=0.1)
    assert keeps.of(100, 100, again=True) < keeps.of(100, 100)


KEEPS = room.Kept(per_token=KIB, per_pair=1, layers=12, inputs=10)


@pytest.mark.parametrize(
    ("free", "longest", "budget", "derived", "layers", "again", "fits"),
    [
        (1e9, 100, 4096, True, 12, False, 4096),
        (2 * 1024 * 1024, 100, 4096, True, 12, False, 1024),
        (2 * 1024 * 1024, 100, 4096, False, 12, False, 4096),
        (100 * 1024, 100, 4096, True, 12, True, 512),
        (100 * 1024, 100, 4096, True, 0, False, 100),
        (-5.0, 100, 4096, True, 12, True, 100),
    ],
    ids=["all", "a part of the budget", "a budget that was asked for", "no row", "nothing to compute again", "nothing"],
)
def test_what_has_room(free, longest, budget, derived, layers, again, fits):
    found = room.fit(replace(KEEPS, layers=layers), free, longest=longest, budget=budget, derived=derived)
    assert (found.again, found.budget) == (again, fits)
    assert found.why.startswith("a row of 100 tokens keeps about ")


def test_weights_that_are_there_are_counted_once(monkeypatch):
    monkeypatch.setattr(room, "_free", lambda device: 10_000)
    model = Two()
    numbers = sum(p.numel() for p in model.parameters())
    cpu, meta = torch.device("cpu"), torch.device("meta")
    # in halves: weights and gradients of 2 bytes, masters of 4 and moments of 8, beside the 4 bytes that are there
    assert room.free_bytes(model, cpu, halves=True) == 10_000 + numbers * (4 - 2 - 2 - 4 - 8)
    assert room.free_bytes(model, meta, halves=True, processes=2) == 10_000 - numbers * 16 / 2
    model.requires_grad_(False)
    assert room.free_bytes(model, cpu, halves=False) == 10_000


def test_a_run_without_room_computes_layers_again(tmp_path, monkeypatch):
    source = small.recipe(tmp_path, epochs=1)
    del source["train"]["token_budget"]
    plain = train(source, run=tmp_path / "plain").run
    keeps = []

    def few(model, *_, **__):
        keeps.append(room.kept(model, 14, len(recomputable(model)), halves=False))
        return 10 * keeps[0].per_token / room.USABLE

    monkeypatch.setattr(room, "free_bytes", few)
    tight = train(source, run=tmp_path / "tight").run
    told = [Recipe.load(run.path / "recipe.yaml").train for run in (plain, tight)]
    assert [each.activation_checkpointing for each in told] == [False, True]
    assert told[1].token_budget < told[0].token_budget
    assert "keeps about" in (tight.path / "recipe.yaml").read_text()
    assert "layers-recomputed" in (tight.path / "setup.json").read_text()
    losses = [[step["loss"] for step in small.steps(run.path)] for run in (plain, tight)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_what_was_chosen_stays_when_the_run_goes_on(tmp_path, monkeypatch):
    source = small.recipe(tmp_path, epochs=1)
    del source["train"]["token_budget"]
    monkeypatch.setattr(room, "free_bytes", lambda *_, **__: 0.0)
    with small.stopped_after(3):
        train(source, run=tmp_path / "run")
    began = Recipe.load(tmp_path / "run" / "recipe.yaml").train
    monkeypatch.setattr(room, "free_bytes", lambda *_, **__: 1e12)
    run = train(source, run=tmp_path / "run", resume=True).run
    ended = Recipe.load(run.path / "recipe.yaml").train
    assert began.activation_checkpointing and ended.activation_checkpointing
    assert began.token_budget == ended.token_budget < 100


def test_a_model_that_wants_more_than_tokens_is_trained_as_it_is(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise TypeError("forward() wants a picture")

    monkeypatch.setattr(room, "kept_bytes", fails)
    run = train(small.recipe(tmp_path, epochs=1), run=tmp_path / "run").run
    assert not Recipe.load(run.path / "recipe.yaml").train.activation_checkpointing
    assert "could not be told (TypeError)" in (run.path / "recipe.yaml").read_text()


def test_all_processes_take_what_has_room_on_each(monkeypatch):
    monkeypatch.setattr(
        hasten, "here", lambda: SimpleNamespace(world=2, gather=lambda mine: [mine, [True, "no room there", 512]])
    )
    filled = {}
    recipe = SimpleNamespace(
        train=SimpleNamespace(precision="fp32", token_budget=2048, shard=False),
        model=SimpleNamespace(attention="eager"),
        whys={},
    )
    recipe.filled = lambda values, over=(): filled.update(values) or recipe
    setup = SimpleNamespace(
        recipe=recipe,
        model=Two(),
        clock=SimpleNamespace(native=False),
        device=torch.device("cpu"),
        train=[SimpleNamespace(size=9)],
        planner="the plan",
    )
    monkeypatch.setattr(hasten, "replace", lambda plan, **changes: (plan, changes))
    hasten._fit(setup, KEEPS)
    assert setup.planner == ("the plan", {"token_budget": 512})
    assert filled["train.activation_checkpointing"] == (True, "no room there")
    assert filled["train.token_budget"][0] == 512
