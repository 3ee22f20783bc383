"""`septet label`: sheets written, filled and read back, in rounds; what people do wrong is named or counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from septet import journey
from septet.cli import main
from septet.data.read import read
from septet.data.sheet import unescape
from septet.errors import DataError, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

WORDS = {"billing": "invoice refund charge", "delivery": "parcel late courier", "returns": "size broken exchange"}
EVIL = ['=HYPERLINK("http://x")', "'quoted", "+1 or -1", "@home", "-dash"]


@pytest.fixture
def pool(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    lines = [
        [f"{WORDS[name].split()[i % 3]} {WORDS[name].split()[i % 2]} number {i}"] for i in range(20) for name in WORDS
    ]
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["body"], *lines, *[[each] for each in EVIL], ["  "], lines[0]])
    return tmp_path / "pool.csv"


def label(pool: Path, **options):
    options = {"text": ["body"], "model": "nobody/no-such-model"} | options
    return journey.label(pool, **options)


def sheet_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def truth(body: str) -> str:
    return next((name for name, words in WORDS.items() if body.split()[0] in words), "billing")


def fill(path: Path, give=lambda i, row: truth(row["body"])) -> None:
    rows = sheet_rows(path)
    for i, row in enumerate(rows):
        row["label"] = give(i, row)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_rounds_until_everything_is_labelled(pool):
    done = 0
    for number, budget in enumerate((12, 20, 100), 1):
        picked = label(pool, budget=budget)
        assert picked.sheet == pool.with_name(f"pool.sheet-{number}.csv")
        assert picked.picked == len(sheet_rows(picked.sheet)) == min(budget, 65 - done)
        fill(picked.sheet)
        found = label(pool, read=picked.sheet)
        done += picked.picked
        assert (found.labelled, found.read["empty"], found.read["new"]) == (done, 0, picked.picked)
    assert {row["why"].split()[0] for row in sheet_rows(pool.with_name("pool.sheet-2.csv"))} == {"unsure"}
    with pytest.raises(UsageError, match="has a label already"):
        label(pool, budget=1)


def test_a_sheet_says_where_its_rows_stand_and_is_read_without_that_too(pool):
    picked = label(pool, budget=100)
    lines = pool.read_text().splitlines()
    for row in sheet_rows(picked.sheet):
        name, number = row["place"].rsplit(" line ", 1)
        assert name.endswith("pool.csv") and next(csv.reader([lines[int(number) - 1]])) == [unescape(row["body"])]
    fill(picked.sheet)
    older = [{key: row[key] for key in ("row", "body", "label", "why")} for row in sheet_rows(picked.sheet)]
    with picked.sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(older[0]))
        writer.writeheader()
        writer.writerows(older)
    assert label(pool, read=picked.sheet).labelled == picked.picked


def test_no_cell_of_a_sheet_is_a_formula_and_texts_come_back_as_they_were(pool):
    picked = label(pool, budget=100)
    cells = [cell for row in sheet_rows(picked.sheet) for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    fill(picked.sheet, lambda i, row: "billing")
    label(pool, read=picked.sheet)
    kept = read(pool.with_name("pool.labelled.csv")).columns["body"]
    assert set(EVIL) <= set(kept)
    assert len(kept) == len(set(kept)) == 65


def test_a_half_filled_sheet_is_counted_and_can_be_read_again(pool):
    picked = label(pool, budget=10)
    fill(picked.sheet, lambda i, row: "billing" if i < 4 else "  ")
    found = label(pool, read=picked.sheet)
    assert found.read == {"labelled": 4, "new": 4, "changed": 0, "empty": 6, "unknown": {"billing": 4}}
    fill(picked.sheet, lambda i, row: "returns" if i < 5 else "")
    found = label(pool, read=picked.sheet)
    assert (found.read["new"], found.read["changed"], found.labelled) == (1, 4, 5)


def test_an_empty_sheet_is_an_error_and_an_unread_one_is_not_repeated(pool):
    picked = label(pool, budget=10)
    with pytest.raises(DataError, match="no label yet"):
        label(pool, read=picked.sheet)
    with pytest.raises(UsageError, match="was not read back"):
        label(pool, budget=10)
    with pytest.raises(UsageError, match="there already"):
        label(pool, budget=10, out=picked.sheet)


def test_labels_that_are_not_listed_are_errors_with_the_nearest_or_taken_where_asked(pool):
    picked = label(pool, budget=10)
    fill(picked.sheet, lambda i, row: "biling" if i in (2, 5) else "billing")
    with pytest.raises(DataError, match=r"2 lines have a label that is not known") as caught:
        label(pool, read=picked.sheet, labels=list(WORDS))
    assert "line 4" in str(caught.value)
    assert "billing" in caught.value.hint
    assert not pool.with_name("pool.labelled.csv").exists()
    found = label(pool, read=picked.sheet, labels=list(WORDS), new_labels=True)
    assert found.read["unknown"] == {"biling": 2}


def test_a_rare_label_that_is_nearly_a_frequent_one_is_told(pool):
    picked = label(pool, budget=12)
    fill(picked.sheet, lambda i, row: "biling" if i == 2 else "billing")
    assert "biling" in "\n".join(label(pool, read=picked.sheet).doubts)


def test_lines_that_name_no_row_or_contradict_each_other_are_named(pool):
    picked = label(pool, budget=10)
    fill(picked.sheet)
    text = picked.sheet.read_text(encoding="utf-8-sig")
    first = text.splitlines()[1].split(",")[0]
    picked.sheet.write_text(text.replace(first, "5e10", 1))
    with pytest.raises(DataError, match=r"1 labelled lines name no row") as caught:
        label(pool, read=picked.sheet)
    assert "line 2 (5e10)" in str(caught.value)
    picked.sheet.write_text(text + text.splitlines()[1].replace(",typical", "x,typical") + "\n")
    with pytest.raises(DataError, match="different labels"):
        label(pool, read=picked.sheet)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"budget": 5, "read": "x.csv"}, UsageError, "which sheet"),
        ({"read": "missing.csv"}, UsageError, "no such sheet"),
        ({"budget": 5, "text": ["nope"]}, RecipeError, "nope"),
        ({"budget": 5, "training": True}, UsageError, "nothing new"),
    ],
)
def test_wrong_usage_is_named(pool, options, error, words):
    with pytest.raises(error, match=words):
        label(pool, **options)


def test_a_sheet_without_its_columns_is_named(pool):
    (pool.parent / "s.csv").write_text("body,label\nx,a\n")
    with pytest.raises(RecipeError, match="row"):
        label(pool, read=pool.parent / "s.csv")


def recipe(folder: Path) -> Path:
    (folder / "train.csv").write_text(
        "body,team\n"
        + "".join(f"{words.split()[i % 3]} first {i},{name}\n" for name, words in WORDS.items() for i in range(8))
    )
    path = folder / "recipe.yaml"
    path.write_text("data: {train: train.csv}\ntask: {name: classify, text: body, label: team}\nmodel: nobody/none\n")
    return path


def test_a_recipe_gives_columns_and_labels_and_its_rows_count(pool, monkeypatch):
    path = recipe(pool.parent)
    picked = journey.label(pool, budget=8, recipe=str(path))
    assert {row["why"].split()[0] for row in sheet_rows(picked.sheet)} == {"unsure"}
    assert "team" in sheet_rows(picked.sheet)[0]
    rows = sheet_rows(picked.sheet)
    text = picked.sheet.read_text(encoding="utf-8-sig").splitlines()
    filled = [line.replace(",,unsure", ",billing,unsure") for line in text]
    picked.sheet.write_text("\n".join(filled) + "\n")
    called = {}
    monkeypatch.setattr(journey, "train", lambda source, overrides, **options: called.update(of=(source, overrides)))
    found = journey.label(pool, read=picked.sheet, recipe=str(path), training=True)
    assert found.read["new"] == len(rows) == 8
    source, overrides = called["of"]
    assert source == str(path)
    assert overrides[0] in found.command.replace("'", "")
    data = prepare(Recipe.load(source, overrides), Run(pool.parent / "runs" / "a"))
    assert data.ledger["train"].read == 24 + 8
    with pytest.raises(UsageError, match="recipe's"):
        journey.label(pool, budget=8, recipe=str(path), text=["body"])


def test_the_next_command_lists_the_labels_and_the_table_again(pool, capsys, monkeypatch):
    monkeypatch.chdir(pool.parent)
    with pytest.raises(SystemExit):
        main(
            ["label", "pool.csv", "--budget", "6", "--model", "nobody/none", "--labels", "a,b c", "--known", "mine.csv"]
        )
    assert "--labels 'a,b c' --known mine.csv --read pool.sheet-1.csv" in capsys.readouterr().out


def test_the_command_line_says_what_is_next_and_json_the_same(pool, capsys, monkeypatch):
    monkeypatch.chdir(pool.parent)
    with pytest.raises(SystemExit) as ended:
        main(["label", "pool.csv", "--budget", "6", "--model", "nobody/none", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picked"], found["rows"], found["model"]) == (6, 65, "TF-IDF")
    assert found["command"].endswith("--read pool.sheet-1.csv")
    fill(pool.with_name("pool.sheet-1.csv"))
    with pytest.raises(SystemExit):
        main(["label", "pool.csv", "--read", "pool.sheet-1.csv"])
    said = capsys.readouterr().out
    assert "6 of 65 rows are labelled" in said
    assert "septet init pool.labelled.csv --text body --label label" in said


def test_vectors_of_a_model_are_kept_between_rounds(pool, monkeypatch):
    label(pool, budget=5, model="starter")
    fill(pool.with_name("pool.sheet-1.csv"))
    label(pool, read=pool.with_name("pool.sheet-1.csv"), model="starter")
    monkeypatch.setattr("septet.model.features.Features", None)  # would fail where it is called
    assert label(pool, budget=5, model="starter").picked == 5
