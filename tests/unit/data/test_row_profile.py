"""The profile of prepared rows: what is counted, what is shown, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from septet.data.profile import describe, profile, shorten, spread, survey
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.table import Part, Table
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

SCHEMA = Schema(("text",), "label")


def rows_of(texts: list[str], labels: list[str] | None = None) -> Rows:
    many = len(texts)
    return Rows(
        [(text,) for text in texts],
        list(labels or ["a"] * many),
        None,
        list(range(many)),
        lambda i: f"/x/t.csv line {i}",
    )


def table(**columns) -> Table:
    return Table(columns, [Part("t.csv", 0, None)])


def test_a_survey_names_types_missing_values_and_what_is_not_used():
    found = survey(
        table(text=["a", "", "b", None], n=["1", "22", "-3", ""], x=["1.5", "2", "", "3e4"], t=[["a"], None, 1, True]),
        ["text"],
    )
    assert found["text"] == {"types": {"text": 2}, "missing": 2, "distinct": 2, "used": True}
    assert found["n"] == {"types": {"text: whole numbers": 3}, "missing": 1, "distinct": 3, "used": False}
    assert found["x"]["types"] == {"text: numbers": 3}
    assert found["t"]["types"] == {"list": 1, "whole number": 1, "true or false": 1}
    assert (found["t"]["missing"], found["t"]["distinct"]) == (1, None)


@pytest.mark.parametrize("values", [[3], [0, 0, 0], list(range(10)), list(range(1000)), [5] * 99 + [4000], [1, 10**6]])
def test_a_histogram_counts_every_row_once(values):
    found = spread(np.array(values))
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert sum(counts) == len(values)
    assert len({b - a for a, b in zip(edges, edges[1:], strict=False)}) == 1
    assert edges[0] == found["min"] == min(values)
    assert found["max"] == max(values)
    assert len(counts) <= 25


def test_no_rows_have_no_lengths():
    assert spread(np.zeros(0, np.int64)) == {}
    found = describe(rows_of([]), SCHEMA)
    assert (found["rows"], found["samples"], found["longest"], found["odd"]) == (0, [], [], [])


def test_words_that_train_lacks_are_counted_and_those_with_digits_not_shown():
    splits = {"train": rows_of(["The cat, sat.", "a cat"]), "test": rows_of(["the CAT ran", "ran to order77 x@y"])}
    found = profile(splits, SCHEMA, {})
    assert found["train"]["vocabulary"] == {"words": 5, "distinct": 4}
    assert found["test"]["vocabulary"] == {
        "words": 7,
        "distinct": 6,
        "unseen": 5,
        "unseen_distinct": 4,
        "commonest": ["ran", "to"],
    }


def test_odd_characters_are_found_and_named():
    texts = ["plain text of some length"] * 400 + ["caf\ufffd \ufffd", "moved ж here", "tab\tand\nline"]
    found = describe(rows_of(texts), SCHEMA)
    assert [row["place"] for row in found["odd"]] == ["t.csv line 400", "t.csv line 401"]
    assert found["odd"][0]["characters"] == ["U+FFFD REPLACEMENT CHARACTER"]
    assert found["odd"][0]["count"] == 2
    assert found["scripts"]["Latin"] > 0.99


def test_a_text_in_another_script_alone_is_not_odd():
    assert describe(rows_of(["где моя посылка", "здравствуйте"]), SCHEMA)["odd"] == []


def test_the_longest_and_the_shortest_rows_have_their_places():
    found = describe(rows_of(["bb", "a", "c" * 500, "dd"]), SCHEMA)
    assert (found["longest"][0]["place"], found["longest"][0]["length"]) == ("t.csv line 2", 500)
    assert len(found["longest"][0]["text"]) == 120
    assert (found["shortest"][0]["place"], found["shortest"][0]["length"]) == ("t.csv line 1", 1)


def test_of_a_test_set_no_text_is_kept():
    found = describe(rows_of(["secret words here", "and caf\ufffd"]), SCHEMA, split="test.web")
    assert "secret" not in json.dumps(found)
    assert "caf" not in json.dumps(found)
    assert found["longest"][0]["place"] == "t.csv line 0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to anna.smith@example.org now", "write to ‹address› now"),
        ("call +49 170 1234567 or 4111-1111-1111-1111", "call ‹number› or ‹number›"),
        ("order 12345 of 2026", "order 12345 of 2026"),
        ("two\n lines", "two lines"),
        ("x" * 130, "x" * 119 + "…"),
        ("short" + " " * 500 + "tail", "short…"),
    ],
)
def test_what_is_shown_is_cut_and_masked(text, shown):
    assert shorten(text) == shown


def test_free_text_is_measured_with_its_answers():
    found = describe(rows_of(["ask"], ["a long answer"]), Schema(("text",), "label", classes=False))
    assert found["labels"] == {}
    assert found["columns"]["label"]["words"]["max"] == 3


def test_a_run_has_its_tokens_and_says_how_many_rows_are_longer_than_the_model_reads(tmp_path: Path):
    lines = [f"number {i},{'ab'[i % 2]}" for i in range(60)] + ["word " * 700 + ",a"]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    recipe = Recipe.load(
        {
            "data": {"folder": str(tmp_path), "train": "t.csv", "split": {"validation": 0, "test": 0}},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe, run)
    found = run.read_json("data.json")["tokens"]
    assert (found["limit"], found["over"], found["rows"]) == (512, {"train": 1}, {"train": 61})
    assert found["splits"]["train"]["max"] == 702
    assert found["splits"]["train"]["min"] == 4


def test_a_model_that_is_not_here_has_no_tokens(tmp_path: Path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"number {i},{'ab'[i % 2]}\n" for i in range(60)))
    recipe = Recipe.load(
        {
            "data": {"folder": str(tmp_path), "train": "t.csv"},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "nobody/no-such-model",
        }
    )
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe, run)
    assert run.read_json("data.json")["tokens"] is None
    assert (run.path / "data.html").exists()
