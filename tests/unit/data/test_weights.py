"""`data.weights`: which paths they may name, what prepared data say of sources, and that they prepare nothing anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from septet.errors import RecipeError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

CUT = {"split": {"validation": 0.2, "test": 0.1}}


@pytest.fixture
def files(tmp_path, rows):
    """Three corpora of 30, 20 and 10 rows, two of them in a folder; their texts say which they are of."""
    (tmp_path / "more").mkdir()
    for name, num in (("one", 30), ("more/two", 20), ("more/three", 10)):
        lines = "".join(json.dumps(row) + "\n" for row in rows(num, prefix=Path(name).name))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return tmp_path


@pytest.fixture
def made(files, recipe):
    def make(name="a", **data):
        run = Run(files / "runs" / name)
        source = recipe({"folder": str(files), "train": ["one.jsonl", "more"], **CUT, **data})
        return prepare(source, run), run.read_json("data.json")

    return make


@pytest.mark.parametrize("data", [{}, {"sample": {"train": 40}}, {"split": {"validation": 0.0, "test": 0.0}}])
def test_each_row_knows_its_source(made, data):
    prepared, facts = made(**data)
    rows = prepared.rows("train")
    expected = [0 if row["text"].startswith("one") else 1 for row in rows]
    assert prepared.sources().tolist() == expected and set(expected) == {0, 1}
    assert all(list(row) == ["_row", "text", "label"] for row in rows)
    kept = np.bincount(expected).tolist()
    assert facts["ledger"]["train"]["sources"] == {
        "one.jsonl": {"read": 30, "kept": kept[0], "weight": 1.0},
        "more": {"read": 30, "kept": kept[1], "weight": 1.0},
    }


def test_a_row_of_two_sources_is_of_the_first(files, made):
    (files / "one.jsonl").write_text((files / "one.jsonl").read_text() + '{"text": "two number 3", "label": "b"}\n')
    prepared, facts = made(split={"validation": 0.0, "test": 0.0})
    (place,) = [i for i, row in enumerate(prepared.rows("train")) if row["text"] == "two number 3"]
    assert prepared.sources()[place] == 0
    assert facts["ledger"]["train"]["sources"]["more"] == {"read": 30, "kept": 29, "weight": 1.0}


def test_weights_are_told_and_prepare_nothing_anew(made, opened):
    plain, _ = made()
    opened.clear()
    weighed, facts = made("b", weights={"more": 2.5})
    again, _ = made("c", weights={"more": 3, "one.jsonl": 0.5})
    assert plain.path == weighed.path == again.path
    assert not [name for name in opened if name.endswith(".jsonl")]
    assert {path: rows["weight"] for path, rows in facts["ledger"]["train"]["sources"].items()} == {
        "one.jsonl": 1.0,
        "more": 2.5,
    }
    kept = int((plain.sources() == 1).sum())
    assert plain.ledger["train"].sources["more"] == {"read": 30, "kept": kept}


def test_the_ledger_names_the_sources(files, recipe):
    notes = []
    source = recipe({"folder": str(files), "train": ["one.jsonl", "more"], **CUT, "weights": {"more": 2.5}})
    run = Run(files / "runs" / "a")
    data = prepare(source, run, listen=lambda event, **facts: notes.append(facts.get("text", "")))
    (books,) = [note for note in notes if note.startswith("split")]
    kept = np.bincount(data.sources()).tolist()
    assert [line.split() for line in books.split("\n") if line.startswith(" ")] == [
        ["30", str(kept[0]), "one.jsonl"],
        ["30", str(kept[1]), "more", "weight", "2.5"],
    ]


def test_one_path_keeps_its_prepared_data_and_may_have_a_weight(made):
    plain, facts = made(train="more")
    assert "sources" not in facts or not facts["ledger"]["train"]["sources"]
    assert plain.sources().tolist() == [0] * len(plain.rows("train"))
    weighed, facts = made("b", train="more", weights={"more": 2})
    assert weighed.path == plain.path
    assert facts["ledger"]["train"]["sources"] == {"more": {"read": 30, "kept": 21, "weight": 2.0}}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"train": ["a.csv", "b.csv"], "weights": {"aa.csv": 2}}, ["names aa.csv", "a.csv, b.csv", "did you mean"]),
        ({"train": ["a.csv", "b.csv"], "weights": {"./a.csv": 2}}, ["names ./a.csv", "a.csv"]),
        ({"train": ["all/", "b.csv"], "weights": {"all/x.csv": 2}}, ["a file within all/", "each by itself"]),
        ({"train": "a.csv", "weights": {"a.csv": 0}}, ["above 0", "a.csv: 0"]),
        ({"train": "a.csv", "weights": {"a.csv": -1.5}}, ["above 0"]),
        ({"train": "a.csv", "weights": {"a.csv": 2000}}, ["at most 1,000"]),
        ({"train": "a.csv", "weights": {"a.csv": True}}, ["numbers"]),
        ({"train": "a.csv", "weights": 2}, ["a mapping of names to numbers"]),
        ({"hub": {"path": "owner/name"}, "weights": {"a.csv": 2}}, ["would be ignored", "data.hub"]),
    ],
)
def test_what_weights_cannot_say(recipe, data, told):
    with pytest.raises(RecipeError) as caught:
        recipe(data)
    for part in ["data.weights", *told]:
        assert part in str(caught.value)


def test_a_table_in_memory_has_no_weights(recipe):
    source = recipe({"train": "a.csv", "weights": {"a.csv": 2}})
    with pytest.raises(RecipeError, match="table in memory"):
        Recipe.load(source, in_memory=("train",))


def test_weights_are_written_and_read_again(recipe, tmp_path):
    source = recipe({"train": ["a b: c.txt", "0.5"], "weights": {"a b: c.txt": 2.5, "0.5": 0.0005}})
    (tmp_path / "recipe.yaml").write_text(source.to_yaml())
    assert Recipe.load(tmp_path / "recipe.yaml").data.weights == {"a b: c.txt": 2.5, "0.5": 0.0005}
    assert source.data.weighed() == {"a b: c.txt": 2.5, "0.5": 0.0005}


def test_the_column_of_the_source_is_ours(tmp_path, recipe):
    (tmp_path / "a.csv").write_text("_row_source,label\nx,a\ny,b\n")
    with pytest.raises(RecipeError, match="where a row is from"):
        prepare(recipe({"train": str(tmp_path / "a.csv")}, text="_row_source"), Run(tmp_path / "runs" / "a"))
