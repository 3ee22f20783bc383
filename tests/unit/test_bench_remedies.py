"""`python -m bench.remedies`: how rows are drawn, which runs are missing, and what is compared with what."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from bench import mending, remedies  # noqa: E402

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(200)]
DATA = remedies.Data("toy", "nowhere", {"a": 20, "b": 2}, {"a": 30, "b": 10}, 5)
STUDY = remedies.Study([DATA], {"none": [], "better": ["x=1"]}, ("accuracy", "recall[b]"))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    split = {"train": ROWS, "test": [{**row, "text": f"held {row['text']}"} for row in ROWS]}
    monkeypatch.setattr(remedies, "rows_of", lambda folder, name: split[name])
    monkeypatch.setattr(remedies, "STUDIES", {"toy": STUDY})


def test_a_seed_draws_other_training_rows_and_the_same_scored_ones(toy: None) -> None:
    first, again, other = (remedies.tables(DATA, seed) for seed in (0, 0, 1))
    assert first == again and first["train"] != other["train"] and first["validation"] == other["validation"]
    assert Counter(row["label"] for row in first["train"]) == {"a": 20, "b": 2}
    assert Counter(row["label"] for row in first["validation"]) == {"a": 30, "b": 10}


def test_a_share_of_a_pool_is_the_beginning_of_a_larger_one(toy: None) -> None:
    small, large = (remedies.Data("x", "nowhere", count, 5, 1, pool=100) for count in (10, 40))
    assert remedies.tables(large, 3)["train"][:10] == remedies.tables(small, 3)["train"]


def test_finished_runs_are_compared_with_the_plain_one(toy: None, tmp_path: Path) -> None:
    targets = np.array([0] * 30 + [1] * 10)
    (tmp_path / "done").mkdir()
    assert len(list(remedies.missing(STUDY, 2, tmp_path))) == 4
    for seed in range(2):
        for name, right in (("none", 0), ("better", 6)):
            said = np.where(np.arange(40) < 30, 0, 0)
            said[30 : 30 + right] = 1
            path = remedies.done(DATA, name, seed, STUDY.variants[name], tmp_path)
            scores = np.eye(2)[said]
            np.savez(path, rows=np.arange(40), targets=targets, scores=scores, labels=["a", "b"], seen=json.dumps({}))
    assert not list(remedies.missing(STUDY, 2, tmp_path)) and len(list(remedies.missing(STUDY, 3, tmp_path))) == 2
    found = remedies.result(3, tmp_path)
    each = found["studies"]["toy"]["data"]["toy"]
    better = each["variants"]["better"]["metrics"]
    assert each["seeds"] == 2 and better["recall[b]"]["value"] == pytest.approx(0.6)
    assert better["accuracy"]["low"] > 0 and better["accuracy"]["value"] == pytest.approx(6 / 40)
    assert "toy: better" in remedies.text(found) and "+60.0" in remedies.text(found)


def test_a_study_without_runs_here_is_kept_as_it_was_found_before(toy: None, tmp_path: Path) -> None:
    before = {"studies": {"toy": {"data": {"kept": 1}}, "gone": {}}}
    assert remedies.result(3, tmp_path, before)["studies"] == {"toy": {"data": {"kept": 1}}}
    assert remedies.result(3, tmp_path)["studies"] == {}


def test_labels_are_flipped_at_the_share_and_a_text_twice_alike() -> None:
    rows = [*ROWS, ROWS[7]]
    flipped = mending.flip(rows, 0.2, np.random.default_rng(0))
    assert [row["text"] for row in flipped] == [row["text"] for row in rows]
    changed = [i for i, (one, other) in enumerate(zip(rows, flipped, strict=True)) if one != other]
    assert len({rows[i]["text"] for i in changed}) == 40 and flipped[7] == flipped[-1]
    assert mending.flip(rows, 0.0, np.random.default_rng(0)) == rows


def test_a_sheet_is_filled_in_with_the_true_labels(tmp_path: Path) -> None:
    sheet = tmp_path / "review.csv"
    names = ("row", "split", "text", "label", "corrected", "verdict")
    lines = ["r1,train,one,a,,", "r2,train,two,b,,", "r3,validation,one,b,,"]
    sheet.write_text("\n".join([",".join(names), *lines]))
    truth = [{"text": "one", "label": "b"}, {"text": "two", "label": "b"}]
    assert mending.fill(sheet, truth) == {"looked_at": 3, "changed": 1}
    filled = sheet.read_text(encoding="utf-8-sig").splitlines()
    assert filled[1:] == ["r1,train,one,a,b,", "r2,train,two,b,,keep", "r3,validation,one,b,,keep"]
