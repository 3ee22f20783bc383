"""Rows of several columns as one text: one value is written one way, wherever it comes from."""

from __future__ import annotations

import pytest

from septet.data.columns import composed
from septet.data.schema import Schema
from septet.data.table import Part, Table
from septet.errors import DataError

SCHEMA = Schema(("columns",), "y", members=("age", "plan"), keys={"age": "task.columns", "plan": "task.columns"})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (148, "148"),
        (148.0, "148"),
        ("148.0", "148"),
        ("148.50", "148.5"),
        (148.5, "148.5"),
        (-0.0, "0"),
        ("-0.00", "0"),
        ("0.10", "0.1"),
        ("0.000", "0"),
        (1e-07, "1e-07"),
        (0.1 + 0.2, "0.30000000000000004"),
        ("1.2.0", "1.2.0"),
        ("007", "007"),
        ("10", "10"),
        ("1,50", "1,50"),
        (True, "true"),
        (" new  client\n", "new client"),
        ("NA", "NA"),
    ],
)
def test_a_value_is_written_one_way_in_files_and_requests(value, written):
    table = Table({"age": [value], "plan": ["basic"], "y": ["a"]}, [Part("t", 0)])
    text = f"age: {written}; plan: basic"
    assert SCHEMA.extract(table).texts == [(text,)]
    assert SCHEMA.asked({"age": value, "plan": "basic", "more": 1}, "it") == {"columns": text}


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_what_is_missing_is_left_out_with_its_name(missing):
    table = Table({"age": [missing, missing], "plan": ["basic", missing], "y": ["a", "b"]}, [Part("t", 0)])
    assert SCHEMA.extract(table).texts == [("plan: basic",), ("",)]
    assert SCHEMA.asked({"age": missing, "plan": "basic"}, "it") == {"columns": "plan: basic"}


def test_the_order_is_that_of_the_recipe_and_not_of_the_file():
    assert composed(["b", "a"], ["1", "2"]) == "b: 1; a: 2"
    assert SCHEMA.asked({"plan": "x", "age": 1}, "it") == {"columns": "age: 1; plan: x"}


def test_the_text_itself_is_kept_as_logs_hold_it():
    assert SCHEMA.asked({"columns": "age: 1"}, "it") == {"columns": "age: 1"}


@pytest.mark.parametrize(
    ("row", "words"),
    [({"age": 1}, "field 'plan' is missing"), ({"age": [1], "plan": "x"}, "Column 'age' must hold text")],
)
def test_a_row_that_makes_no_text_is_refused(row, words):
    with pytest.raises(DataError, match=words) as caught:
        SCHEMA.asked(row, "inputs[3]")
    assert "inputs[3]" in str(caught.value)
