"""The review sheet: written safe for spreadsheets, filled in, read back, booked; every mistake in it named."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

import sheets
from septet.data.sheet import COLUMNS, escape, name_of, read_sheet, unescape, write_sheet
from septet.errors import DataError, Problems, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

TEXTS = [
    "=1+1",
    "+49 30",
    "-5",
    "@here",
    "'quoted'",
    "\tindented",
    "plain, with comma",
    'a "word"',
    "two\nlines",
    "",
    "ＡＢＣ",
    "＝A1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_cells_that_a_spreadsheet_would_run_come_back_as_they_were(text):
    assert unescape(escape(text)) == text
    assert not escape(text).startswith(("=", "+", "-", "@", "\t", "＝"))


def rows(count: int) -> list[dict[str, str]]:
    return [{"text": f"=word{i} of row {i * 7919}", "label": "=ab"[i % 2 + 1]} for i in range(count)]


def table(path: Path, lines: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(lines)


def recipe(folder: Path, **data: Any) -> Recipe:
    return Recipe.load(
        {
            "data": {"folder": str(folder), "train": "train.csv", "doubtful": {"features": "tfidf"}} | data,
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )


def prepared(folder: Path, review: Path | None = None, **data: Any) -> Any:
    return prepare(recipe(folder, **data), Run(folder / "runs" / "one"), review=review)


@pytest.fixture
def sheet(tmp_path: Path) -> list[dict[str, str]]:
    """The lines of the sheet of 80 rows, of which one text has two labels."""
    table(tmp_path / "train.csv", [*rows(80), {"text": "=word3 of row 23757", "label": "a"}])
    prepared(tmp_path, review=tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, lines: list[dict[str, str]]) -> None:
    with (folder / "filled.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(lines[0]), delimiter=";")  # as a European Excel saves it
        writer.writeheader()
        writer.writerows(lines)


def test_the_sheet_says_which_rows_and_why(sheet):
    torn = [line for line in sheet if "the same text" in line["reason"]]
    assert [unescape(line["text"]) for line in torn] == ["=word3 of row 23757"] * 2
    assert {line["label"] for line in torn} == {"a", "b"}
    assert [line["place"].rpartition("/")[2] for line in torn] == ["train.csv line 5", "train.csv line 82"]
    assert all(line["corrected"] == line["verdict"] == "" for line in sheet)
    assert all(line["text"].startswith("'=") for line in sheet)


def test_a_filled_in_sheet_changes_labels_and_drops_rows(tmp_path, sheet):
    torn = [line for line in sheet if "the same text" in line["reason"]]
    torn[0]["corrected"] = "a"
    other = next(line for line in sheet if line not in torn) if len(sheet) > 2 else None
    fill(tmp_path, [*torn] if other is None else [*torn, other])
    before = prepared(tmp_path, split={"validation": 0, "test": 0})
    data = prepared(tmp_path, split={"validation": 0, "test": 0}, corrections="filled.csv")
    labels = {row["text"]: row["label"] for row in data.rows("train")}
    assert labels["=word3 of row 23757"] == "a"
    assert data.ledger["train"].corrected == 1
    assert data.ledger["train"].dropped == {"duplicate": 1}  # both rows now say the same
    assert "label-conflict" not in [each.slug for each in data.findings]
    assert "label-conflict" in [each.slug for each in before.findings]

    torn[0]["corrected"], torn[1]["verdict"] = "", "DROP"
    fill(tmp_path, torn)
    again = prepared(tmp_path, split={"validation": 0, "test": 0}, corrections="filled.csv")
    assert again.path != data.path  # a changed sheet prepares anew
    assert again.ledger["train"].dropped == {"review": 1}
    assert "labels corrected" not in again.ledger.text()


def test_rows_that_someone_looked_at_are_not_asked_for_again(tmp_path, sheet):
    for line in sheet:
        line["verdict"] = "keep"
    fill(tmp_path, sheet)
    data = prepared(tmp_path, review=tmp_path / "second.csv", corrections="filled.csv")
    assert len((tmp_path / "second.csv").read_text().splitlines()) == 1
    assert data.ledger["train"].corrected == 0


def test_a_row_that_was_changed_since_is_an_error_and_not_a_guess(tmp_path, sheet):
    sheet[0]["verdict"] = "drop"
    fill(tmp_path, sheet)
    table(tmp_path / "train.csv", [{"text": row["text"] + "!", "label": row["label"]} for row in rows(80)])
    with pytest.raises(
        DataError, match="1 of 1 lines of the review sheet name rows that are not in the data"
    ) as caught:
        prepared(tmp_path, corrections="filled.csv")
    assert "filled.csv line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corrected": "c"}, ["label that no row has", '"c"', "line 2"]),
        ({"verdict": "maybe"}, ["keep, drop, or empty", "maybe"]),
        ({"verdict": "drop", "corrected": "a"}, ["corrected and dropped"]),
        ({"verdict": "drop", "row": "12"}, ["no row id", "line 2"]),
    ],
)
def test_mistakes_in_a_sheet_are_named(tmp_path, sheet, changes, words):
    fill(tmp_path, [sheet[0] | changes])
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, corrections="filled.csv")
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "changes",
    [{"corrected": "c"}, {"verdict": "maybe"}, {"verdict": "drop", "row": "12"}],
    ids=["label", "verdict", "id"],
)
def test_all_mistakes_of_a_sheet_are_told_at_once(tmp_path, sheet, changes):
    fill(tmp_path, [row | changes for row in sheet[:2]])
    with pytest.raises(Problems) as caught:
        prepared(tmp_path, corrections="filled.csv")
    assert [f"line {at}" in str(caught.value) for at in (2, 3)] == [True] * 2
    assert caught.value.exit_code == 3


def test_two_lines_of_one_row_must_agree(tmp_path, sheet):
    fill(tmp_path, [sheet[0] | {"verdict": "drop"}, sheet[0] | {"verdict": "keep"}])
    with pytest.raises(DataError, match="Two lines"):
        prepared(tmp_path, corrections="filled.csv")


@pytest.mark.parametrize("unfilled", [True, False], ids=["unfilled", "without rows"])
def test_a_sheet_that_decides_nothing_changes_nothing_and_is_told(tmp_path, sheet, unfilled):
    before = prepared(tmp_path)
    fill(tmp_path, sheet)
    if not unfilled:
        write_sheet(tmp_path / "filled.csv.new", [])
        (tmp_path / "filled.csv.new").replace(tmp_path / "filled.csv")
    data = prepared(tmp_path, corrections="filled.csv")
    assert [list(data.rows(split)) for split in data.splits] == [list(before.rows(split)) for split in before.splits]
    told = [each for each in data.findings if each.slug not in [known.slug for known in before.findings]]
    assert [(each.slug, each.level) for each in told] == [("review-undecided", "note")]


def test_a_file_without_rows_must_have_the_columns_of_a_sheet(tmp_path, sheet):
    (tmp_path / "filled.csv").write_text("text,label\n")
    with pytest.raises(RecipeError, match="no review sheet: there is no column row"):
        prepared(tmp_path, corrections="filled.csv")


def test_a_sheet_of_excel_without_rows_has_no_lines(tmp_path):
    assert read_sheet(sheets.xlsx(tmp_path / "s.xlsx", {"One": [COLUMNS]}))[0] == []


def test_a_sheet_is_never_overwritten_and_must_be_one(tmp_path, sheet):
    with pytest.raises(UsageError, match="there already"):
        prepared(tmp_path, review=tmp_path / "review.csv")
    with pytest.raises(UsageError, match="no such review sheet"):
        prepared(tmp_path, corrections="nothing.csv")
    with pytest.raises(RecipeError, match="data.corrections"):
        prepared(tmp_path, corrections="train.csv")


def test_where_no_sheet_can_be_written_it_is_told_before_a_row_is_judged(tmp_path, monkeypatch):
    table(tmp_path / "train.csv", rows(80))
    with pytest.raises(UsageError, match="No review sheet can be written here"):
        prepared(tmp_path, review=tmp_path / "train.csv" / "review.csv")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(UsageError, match="No review sheet can be written here"):
        prepared(tmp_path, review=tmp_path / "review.csv")


def test_ids_survive_what_spreadsheets_do_to_numbers(tmp_path):
    write_sheet(tmp_path / "s.csv", [{"row": name_of(row)} for row in (0, 2**63 - 1)])
    lines = (tmp_path / "s.csv").read_text(encoding="utf-8-sig").replace(",\n", ",drop\n").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["r0000000000000000", "r7fffffffffffffff"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert [line.row for line in read_sheet(tmp_path / "t.csv")[0]] == [0, 2**63 - 1]
