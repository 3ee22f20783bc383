"""The arithmetic of `bench data`: the rows that are made, and what two sides agree on. No timing here."""

import csv
import gzip
import json
import lzma
import sys
from collections import Counter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from bench import data, data_judge, many  # noqa: E402
from bench.data_side import folded_text, recipe_of  # noqa: E402
from septet.data.near import near_duplicates  # noqa: E402
from septet.recipe import Recipe  # noqa: E402


@pytest.fixture
def shared(tmp_path):
    """A folder in the layout of the shared data: every table has twelve rows of its own."""
    for number, (name, columns) in enumerate(many._TABLES.items()):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {c: f"Row {i} of table {number}, column {c}, which says a thing of its own." for c in columns}
            for i in range(12)
        ]
        with gzip.open(file, "wt", newline="") as out:
            if ".jsonl" in name:
                out.writelines(json.dumps(row) + "\n" for row in rows)
            else:
                writer = csv.DictWriter(out, list(columns))
                writer.writeheader()
                writer.writerows(rows)
    for name in many._PROSE:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with lzma.open(file, "wt") as out:
            out.write(
                "It was late in the year. “Nobody came to the house,” she said. Short. The garden lay under snow.\n"
            )
    return tmp_path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_real_then_made_of_them_and_the_same_again(shared, tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    counts = many.write_rows(one, 2000, shared=shared)
    assert counts == many.write_rows(other, 2000, shared=shared)
    assert one.read_bytes() == other.read_bytes()
    rows = rows_of(one)
    assert Counter(row["kind"] for row in rows) == counts
    assert len(rows) == 2000 and min(counts.values()) > 50
    real = {row["origin"]: row["text"] for row in rows if row["kind"] == "real"}
    assert len(set(real.values())) == counts["real"]
    for row in rows:
        if row["kind"] == "exact":
            assert row["text"] == real[row["origin"]]
        if row["kind"] == "near":
            assert row["text"] != real[row["origin"]]
        if row["kind"] == "made":
            assert row["text"].startswith(real[row["origin"]])


def test_a_small_table_has_repeats_as_a_large_one_has(shared, tmp_path):
    counts = many.write_rows(tmp_path / "few.csv", 200, shared=shared)
    assert sum(counts.values()) == 200 and counts["real"] == 80 and min(counts.values()) > 2


def test_what_two_sides_keep_is_compared_by_letters_and_digits():
    found = data.agreement(["One, two.", "three", "four"], ["one two", "THREE!", "five"])
    assert found == {"both": 2, "septet_alone": 1, "peer_alone": 1, "share": 0.5}


def test_who_is_right_is_told_by_the_exact_similarity(tmp_path):
    base = "the ship left the harbour in the early morning of a cold day"
    near, other = base + "s", "nobody knew where the captain of the old ship had gone to"
    lone, foreign = (
        "there was a garden behind the house with apple trees",
        "Где моя посылка? Она должна была прийти вчера",
    )
    rows = tmp_path / "rows.csv"
    with rows.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(
            [("text",), *((text,) for text in (base, near, other, other + "!!", other + "s", lone, foreign))]
        )
    ours, theirs = [base, near, other, foreign], [base, other + "s", lone]
    assert data_judge.judge(rows, ours, theirs) == {
        "septet": {"texts": 3, data_judge.MISSED: 1 / 3, data_judge.OTHER: 1 / 3, data_judge.LANGUAGE: 1 / 3},
        "peer": {"texts": 2, data_judge.OTHER: 1 / 2, data_judge.ALONE: 1 / 2},
    }


def test_the_recipe_of_the_bench_is_one(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe_of(tmp_path / "rows.csv")))
    assert Recipe.load(file, []).data.near.policy == "drop"


def test_pieces_of_both_sides_are_the_same():
    """A folded text and the text itself are equal to Septet's search of near repeats."""
    for text in (
        "It's  late -- come HOME, now!",
        "Ça va très bien, à demain.",
        "Größe: 12,5 cm (breit)",
        "Где моя посылка?",
    ):
        found = near_duplicates([text, folded_text(text)], threshold=1.0)
        assert found.first.tolist() == [0, 0]


def test_the_table_says_what_was_seen():
    run = {"wall_s": 10.0, "peak_bytes": 2**30, "rows": 90, "tokens": 1234, "stages": {"read": 10.0}}
    spread = {"median": 4.0, "low": 4.0, "high": 4.0}
    facts = {"date": "2026-11-29 03:00", "load": 0.1, "cpu": "a processor", "cores": 2, "versions": {"septet": "0.1.0"}}
    result = {
        "facts": facts,
        "options": {"rows": 100, "alone": 1000, "repeats": 1},
        "kinds": {"real": 100},
        "runs": {"septet": [run], "peer": [{**run, "wall_s": 40.0}]},
        "agreement": {"both": 89, "septet_alone": 1, "peer_alone": 0, "share": 89 / 90},
        "ratio": spread,
        "alone": {"septet": {"texts": 1, data_judge.MISSED: 1.0}, "peer": {"texts": 0}},
        "larger": {**run, "wall_s": 50.0, "rows": 900},
    }
    shown = data.text(result)
    assert "| septet |   100 |      10 |     10 |" in shown
    assert "Septet is 4.0 times as fast" in shown and "both keep 98.9%" in shown and "1,000" in shown
    assert "of what septet keeps alone: 100% is a repeat of a text that this side keeps too" in shown
