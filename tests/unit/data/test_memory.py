"""Tables in memory: every kind gives the same rows; missing values stay missing."""

from __future__ import annotations

import pytest

from septet.data.clean import Cleaning, clean_rows
from septet.data.read import read
from septet.data.schema import Schema
from septet.errors import DataError, MissingExtraError, RecipeError, UsageError

ROWS = [{"text": "NA", "label": 1}, {"text": "two", "label": None}, {"text": None, "label": 3}]


def tables():
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    return {
        "pandas": pd.DataFrame(ROWS),
        "pandas Int64": pd.DataFrame(ROWS).astype({"label": "Int64"}),
        "polars": pl.DataFrame(ROWS),
        "pyarrow": pa.Table.from_pylist(ROWS),
        "datasets": datasets.Dataset.from_list(ROWS),
        "list": ROWS,
        "dict": {"text": ["NA", "two", None], "label": [1, None, 3]},
    }


@pytest.mark.parametrize("kind", ["pandas", "pandas Int64", "polars", "pyarrow", "datasets", "list", "dict"])
def test_every_kind_gives_the_same_rows(kind):
    rows = Schema(("text",), "label").extract(read(tables()[kind], name="train"))
    assert rows.texts == [("NA",), ("two",), ("",)]
    assert rows.labels == ["1", None, "3"]
    assert rows.place(1) == "train row 2"


def test_class_numbers_of_a_dataset_become_names():
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    assert read(table).columns["label"] == ["pos", "neg", None]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (5, UsageError),
        ([], DataError),
        ([{"text": "a"}, "b"], DataError),
        ({"text": ["a"], "label": []}, DataError),
    ],
)
def test_what_is_no_table_is_refused(value, error):
    with pytest.raises(error):
        read(value, name="train")


def test_streams_and_dicts_of_splits_are_refused():
    import datasets
    import polars as pl

    dataset = datasets.Dataset.from_list([{"text": "a"}])
    with pytest.raises(UsageError, match="not a stream"):
        read(dataset.to_iterable_dataset())
    with pytest.raises(UsageError, match=r"\.collect"):
        read(pl.DataFrame({"text": ["a"]}).lazy())


def test_lists_are_not_text():
    table = read([{"text": ["a", "b"], "label": 1}], name="train")
    with pytest.raises(DataError, match=r"must hold text[\s\S]*train row 1"):
        Schema(("text",), "label").extract(table)


def test_values_as_text():
    table = read({"text": ["a", "\ud800b", "c", "d"], "label": [True, 2.0, 2.5, float("nan")]})
    rows = Schema(("text",), "label").extract(table)
    assert rows.labels == ["true", "2", "2.5", None]
    assert clean_rows(rows, Cleaning(), classes=True) == {"surrogates": 1}
    assert rows.texts[1] == ("\ufffdb",)
    twice = Schema(("text",), "label").extract(read({"text": ["a", "b"], "label": ["\ud800", "x"]}))
    assert twice.labels[0] == "\ufffd"  # a label is not cleaned


def test_text_and_label_must_differ(recipe):
    with pytest.raises(RecipeError):
        Schema.of(recipe({"train": "a.csv"}, text="label"))


def test_hub_needs_its_extra(monkeypatch):
    import sys

    from septet.data.hub import read_hub

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"septet\[hub\]"):
        read_hub("owner/name", "train")
