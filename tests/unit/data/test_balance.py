"""`data.balance`: factors by label, what the books say, which remedy is recommended, and that nothing is prepared anew."""

from __future__ import annotations

import json

import pytest

from septet.data.balance import factors, remedy
from septet.data.ledger import Ledger
from septet.errors import RecipeError
from septet.mixing import Mix
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.recipe.data_blocks import Balance
from septet.run import Run

SIZES = {"a": 100.0, "b": 40.0, "c": 2.0}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, [100, 40, 2]),
        ({"sampling": "over"}, [100, 100, 100]),
        ({"sampling": "under"}, [2, 2, 2]),
        ({"cap": 30}, [30, 30, 2]),
        ({"sampling": "over", "cap": 30}, [30, 30, 30]),
        ({"sampling": "under", "cap": 1}, [1, 1, 1]),
    ],
)
def test_what_an_epoch_shows_of_each_label(options, shown):
    found = factors(SIZES, Balance(**options))
    assert [found[label] * size for label, size in SIZES.items()] == pytest.approx(shown)


@pytest.mark.parametrize(
    ("counts", "setting", "said"),
    [
        ({"a": 400, "b": 8}, "task.class_weights: balanced", '"b" has 8 rows'),
        ({"a": 400, "b": 1}, "task.class_weights: balanced", '"b" has 1 row;'),
        ({"a": 2000, "b": 40}, "task.class_weights: balanced", "showing them 50 times an epoch"),
        ({"a": 90_000, "b": 3000, "c": 4000}, "data.balance.sampling: under", "10.8 times shorter"),
    ],
)
def test_the_remedy_goes_by_the_rows_of_the_labels(counts, setting, said):
    found, why = remedy(counts)
    assert found == setting and said in why


def test_the_finding_recommends_it(prepared, rows):
    many, few = rows(600, "a"), rows(24, "b", prefix="other")
    found = {f.slug: f for f in prepared({"train": [*many, *few]}).findings}["class-imbalance"]
    assert "task.class_weights: balanced" in found.fix and found.evidence["remedy"] in found.fix


@pytest.fixture
def made(tmp_path, recipe, rows):
    table = [*rows(60, "a"), *rows(12, "b", prefix="other")]

    def make(name="one", **data):
        run = Run(tmp_path / "runs" / name)
        names = {"train": "<memory>", "split": {"validation": 0.0, "test": 0.0}}
        return prepare(recipe(names | data), run, tables={"train": table}), run.read_json("data.json")

    return make


def test_the_books_say_what_an_epoch_shows(made):
    _, facts = made(balance={"sampling": "over", "cap": 50})
    labels = facts["ledger"]["train"]["labels"]
    assert labels == {"a": {"kept": 60, "shown": 50}, "b": {"kept": 12, "shown": 50}}
    assert "100   shown in an epoch: a 50, b 50" in Ledger.from_json(facts["ledger"]).text()


def test_no_prepared_row_changes(made):
    plain, before = made("plain")
    balanced, after = made("balanced", balance={"sampling": "under"})
    assert plain.path == balanced.path and before["splits"] == after["splits"]
    assert before["ledger"]["train"]["labels"] == {} != after["ledger"]["train"]["labels"]


def test_files_with_weights_are_balanced_by_what_they_weigh(tmp_path, recipe):
    texts = {"one.jsonl": "aaaaaabb", "two.jsonl": "abbb"}
    for name, labels in texts.items():
        lines = [json.dumps({"text": f"{name} {i}", "label": label}) + "\n" for i, label in enumerate(labels)]
        (tmp_path / name).write_text("".join(lines))
    data = {"folder": str(tmp_path), "train": list(texts), "split": {"validation": 0.0, "test": 0.0}}
    source = recipe(data | {"weights": {"two.jsonl": 3.0}, "balance": {"sampling": "over"}, "near": {"policy": "off"}})
    run = Run(tmp_path / "runs" / "one")
    prepared = prepare(source, run)
    assert run.read_json("data.json")["ledger"]["train"]["labels"] == {
        "a": {"kept": 7, "shown": 11},
        "b": {"kept": 5, "shown": 11},
    }
    rows = prepared.rows("train")
    means = Mix.of(source, prepared, rows).mixture([1] * len(rows)).means
    shown = {(row["text"].split(".")[0], row["label"]): mean for row, mean in zip(rows, means, strict=True)}
    assert shown["two", "b"] == pytest.approx(3 * 1.0) and shown["two", "a"] > 2 * shown["one", "a"]


def test_a_task_without_labels_refuses_it(tmp_path):
    source = {
        "data": {"train": "<memory>", "balance": {"cap": 5}},
        "task": {"name": "generate", "prompt": "text", "answer": "label"},
    }
    with pytest.raises(RecipeError, match=r"data\.balance would be ignored"):
        prepare(Recipe.load(source, in_memory=("train",)), Run(tmp_path / "run"), tables={"train": []})
