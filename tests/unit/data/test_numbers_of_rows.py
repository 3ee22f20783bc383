"""`a.jsonl#500`: so many rows of one path, drawn by the seed, each once, and booked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from septet.data.read import read
from septet.errors import Problems, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe.data import counted
from septet.run import Run


@pytest.fixture
def files(tmp_path, rows):
    (tmp_path / "more").mkdir()
    for name, n in (("a.jsonl", 30), ("b.jsonl", 12), ("more/c.jsonl", 10), ("more/d.jsonl", 10)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows(n, prefix=name)))
    return tmp_path


@pytest.fixture
def made(files, recipe):
    """`made(["a.jsonl#20"], …)` → the prepared data."""

    def make(train, **data):
        source = {"folder": str(files), "train": train, "split": {"validation": 0, "test": 0}, **data}
        return prepare(recipe(source), Run(files / "runs" / str(len(list(files.glob("runs/*"))))))

    return make


def texts(prepared, split="train"):
    return [row["text"] for row in prepared.rows(split)]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.jsonl#500", ("a.jsonl", 500)),
        ("exports/#1_000", ("exports/", 1000)),
        ("a.jsonl#0", ("a.jsonl#0", None)),
        ("a#b.jsonl", ("a#b.jsonl", None)),
        ("sqlite:///a.db#500", ("sqlite:///a.db#500", None)),
    ],
)
def test_what_asks_for_a_number(path, found):
    assert counted(path) == found


def test_paths_are_drawn_apart_and_booked(made):
    found = made(["a.jsonl#20", "b.jsonl", "more#5"])
    drawn = [f"a.jsonl number {i}" for i in np.random.default_rng(42).permutation(30)[:20]]
    assert texts(found)[:20] == drawn
    assert texts(found)[20:32] == [f"b.jsonl number {i}" for i in range(12)]
    assert len({text for text in texts(found)[32:] if text.startswith("more/")}) == 5
    book = found.ledger["train"]
    assert (book.read, book.kept, book.dropped) == (62, 37, {"not sampled": 25})
    assert book.sources == {
        "a.jsonl#20": {"read": 30, "kept": 20},
        "b.jsonl": {"read": 12, "kept": 12},
        "more#5": {"read": 20, "kept": 5},
    }


def test_the_seed_and_the_number_decide_the_rows(made):
    first, again, other = made("a.jsonl#20"), made("a.jsonl#20"), made("a.jsonl#20", sample={"seed": 7})
    assert first.path == again.path != other.path
    assert set(texts(first)) != set(texts(other))
    assert set(texts(made("a.jsonl#10"))) < set(texts(first))  # fewer are the first of more


def test_other_splits_and_a_sample_of_what_was_drawn(made):
    found = made(["a.jsonl#20", "b.jsonl#10"], test="more/c.jsonl#4", sample={"train": 15}, split={"validation": 0})
    assert (found.ledger["train"].kept, found.ledger["test"].kept) == (15, 4)


def test_more_than_there_are_is_an_error_and_names_the_weight(made):
    with pytest.raises(RecipeError, match=r"a.jsonl#60 asks for 60 rows; there are 30(.|\n)*weights: \{a.jsonl: 2.0\}"):
        made("a.jsonl#60")


def test_a_file_of_that_name_is_itself(made, files):
    (files / "b.jsonl").rename(files / "b.jsonl#3")
    assert made("b.jsonl#3", format="jsonl").ledger["train"].kept == 12


def test_one_file_is_no_two_sources(recipe):
    with pytest.raises((RecipeError, Problems), match="the same file as data.train"):
        recipe({"train": "a.jsonl#20", "test": "a.jsonl#5"})
    with pytest.raises((RecipeError, Problems), match="names a.jsonl twice"):
        recipe({"train": ["a.jsonl#20", "a.jsonl"]})


def test_elsewhere_it_is_refused(files, made):
    with pytest.raises(UsageError, match="nowhere else"):
        read(files / "a.jsonl#5")
    with pytest.raises(RecipeError, match="read whole"):
        made("a.jsonl", target="b.jsonl#5")
