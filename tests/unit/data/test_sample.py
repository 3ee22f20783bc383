"""`data.sample` draws the rows that `datasets` draws."""

from __future__ import annotations

import pytest

from septet.data.sample import draw
from septet.errors import RecipeError


@pytest.mark.parametrize(("total", "wanted", "seed"), [(50, 50, 42), (1000, 10, 42), (12_284, 1000, 42), (77, 30, 7)])
def test_equals_shuffle_and_select_of_datasets(total, wanted, seed):
    import datasets

    theirs = datasets.Dataset.from_dict({"i": list(range(total))}).shuffle(seed=seed).select(range(wanted))["i"]
    assert draw(total, wanted, seed=seed, split="train") == list(theirs)


def test_more_rows_than_there_are_is_an_error():
    with pytest.raises(RecipeError, match=r"data\.sample\.test asks for 100 rows; test\.web has 99"):
        draw(99, 100, seed=42, split="test.web")


def test_the_sample_is_drawn_before_anything_is_dropped(prepared, rows):
    import datasets

    train = rows(300) + rows(100)  # the last hundred are duplicates
    found = prepared({"train": train, "test": rows(50, prefix="test")}, {"sample": {"train": 120}})
    theirs = {r["text"] for r in datasets.Dataset.from_list(train).shuffle(seed=42).select(range(120))}
    assert {r["text"] for split in ("train", "validation") for r in found.rows(split)} == theirs
    assert found.ledger["train"].dropped["not sampled"] == 280


def test_a_sample_of_a_split_that_is_cut_is_refused(prepared, rows):
    with pytest.raises(RecipeError, match="cut from train"):
        prepared({"train": rows(50)}, {"sample": {"validation": 5}})


def test_rows_of_a_label_are_drawn_and_others_stay(prepared, rows):
    table = [*rows(60, "a"), *rows(30, "b", prefix="b"), *rows(9, "c", prefix="c")]
    options = {"sample": {"labels": {"a": 5, "b": 30}}, "split": {"validation": 0.0, "test": 0.0}}
    found = prepared({"train": table}, options)
    assert found.manifest["profile"]["train"]["labels"] == {"b": 30, "c": 9, "a": 5}
    assert found.ledger["train"].dropped == {"not sampled": 55}
    with pytest.raises(RecipeError, match='asks for 10 rows of "c"; train has 9'):
        prepared({"train": table}, {"sample": {"labels": {"c": 10}}})


def test_labels_are_drawn_before_train_counts(prepared, rows):
    options = {"sample": {"labels": {"a": 5}, "train": 35}, "split": {"validation": 0.0, "test": 0.0}}
    found = prepared({"train": [*rows(60, "a"), *rows(30, "b", prefix="b")]}, options)
    assert found.manifest["profile"]["train"]["labels"] == {"b": 30, "a": 5}
