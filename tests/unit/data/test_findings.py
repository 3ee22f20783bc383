"""What the audit finds in planted data: slug, level, figures, places."""

from __future__ import annotations

import pytest

from septet.errors import CheckError, RecipeError
from septet.run import Run


@pytest.fixture
def found(prepared, tmp_path):
    """Findings by slug, whether or not they stop the run."""

    def make(tables, data=None, **task):
        try:
            prepared(tables, data, **task)
        except CheckError as error:
            assert error.exit_code == 3
        return {f["slug"]: f for f in Run(tmp_path / "runs" / "one").read_json("data.json")["findings"]}

    return make


@pytest.fixture
def ledger(tmp_path):
    return lambda split: Run(tmp_path / "runs" / "one").read_json("data.json")["ledger"][split]


def test_healthy_data_have_no_finding(found, rows):
    assert (
        found(
            {
                "train": rows(400),
                "validation": rows(120, prefix="check"),
                "test": rows(120, prefix="exam"),
            }
        )
        == {}
    )


def test_duplicates_are_dropped_from_train_and_only_counted_in_test(found, rows, ledger):
    findings = found(
        {
            "train": rows(100) + rows(7),
            "validation": rows(100, prefix="v"),
            "test": rows(100, prefix="t") + rows(3, prefix="t"),
        }
    )
    assert ledger("train")["dropped"] == {"duplicate": 7}
    assert ledger("test")["dropped"] == {}
    assert findings["duplicates"]["evidence"]["split"] == "test"
    found({"train": rows(100) + rows(7)}, {"duplicates": "keep"})
    assert ledger("train")["dropped"] == {}


def test_duplicates_are_compared_after_cleaning(found, rows, ledger):
    found({"train": [*rows(60), {"text": " row  number 0\u200b", "label": "a"}]})
    assert ledger("train")["dropped"] == {"duplicate": 1}
    assert ledger("train")["cleaned"] == {"control": 1, "whitespace": 1}


def test_label_conflicts(found, rows, ledger):
    train = [*rows(100), {"text": "row number 0", "label": "b"}]
    conflict = found({"train": train})["label-conflict"]
    assert conflict["level"] == "warning"
    assert conflict["evidence"]["examples"] == [
        {"text": "row number 0", "labels": {"a": 1, "b": 1}, "places": ["train row 1", "train row 101"]}
    ]
    assert ledger("train")["dropped"] == {}
    assert found({"train": train}, {"conflicts": "drop"})["label-conflict"]["level"] == "note"
    assert ledger("train")["dropped"] == {"label conflict": 2}
    assert found({"train": train}, {"conflicts": "keep"})["label-conflict"]["level"] == "note"


def test_overlap_leaves_the_earlier_split(found, rows, ledger):
    tables = {
        "train": rows(100) + rows(5, prefix="v") + rows(4, prefix="t"),
        "validation": rows(100, prefix="v") + rows(3, prefix="t"),
        "test": rows(100, prefix="t"),
    }
    findings = found(tables)
    assert findings["data-leak"]["level"] == "warning"
    assert ledger("train")["dropped"] == {"also in validation": 8, "also in test": 1}
    assert ledger("validation")["dropped"] == {"also in test": 3}
    assert ledger("test")["kept"] == 100
    assert found(tables, {"overlap": "keep"})["data-leak"]["level"] == "warning"
    assert ledger("train")["dropped"] == {}
    assert found(tables, {"overlap": "stop"})["data-leak"]["level"] == "blocker"
    assert found(tables, {"overlap": "stop", "allow": ["data-leak"]})["data-leak"]["level"] == "warning"


def test_several_tests_are_kept_apart(prepared, rows):
    data = prepared(
        {"train": rows(100) + rows(2, prefix="w"), "test.web": rows(20, prefix="w"), "test.mail": rows(30, prefix="m")}
    )
    assert data.tests == ["test.web", "test.mail"]
    assert data.splits["test.mail"]["rows"] == 30
    assert data.ledger["train"].dropped == {"also in test.web": 2}


def test_validation_is_test(found, prepared, rows, ledger):
    tables = {"train": rows(100), "validation": rows(50, prefix="t"), "test": rows(50, prefix="t")}
    finding = found(tables)["validation-is-test"]
    assert finding["level"] == "blocker"
    assert "data.allow: [validation-is-test]" in finding["fix"]
    part = dict(tables, validation=rows(20, prefix="t"))
    assert found(part)["validation-is-test"]["level"] == "blocker"
    data = prepared(tables, {"allow": ["validation-is-test"]})
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {
        "train": 100,
        "validation": 50,
        "test": 50,
    }


def test_train_inside_test_leaves_no_rows(found, rows):
    finding = found({"train": rows(50), "test": rows(50)})["no-rows"]
    assert finding["level"] == "blocker"
    assert "50 also in test" in finding["message"]


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_a_missing_label_names_its_rows(found, prepared, rows, ledger, missing):
    train = [*rows(60), {"text": "no label here", "label": missing}]
    finding = found({"train": train})["label-missing"]
    assert finding["level"] == "blocker"
    assert "train row 61" in finding["message"]
    prepared({"train": train}, {"allow": ["label-missing"]})
    assert ledger("train")["dropped"] == {"no label": 1}


