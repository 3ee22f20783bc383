"""Names of other tools are met with Septet's key and the converted value."""

import pytest

from septet.errors import SeptetError
from septet.recipe import Recipe
from septet.recipe.foreign import _KEYS, _NEEDLESS, translate
from septet.recipe.schema import SECTIONS, keys

BASE = {"data": {"train": "a.csv"}, "task": {"name": "classify", "text": "t", "label": "l"}}


def said(**train):
    with pytest.raises(SeptetError) as caught:
        Recipe.load(BASE | {"train": train})
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "key", "way"),
    [
        ({"num_train_epochs": 3}, "train.epochs", "epochs: 3"),
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}, "train.batch", "batch: 32"),
        ({"evaluation_strategy": "epoch"}, "train.eval_every", "eval_every: epoch"),
        ({"eval_strategy": "steps", "eval_steps": 50}, "train.eval_every", "eval_every: 50"),
        ({"learning_rate": 2e-5}, "train.lr", "lr: 2.0e-5"),
        ({"lr_scheduler_type": "cosine"}, "train.schedule", "schedule: cosine"),
        ({"warmup_ratio": 0.1}, "train.warmup", "warmup: 0.1"),
        ({"warmup_steps": 100}, "train.warmup", "warmup: 100"),
        ({"max_grad_norm": 0}, "train.clip", "clip: null"),
        ({"fp16": True}, "train.precision", "precision: fp16"),
        ({"bf16": False}, "train.precision", "precision: auto"),
        ({"output_dir": "out"}, "run.folder", "--run out"),
        ({"metric_for_best_model": "eval_accuracy"}, "train.metric", "metric: accuracy"),
        ({"lora_r": 8}, "method.rank", "{name: lora, rank: 8}"),
        ({"lora_target": "q_proj,v_proj"}, "method.targets", "[q_proj, v_proj]"),
        ({"evals_per_epoch": 4}, "train.eval_every", "eval_every: 0.25"),
        ({"early_stopping_patience": 2}, "train.early_stopping", "{patience: 2}"),
        ({"optim": "adamw_bnb_8bit"}, "optimizer.name", "optimizer: adamw8bit"),
        ({"optim": "adafactor"}, "optimizer.name", "optimizer: adafactor"),
        ({"adam_beta2": 0.98}, "optimizer.betas", "betas: [0.9, 0.98]"),
        ({"val_set_size": 0.05}, "data.split.validation", "validation: 0.05"),
    ],
)
def test_a_foreign_name_is_translated(given, key, way):
    text = said(**given)
    assert f"Septet's key is {key}" in text
    assert way in text


def test_a_name_without_counterpart_says_why():
    assert "the best checkpoint always becomes the model" in said(load_best_model_at_end=True)


@pytest.mark.parametrize(
    ("given", "now", "way"),
    [
        ({"optimizer": "muon"}, "optimizer", "optimizer: muon, a section beside train"),
        ({"betas": [0.9, 0.95]}, "optimizer.betas", "optimizer: {betas: [0.9, 0.95]}"),
        ({"eps": 1e-6}, "optimizer.eps", "optimizer: {eps: 1.0e-6}"),
    ],
)
def test_a_key_that_moved_says_where_it_went(given, now, way):
    text = said(**given)
    assert f"is {now} now." in text
    assert way in text


def test_an_option_of_another_optimizer_names_its_owner():
    with pytest.raises(SeptetError, match=r"optimizer\.momentum belongs to the optimizer muon or sgd"):
        Recipe.load(BASE | {"optimizer": {"name": "adamw", "momentum": 0.9}})


def test_foreign_names_are_known_at_any_place():
    for override in (
        "num_train_epochs=3",
        "data.num_train_epochs=3",
        "train.early_stopping={patience: 1, num_train_epochs: 3}",
    ):
        with pytest.raises(SeptetError, match="Septet's key is train"):
            Recipe.load(BASE, [override])


def test_every_target_exists_and_no_foreign_name_hides_a_key_of_ours():
    ours = keys()
    for name, (_tool, target, _convert) in _KEYS.items():
        assert target in ours, f"{name} points to {target}"
    for name in (*_KEYS, *_NEEDLESS):
        assert name not in SECTIONS
        assert not any(path == f"train.{name}" for path in ours)
    assert not set(_KEYS) & set(_NEEDLESS)


def test_every_conversion_works_on_any_value():
    for name in _KEYS:
        for value in (None, True, False, 0, 3, 0.5, "steps", "x", [1], {"a": 1}):
            found = translate(name, value, {"train": {name: value}})
            assert found is not None
            assert f"(septet explain {_KEYS[name][1]})" in found.hint
