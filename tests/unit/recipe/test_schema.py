"""The schema tells everything: each key is described, and the JSON schema says what the loader says."""

import pytest

from septet.errors import UsageError
from septet.recipe import Recipe
from septet.recipe.schema import SECTIONS, default_of, keys, nested, why_of

BASE = {"data": {"train": "a.csv"}, "task": {"name": "classify", "text": "t", "label": "l"}}


@pytest.mark.parametrize("path", sorted(keys()))
def test_every_key_is_described_with_a_reason_and_explained(path):
    field = keys()[path]
    assert field.description and len(field.description) > 8, "a description"
    if nested(field) is None and not field.is_required():
        assert why_of(field), "a why for the default"
    if field.is_required():
        assert default_of(field) is None
    assert path.split(".")[0] in Recipe.explain(path)


def test_explain_one_key():
    text = Recipe.explain("train.lr")
    assert "Peak learning rate" in text
    assert "a number above 0, or auto" in text
    assert "derived from the method" in text


@pytest.mark.parametrize("section", SECTIONS)
def test_explain_a_section_lists_its_keys(section):
    text = Recipe.explain(section)
    for path in keys():
        name = path.removeprefix(f"{section}.")
        if path.startswith(f"{section}.") and "." not in name and name != "name" and nested(keys()[path]) is None:
            assert name in text


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("train.lrr", "train.lr"),
        ("lr", "train.lr"),
        ("num_train_epochs", "epochs"),
        ("trian", "train"),
        ("method.rnk", "method.rank"),
    ],
)
def test_explain_what_does_not_exist(path, near):
    with pytest.raises(UsageError) as caught:
        Recipe.explain(path)
    assert near in str(caught.value)


def test_json_schema_of_sections():
    schema = Recipe.json_schema()
    assert list(schema["properties"]) == list(SECTIONS)
    assert schema["required"] == ["data", "task"]
    assert schema["additionalProperties"] is False
    lr = schema["$defs"]["Train"]["properties"]["lr"]
    assert "Peak learning rate" in lr["description"]
    assert {"const": "auto"} in lr["anyOf"]
    assert lr["why"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"method": "lora", "model": "starter"},
        {"method": {"name": "lora", "rank": 4}, "model": {"name": "starter", "max_length": 64}},
        {"train": {"lr": "auto", "eval_every": 0.25, "clip": None}, "optimizer": {"betas": [0.9, 0.99]}},
        {"data": {"train": ["a.csv"], "test": {"web": "w.csv"}, "sample": {"train": 10}}},
        {"train": {"lr": "1e-4"}},
        {"train": {"lrr": 1}},
        {"method": {"name": "full", "rank": 4}},
        {"method": "lorra"},
        {"optimizer": "sgd"},
        {"optimizer": {"name": "sgd", "momentum": 0.5}},
        {"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}},
        {"serve": {"port": 99999}},
        {"task": {"name": "classify", "text": "t"}},
        {"data": {"train": []}},
        {"train": {"seed": True}},
        {"train": {"keep": 0}},
    ],
)
def test_json_schema_agrees_with_the_loader(change):
    jsonschema = pytest.importorskip("jsonschema", reason="the JSON schema is checked by an independent reader")
    try:
        Recipe.load(BASE | change)
        loads = True
    except UsageError:
        loads = False
    except Exception as error:
        assert type(error).__name__ == "Problems"
        loads = False
    assert jsonschema.Draft202012Validator(Recipe.json_schema()).is_valid(BASE | change) == loads