def test_the_text_nan_as_a_label_stops_and_none_is_noted(found, rows):
    finding = found({"train": [*rows(60), {"text": "x", "label": "NaN"}]})["label-looks-missing"]
    assert finding["level"] == "blocker"
    assert "train row 61" in finding["message"]
    assert found({"train": [*rows(60), {"text": "x", "label": "None"}]})["label-looks-missing"]["level"] == "note"
    assert (
        found({"train": [*rows(60), {"text": "x", "label": "nan"}]}, {"allow": ["label-looks-missing"]})[
            "label-looks-missing"
        ]["level"]
        == "warning"
    )


def test_an_unseen_label_names_label_count_and_rows(found, prepared, rows, ledger):
    tables = {
        "train": rows(100),
        "validation": rows(50, prefix="v"),
        "test": [*rows(50, prefix="t"), *rows(3, "z", prefix="z")],
    }
    finding = found(tables)["label-unseen"]
    assert finding["level"] == "blocker"
    for part in ('"z" (3)', "test row 51, 52, 53", "3 of 53 rows"):
        assert part in finding["message"]
    prepared(tables, {"allow": ["label-unseen"]})
    assert ledger("test")["dropped"] == {"label not in train": 3}


def test_listed_labels(found, rows):
    findings = found({"train": rows(90, "abc"), "test": rows(100, "abz", prefix="t")}, labels=["a", "b", "z"])
    assert findings["label-unknown"]["evidence"]["labels"] == {"c": 27}
    assert findings["label-without-rows"]["evidence"]["labels"] == ["z"]
    assert findings["label-unseen"]["level"] == "warning"


def test_one_label_only(found, rows):
    finding = found({"train": rows(60, "a")})["single-label"]
    assert finding["level"] == "blocker"
    assert "task.label" in finding["fix"]


def test_label_variants(found, rows):
    finding = found({"train": rows(60) + [{"text": f"x{i}", "label": " A"} for i in range(12)]})["label-variants"]
    assert finding["evidence"]["variants"] == [["a", " A"]]


def test_imbalance_and_rare_labels(found, rows):
    findings = found(
        {"train": rows(300, "a") + rows(20, "b", prefix="b") + rows(1, "c", prefix="c"), "test": rows(100, prefix="t")}
    )
    assert findings["class-imbalance"]["level"] == "warning"
    assert findings["rare-labels"]["level"] == "warning"
    assert findings["rare-labels"]["evidence"]["labels"] == {"c": 1}


def test_label_shift(found, rows):
    finding = found({"train": rows(200, "ab"), "test": rows(200, "aaab", prefix="t")})["label-shift"]
    assert finding["evidence"]["distance"] == pytest.approx(0.25, abs=0.01)
    assert '"a"' in finding["message"]


def test_an_identifier_as_label(found):
    assert "many-labels" in found({"train": [{"text": f"t{i}", "label": str(i // 2)} for i in range(100)]})


def test_empty_texts_are_dropped_with_their_places(found, rows, ledger):
    finding = found({"train": [*rows(60), {"text": " \u200b ", "label": "a"}, {"text": None, "label": "b"}]})[
        "empty-text"
    ]
    assert finding["evidence"]["places"] == ["train row 61", "train row 62"]
    assert ledger("train")["dropped"] == {"empty text": 2}


def test_constant_text(found, rows):
    assert (
        found({"train": [{"text": "same", "label": "ab"[i % 2]} for i in range(60)]})["constant-text"]["level"]
        == "blocker"
    )
    assert (
        found({"train": rows(60) + [{"text": "[removed]", "label": "a"}] * 10})["constant-text"]["level"] == "warning"
    )


def test_long_texts_and_few_rows(found, rows):
    findings = found({"train": [*rows(30), {"text": "word " * 4000, "label": "a"}]})
    assert findings["long-texts"]["evidence"]["longest"] == 19_999
    assert findings["few-rows"]


def test_no_validation_and_no_test(found, rows):
    findings = found({"train": rows(60)}, {"split": {"validation": 0.0, "test": 0.0}})
    assert findings["no-validation"]["level"] == "warning"
    assert findings["no-test"]["level"] == "note"


def test_groups_that_given_splits_share(found, rows):
    tables = {
        split: [row | {"customer": f"c{i % 9}"} for i, row in enumerate(rows(120, prefix=split))]
        for split in ("train", "test")
    }
    assert found(tables, {"split": {"group": "customer"}})["group-leak"]["evidence"]["groups"] == [
        f"c{i}" for i in range(9)
    ]


def test_validation_is_cut_by_group(prepared, rows):
    train = [row | {"customer": f"c{i // 5}"} for i, row in enumerate(rows(300))]
    data = prepared({"train": train, "test": rows(100, prefix="t")}, {"split": {"group": "customer"}})
    groups = {split: {row["customer"] for row in data.rows(split)} for split in ("train", "validation")}
    assert not groups["train"] & groups["validation"]
    assert {row["customer"] for row in data.rows("test")} == {None}


def test_allow_takes_only_blockers_that_can_be_lifted(prepared, rows):
    with pytest.raises(RecipeError, match="validation-is-test"):
        prepared({"train": rows(60)}, {"allow": ["validation-is-tests"]})
    with pytest.raises(RecipeError):
        prepared({"train": rows(60)}, {"allow": ["single-label"]})


def test_every_slug_has_its_section():
    import re
    from pathlib import Path

    root = Path(__file__).parents[3]
    code = "".join(p.read_text() for p in (root / "src/septet/data").glob("*.py"))
    slugs = set(re.findall(r'find\(\s*"([a-z-]+)"', code))
    sections = set(re.findall(r"^## (.+)$", (root / "docs/findings.md").read_text(), re.MULTILINE))
    assert len(slugs) >= 20
    assert slugs <= sections
