"""What was planted into real texts is found: near duplicates, leaks, flipped labels; `python -m bench.planted` says it of whole sets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench import planted_labels, planted_leaks, planted_marks, planted_near  # noqa: E402
from septet.baselines import _folds  # noqa: E402

SHARED = Path(os.environ.get("SEPTET_SHARED") or ROOT.parent / "shared")


@pytest.fixture(autouse=True)
def sets():
    if not (SHARED / "data" / "ag_news").is_dir():
        pytest.skip("the data sets of $SEPTET_SHARED are not here")


@pytest.mark.parametrize("name", ["banking77", "tweet_sentiment"])
def test_near_duplicates_are_found_and_nothing_else(name):
    found = planted_near.measure(SHARED, name, originals=600, planted=30)
    assert all(band["planted"] == 30 for band in found["bands"].values())
    assert found["true"] >= 5 * 30
    assert found["precision"] >= 0.95
    assert found["recall"] >= 0.95
    assert found["bands"]["0.80 to 0.85"]["found"] >= 28
    below = found["bands"]["0.60 to 0.75"]
    assert below["found"] <= below["true"] + 1


def test_what_is_true_is_counted_from_the_definition():
    texts = [
        "one two three four five six",
        "one two three four five sixth",
        "seven eight nine",
        "",
        "SEVEN, eight: nine!",
    ]
    assert planted_near.true_groups(texts, 0.8).tolist() == [0, 0, 2, 3, 2]
    assert planted_near.jaccard(*map(planted_near.pieces, texts[:2])) == 23 / 27


def test_every_exact_leak_leaves_train_and_every_near_one_is_told():
    found = planted_leaks.across(SHARED, "ag_news", rows=300, tests=300, each=20)
    for kind in ("equal", "equal once cleaned", "another label"):
        assert found["kinds"][kind] == {"planted": 20, "gone": 20, "gone, near dropped": 20}
    for kind in ("0.90 to 1", "0.80 to 0.90"):
        assert found["kinds"][kind]["planted"] == 20
        assert found["kinds"][kind]["gone, near dropped"] >= 19
    assert found["near-leak told"] >= 39
    assert found["texts dropped as such"] == found["texts also in test"] >= 60
    assert found["lost that should not be"] == 0


def test_a_cut_parts_no_near_duplicates():
    found = planted_leaks.cut(SHARED, "banking77", rows=300, each=10)
    assert found["groups of near duplicates"] >= 30
    assert found["in two splits"] == 0


def test_flipped_labels_are_found():
    rows = planted_labels.rows_of(SHARED, "banking77")
    some = sorted(rows.label_counts())[::20]
    rows = rows.take([i for i, label in enumerate(rows.labels) if label in some])
    truth = list(rows.labels)
    flipped = planted_labels.flip(rows, 0.1)
    assert int(flipped.sum()) == round(0.1 * len(rows))
    assert [a == b for a, b in zip(truth, rows.labels, strict=True)] == np.invert(flipped).tolist()
    found = planted_labels.look(rows, truth, flipped, _folds.Counted())
    assert found["flipped"] == int(flipped.sum()) >= 40
    assert found["precision_at_rate"] >= 0.8
    assert found["recall"] >= 0.8
    assert found["suggestion_right"] >= 0.9


@pytest.mark.parametrize("kind", planted_marks.KINDS)
def test_marks_that_give_the_label_away_are_told(kind):
    pairs = planted_near.texts_of(SHARED, "ag_news")[:1500]
    assert planted_marks.told(pairs) == []
    found = planted_marks.measure(pairs, kind, 0.2)
    assert found["with rows enough"] == found["found of those"] == found["found"] == 4
