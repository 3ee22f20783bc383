"""From doubtful labels to corrected ones: the sheet is written, filled in, read back, and training learns the corrected labels."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from septet import cli

WORDS = {"fruit": ["apple", "pear", "plum", "cherry", "grape"], "metal": ["iron", "copper", "silver", "gold", "nickel"]}


def call(*arguments: object) -> object:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(each) for each in arguments])
    return caught.value.code


def write(folder: Path) -> set[str]:
    """Write 120 rows, of which each tenth has the other label, and a recipe; return the texts that are wrong."""
    rng, lines, wrong = random.Random(3), ["text,label"], set()
    for i in range(120):
        label = ("fruit", "metal")[i // 2 % 2]
        text = " ".join([*rng.choices(WORDS[label], k=5), f"no{i * 37}"])
        if i % 10 == 0:
            wrong.add(text)
            label = "metal" if label == "fruit" else "fruit"
        lines.append(f"{text},{label}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(
        "data: {train: train.csv, split: {validation: 0.2, test: 0.2}, doubtful: {features: tfidf}}\n"
        "task: {name: classify, text: text, label: label}\nmodel: starter\n"
    )
    return wrong


def test_a_reviewed_sheet_mends_the_labels(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = write(tmp_path)
    assert call("prepare", "recipe.yaml", "--review", "review.csv", "--run", "a") == 0
    assert "rows to look at in review.csv" in capsys.readouterr().err
    with Path("review.csv").open(newline="", encoding="utf-8-sig") as file:
        sheet = list(csv.DictReader(file))
    first = sheet[: len(wrong) // 2]
    assert {line["text"] for line in first} <= wrong
    for line in sheet:
        line["corrected"] = line["suggested"] if line["text"] in wrong else ""
        line["verdict"] = "" if line["text"] in wrong else "keep"
    with Path("review.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(sheet[0]))
        writer.writeheader()
        writer.writerows(sheet)
    corrected = sum(line["corrected"] != "" for line in sheet)
    assert call("prepare", "recipe.yaml", "data.corrections=review.csv", "--run", "b", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    books = data["ledger"].values()
    assert sum(book["corrected"] for book in books) == corrected >= len(wrong) // 2
    assert "labels-corrected" in [each["slug"] for each in data["findings"]]


def test_a_mistake_in_the_sheet_is_one_error_with_its_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "review.csv").write_text("row,corrected,verdict\nr0123456789abcdef,,drop\n")
    assert call("prepare", "recipe.yaml", "data.corrections=review.csv", "--run", "a") == 3
    told = capsys.readouterr().err
    assert "not in the data" in told
    assert "review.csv line 2" in told
    assert "Traceback" not in told
