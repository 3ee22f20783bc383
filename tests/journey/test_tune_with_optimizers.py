"""Every optimizer takes a recipe from its name to an artifact, its options change what is learned, and a missing package is named."""

import importlib.util
import sys

import pytest

from septet import registry
from septet.errors import MissingExtraError
from septet.train import train
from small import begin, recipe, steps

HERE = [name for name in registry.names("optimizer") if name != "adamw8bit" or importlib.util.find_spec("bitsandbytes")]


def losses(tmp_path, optimizer, where="run", **changes):
    source = recipe(tmp_path, dropout=0.0, **changes) | {"optimizer": optimizer}
    loaded, run = begin(source, tmp_path / where)
    train(loaded, run)
    return [step["loss"] for step in steps(run.path)]


@pytest.mark.parametrize("name", HERE)
def test_a_recipe_with_it_learns(name, tmp_path):
    rate = 0.1 if name in ("sgd", "adafactor") else 5e-3
    found = losses(tmp_path, name, lr=rate, epochs=6, save_every=None, eval_every=48)
    # SGD hardly moves a model that starts from random weights
    assert sum(found[-6:]) < (1.0 if name == "sgd" else 0.9) * sum(found[:6]), found
    written = (tmp_path / "run" / "recipe.yaml").read_text()
    assert f"optimizer:\n  name: {name}" in written
    assert (tmp_path / "run" / "model" / "manifest.json").exists()


@pytest.mark.parametrize(
    "one",
    [
        {"name": "adamw", "betas": [0.5, 0.9]},
        {"name": "adamw", "eps": 1e-2},
        {"name": "muon", "momentum": 0.5},
        {"name": "sgd", "momentum": 0.5},
        {"name": "sgd", "nesterov": True},
        {"name": "adafactor", "beta2_decay": -0.4},
        {"name": "adafactor", "min_scale": 0.5},
        {"name": "adafactor", "threshold": 5.0},
    ],
    ids=lambda one: f"{one['name']}.{list(one)[1]}",
)
def test_its_options_are_read(one, tmp_path):
    changes = {"max_steps": 4, "save_every": None, "eval_every": 4, "lr": 0.05}
    assert losses(tmp_path, one, "one", **changes)[-1] != losses(tmp_path, one["name"], "other", **changes)[-1]


def test_an_open_rate_follows_the_optimizer(tmp_path):
    losses(tmp_path, "sgd", lr=None, max_steps=1)
    assert "sgd: 100 x, because SGD does not divide" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(MissingExtraError, match="bitsandbytes"):
        losses(tmp_path, "adamw8bit")
