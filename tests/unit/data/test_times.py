"""Splits by time: how times are read, that the newest rows are tested on, and that nothing old repeats them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.chronology import cut_by_time
from septet.data.draft import Draft
from septet.data.near import near_duplicates
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.times import read_times
from septet.errors import DataError, RecipeError
from septet.recipe import Recipe


def read(values):
    return read_times(values, "created", where=lambda i: f"log.csv line {i + 2}")


DAY = datetime(2026, 1, 31, 9, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("2026-01-31", "2026-02-01"),
        ("2026-01-31T09:30:00+02:00", "2026-01-31T08:00:00Z"),
        ("2026-01-31 09:30", "2026-01-31 10:00:01.5"),
        ("2026/01/31", "2026/02/01"),
        ("31.01.2026", "01.02.2026"),
        ("31.01.2026 23:59", "01.02.2026 00:00"),
        ("31/01/2026", "01/02/2026"),
        ("01/31/2026 09:30", "02/01/2026 09:00"),
        ("31 Jan 2026", "1 Feb 2026"),
        ("January 31, 2026", "February 1, 2026"),
        ("Sat, 31 Jan 2026 09:30:00 +0200", "Sat, 31 Jan 2026 08:00:00 +0000"),
        ("2026-01", "2026-02"),
        ("9", "10"),
        (9, 10.5),
        (date(2026, 1, 31), datetime(2026, 2, 1)),
    ],
)
def test_times_grow_with_time(earlier, later):
    first, second = read([earlier, later])
    assert first < second


def test_a_date_is_seconds_of_utc_and_a_number_is_itself():
    assert read(["2026-01-31T09:30:00", "2026-01-31T11:30:00+02:00"]) == [DAY, DAY]
    assert read([2024, "2025"]) == [2024, 2025]


@pytest.mark.parametrize(
    "values, place, received",
    [
        (["2026-01-31", "soon"], 3, "soon"),
        (["2026-01-31", None], 3, "nothing"),
        (["", "2026-01-31"], 2, "nothing"),
        ([float("nan"), 3.0], 2, "nothing"),
        ([date(2026, 1, 31), 7], 3, "7"),
        ([["2026"], ["2027"]], 2, "['2026']"),
        (["2026-01-31", "31/01/2026"], 3, "31/01/2026"),
    ],
)
def test_what_is_no_time_is_named_with_its_row(values, place, received):
    with pytest.raises(DataError) as error:
        read(values)
    text = str(error.value)
    assert f"log.csv line {place}" in text
    assert received in text
    assert "2026-01-31T09:30:00" in text


def test_days_and_months_that_cannot_be_told_apart_are_refused_unless_the_order_is_the_same():
    with pytest.raises(DataError, match="the day first or the month first"):
        read(["02/03/2026", "03/02/2026"])
    assert read(["02/02/2026", "03/03/2026"]) == sorted(read(["02/02/2026", "03/03/2026"]))
    assert read(["02/03/2026", "13/02/2026"]) == sorted(read(["02/03/2026", "13/02/2026"]), reverse=True)


@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=120).filter(lambda each: len(set(each)) > 2),
    st.floats(0.01, 0.45),
    st.floats(0.01, 0.45),
)
@settings(max_examples=80, deadline=None)
def test_each_split_is_newer_than_the_one_before_and_ties_stay_together(times, validation, test):
    rows = Rows([(f"text {i}",) for i in range(len(times))], ["x"] * len(times), None, list(range(len(times))), str)
    rows.times = list(map(float, times))
    draft = Draft({"train": rows}, Schema(("text",), "label"))
    draft.ledger["train"].read = len(rows)
    options = Recipe.load(
        {
            "data": {"train": "t.csv", "split": {"time": "t", "validation": validation, "test": test}},
            "task": TASK,
            "model": "starter",
        }
    ).data.split
    assert cut_by_time(draft, options) == ["test", "validation"]
    old, middle, new = (draft.splits[name].times or [] for name in ("train", "validation", "test"))
    assert sorted(old + middle + new) == sorted(rows.times)
    assert max(old) < min(middle) <= max(middle) < min(new)
    largest = max(map(times.count, times))
    if len(set(times)) > 20:
        assert abs(len(new) - test * len(times)) <= largest + 2
    for split in draft.splits.values():
        assert split.places == sorted(split.places)


TASK = {"name": "classify", "text": "text", "label": "label"}


def log(count=300, seed=5):
    draw = random.Random(seed)
    return [
        {
            "text": " ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(12)),
            "label": "ab"[i % 2],
            "created": (datetime(2026, 1, 1) + timedelta(hours=7 * i)).isoformat(),
        }
        for i in draw.sample(range(count), count)
    ]


def test_the_newest_rows_are_tested_on(prepared):
    rows = log()
    done = prepared({"train": rows}, {"split": {"time": "created"}})
    assert [len(done.rows(split)) for split in ("train", "validation", "test")] == [240, 30, 30]
    created = {row["text"]: row["created"] for row in rows}
    times = {split: [created[row["text"]] for row in done.rows(split)] for split in done.splits}
    assert max(times["train"]) < min(times["validation"]) < max(times["validation"]) < min(times["test"])
    assert done.ledger["train"].moved == {"test": 30, "validation": 30}
    assert "created" not in done.rows("train")[0]


@pytest.mark.parametrize("overlap", ["drop", "keep"])
def test_what_repeats_a_newer_split_leaves_the_older_one_as_data_overlap_says(prepared, overlap):
    rows = sorted(log(), key=lambda row: row["created"])
    rows[3]["text"] = rows[-1]["text"]
    rows[3]["label"] = {"a": "b", "b": "a"}[rows[-1]["label"]]  # else one of the two is a duplicate
    rows[5]["text"] = rows[-2]["text"] + "x"
    rows[280]["text"] = rows[-3]["text"] + "x"
    done = prepared({"train": rows}, {"split": {"time": "created", "validation": 0.2}, "overlap": overlap})
    older = {row["text"] for split in ("train", "validation") for row in done.rows(split)}
    inside = [rows[i]["text"] in older for i in (3, 5)]
    if overlap == "drop":
        assert inside == [False, False]
        assert done.ledger["train"].dropped == {"also in test": 1, "near duplicate": 1}
        texts = [row["text"] for split in done.splits for row in done.rows(split)]
        sides = [split for split in done.splits for _ in done.rows(split)]
        first = near_duplicates(texts, threshold=0.8).first
        assert all(sides[i] == sides[first[i]] for i in range(len(texts)))
    else:
        assert inside == [True, True]
        assert done.ledger["train"].dropped == {}
    leak = next(f for f in done.findings if f.slug == "near-leak" and f.evidence["split"] == "train")
    assert leak.level == ("note" if overlap == "drop" else "warning")


def test_only_what_is_not_given_is_cut_and_a_test_set_needs_no_time(prepared, rows):
    done = prepared({"train": log(), "test": rows(120)}, {"split": {"time": "created"}})
    assert [len(done.rows(split)) for split in ("train", "validation", "test")] == [270, 30, 120]


@pytest.mark.parametrize(
    "data, words",
    [
        ({"split": {"time": "created", "group": "label"}}, "data.split.group"),
        ({"split": {"time": "created", "validation": 0, "test": 0}}, "no split is cut"),
    ],
)
def test_what_would_be_ignored_is_an_error(recipe, data, words):
    with pytest.raises(RecipeError, match=words):
        recipe({"train": "t.csv", **data})


def test_a_column_that_is_not_there_or_has_too_few_times_is_named(prepared):
    with pytest.raises(RecipeError, match=r"data\.split\.time"):
        prepared({"train": log()}, {"split": {"time": "creatd"}})
    few = [row | {"created": row["created"][:7]} for row in log(20)]
    with pytest.raises(DataError, match="1 different times do not give 3 splits"):
        prepared({"train": few}, {"split": {"time": "created"}})


def test_without_a_time_prepared_data_keep_their_key(recipe):
    from septet.data.ask import facts_of, schema_of, task_of

    made = recipe({"train": "t.csv"})
    task = task_of(made)
    facts = facts_of(made, task, schema_of(made, task))
    assert "time" not in facts[0]["split"]
