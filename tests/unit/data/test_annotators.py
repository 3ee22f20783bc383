"""Several annotations of a row: agreement by the published example, the majority, ties that somebody decides on the sheet."""

from __future__ import annotations

import csv
import random

import pytest

from septet.data.annotators import agreement
from septet.errors import RecipeError
from septet.prepare import prepare
from septet.run import Run


def test_alpha_is_that_of_the_published_example():
    # Krippendorff 2011, four observers, twelve units, missing values
    observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    rows = [[label for label in unit if label != "."] for unit in zip(*observers, strict=True)]
    alpha, equal = agreement(rows)
    assert alpha == pytest.approx(0.743, abs=5e-4)
    assert equal == pytest.approx(0.81, abs=0.03)


def test_agreement_without_doubt_and_without_anything():
    assert agreement([["a", "a"], ["b", "b"], ["a"]]) == (1.0, 1.0)
    assert agreement([["a"], []]) == (1.0, 1.0)
    assert agreement([["a", "a"], ["a", "a"]]) == (1.0, 1.0)
    alpha, equal = agreement([["a", "b"], ["b", "a"]])
    assert alpha == pytest.approx(-0.5)
    assert equal == 0


NAMES = ["anna", "ben", "cem"]


def annotated(count=120, seed=2):
    """Rows with a true label, of which anna and ben are sure, and cem errs in every fifth; of every twentieth, two annotators differ and the third says nothing."""
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        label = "ab"[i % 2]
        other = "ba"[i % 2]
        text = " ".join("".join(draw.choices("abcdefghijklmnop", k=7)) for _ in range(6))
        votes = [label, label, other if i % 5 == 0 else label]
        if i % 20 == 3:
            votes = [label, other, None]
        rows.append({"text": text, **dict(zip(NAMES, votes, strict=True))})
    return rows


def test_the_majority_is_the_label_and_ties_have_none(prepared):
    rows = annotated()
    done = prepared({"train": rows}, {"annotations": NAMES, "split": {"validation": 0, "test": 0}})
    kept = done.rows("train")
    assert done.ledger["train"].dropped == {"annotators tied": 6}
    truth = {row["text"]: "ab"[i % 2] for i, row in enumerate(rows)}
    assert [row["label"] for row in kept] == [truth[row["text"]] for row in kept]
    assert "anna" not in kept[0]
    finding = next(f for f in done.findings if f.slug == "annotators-disagree")
    assert finding.evidence["rows"] == 24 + 6
    assert finding.evidence["tied"] == 6
    assert finding.evidence["annotated"] == {"anna": 120, "ben": 120, "cem": 114}
    assert finding.evidence["examples"][0]["labels"] == {"anna": "a", "ben": "a", "cem": "b"}
    assert finding.evidence["alpha"] < finding.evidence["equal"] < 1
    assert not [f for f in done.findings if f.slug == "label-leak"]


def test_annotators_who_agree_are_no_finding_and_a_row_without_any_has_no_label(prepared):
    rows = [row | dict.fromkeys(NAMES, row["ben"]) for row in annotated()]
    rows[5] |= dict.fromkeys(NAMES, None)
    done = prepared(
        {"train": rows}, {"annotations": NAMES, "allow": ["label-missing"], "split": {"validation": 0, "test": 0}}
    )
    assert done.ledger["train"].dropped == {"no label": 1}
    assert not [f for f in done.findings if f.slug == "annotators-disagree"]


def test_a_tie_is_decided_on_the_sheet(recipe, tmp_path):
    rows = annotated()
    data = {"train": "<memory>", "annotations": NAMES, "split": {"validation": 0, "test": 0}}
    sheet = tmp_path / "review.csv"
    data["doubtful"] = {"features": "tfidf"}
    prepare(recipe(data), Run(tmp_path / "runs" / "one"), tables={"train": rows}, review=sheet)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    tied = [line for line in lines if line["reason"] == "annotators tied: a or b"]
    assert tied == lines[:6]
    for line, corrected in zip(tied[:2], "ba", strict=True):
        line["corrected"] = corrected
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    data["corrections"] = str(sheet)
    done = prepare(recipe(data), Run(tmp_path / "runs" / "two"), tables={"train": rows})
    assert done.ledger["train"].dropped == {"annotators tied": 4}
    labels = {row["text"]: row["label"] for row in done.rows("train")}
    assert [labels[line["text"]] for line in tied[:2]] == ["b", "a"]


def test_a_test_set_may_have_one_label(prepared, rows):
    done = prepared({"train": annotated(), "test": rows(120)}, {"annotations": NAMES, "split": {"validation": 0}})
    assert len(done.rows("test")) == 120


def test_what_does_not_fit_is_an_error(prepared, recipe):
    with pytest.raises(RecipeError, match=r"data\.annotations"):
        prepared({"train": annotated()}, {"annotations": ["anna", "bob"]})
    with pytest.raises(RecipeError, match="'text', a column of texts"):
        prepared({"train": annotated()}, {"annotations": ["anna", "text"]})
    with pytest.raises(RecipeError, match="has one already"):
        prepared({"train": annotated()}, {"annotations": NAMES}, label="anna")
    with pytest.raises(RecipeError, match="twice"):
        recipe({"train": "t.csv", "annotations": ["anna", "anna"]})
