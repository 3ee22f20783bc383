"""`data.target`: planted shifts are found by name, nothing is found where nothing moved, and what is said of labels is about right."""

from __future__ import annotations

import numpy as np
import pytest

from septet.recipe.after import Monitor
from septet.watch import drift, shares
from septet.watch.target import Side, judge

LABELS = np.array(["billing", "delivery", "returns"])
CENTRES = np.eye(3, 8) * 3


def rows(num: int, seed: int, *, odds=(1, 1, 1), labelled: bool = True, words: str = "some text") -> Side:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, num, p=np.array(odds) / sum(odds))
    vectors = (CENTRES[kinds] + rng.normal(size=(num, 8))).astype(np.float32)
    texts = [f"{words} {'x' * rng.integers(1, 40)} {seed} {i}" for i in range(num)]
    return Side(texts, [str(LABELS[k]) if labelled else None for k in kinds], vectors)


def joined(one: Side, other: Side) -> Side:
    return Side(one.texts + other.texts, one.labels + other.labels, np.concatenate([one.vectors, other.vectors]))


def far_away(num: int, seed: int = 7) -> Side:
    rng = np.random.default_rng(seed)
    centre = np.zeros(8)
    centre[6] = 8
    vectors = (centre + 0.3 * rng.normal(size=(num, 8))).astype(np.float32)
    return Side([f"broken screen {i}" for i in range(num)], [None] * num, vectors)


def slugs(train: Side, target: Side, **limits) -> list[str]:
    return [finding.slug for finding in judge(train, target, classes=True, limits=Monitor(**limits)).findings]


def test_rows_of_one_origin_are_alike():
    assert slugs(rows(400, 1), rows(200, 2)) == ["target-alike"]
    assert slugs(rows(400, 1), rows(200, 2, labelled=False)) == ["target-alike"]


def test_false_alarms_stay_at_the_stated_rate():
    alarms = sum(
        slugs(rows(120, 2 * seed), rows(60, 2 * seed + 1), false_alarm=0.1, permutations=60) != ["target-alike"]
        for seed in range(60)
    )
    assert alarms <= 13  # 0.1 of 60 is 6; 14 or more has probability 0.002


@pytest.mark.parametrize("labelled", [True, False])
def test_moved_labels_are_found_and_their_shares_told(labelled):
    result = judge(
        rows(600, 1), rows(400, 2, odds=(6, 1, 1), labelled=labelled), classes=True, limits=Monitor(permutations=200)
    )
    found = {finding.slug: finding for finding in result.findings}
    moved = result.labels[0]
    assert "target-label-shift" in found
    assert moved["label"] == "billing"
    assert abs(moved["now"] - 0.75) < 0.06
    assert result.estimated is not labelled
    assert ("low" in moved) is not labelled
    assert "'billing'" in found["target-label-shift"].message


def test_a_label_that_train_does_not_have_is_named():
    target = rows(200, 2)
    target.labels[:30] = ["warranty"] * 30
    found = judge(rows(400, 1), target, classes=True, limits=Monitor(permutations=200)).findings
    assert any("train has no 'warranty'" in finding.message for finding in found)


def test_what_train_does_not_cover_is_found_with_its_words_and_examples():
    result = judge(
        rows(600, 1), joined(rows(270, 2, labelled=False), far_away(30)), classes=True, limits=Monitor(permutations=200)
    )
    assert {"target-shift", "target-not-covered"} <= {finding.slug for finding in result.findings}
    region = result.regions[0]
    assert 28 <= region["rows"] <= 34
    assert region["words"] == ["broken", "screen"]
    assert all(text.startswith("broken screen") for text in region["examples"])


def test_longer_rows_are_a_shift():
    target = rows(200, 2)
    longer = Side([text + " and more" * 9 for text in target.texts], target.labels, target.vectors)
    found = judge(rows(400, 1), longer, classes=True, limits=Monitor()).findings
    assert [finding.slug for finding in found] == ["target-shift"]
    assert "characters in train" in found[0].message


def test_too_few_rows_are_no_verdict():
    result = judge(rows(400, 1), rows(49, 2), classes=True, limits=Monitor())
    assert [(finding.slug, finding.level) for finding in result.findings] == [("target-alike", "note")]
    assert "too few" in result.findings[0].message
    assert result.tests == []


def test_texts_without_classes_are_compared_too():
    train, target = rows(400, 1, labelled=False), joined(rows(150, 2, labelled=False), far_away(50))
    result = judge(train, target, classes=False, limits=Monitor(permutations=200))
    assert {test["test"] for test in result.tests} == {"text", "length", "coverage"}
    assert "target-not-covered" in {finding.slug for finding in result.findings}


def test_the_coverage_test_is_exact_under_exchange():
    draws = [
        drift.coverage_test(rows(80, 3 * s).vectors, rows(40, 3 * s + 1).vectors, rng=np.random.default_rng(s))
        for s in range(300)
    ]
    found = [test.p for test in draws if test is not None]
    assert len(found) == 300
    for level in (0.05, 0.2):  # at most the level, up to chance: three standard errors
        assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)


def test_too_little_to_cover_is_no_test():
    assert drift.coverage_test(np.zeros((4, 3)), np.zeros((9, 3)), rng=np.random.default_rng(0)) is None
    assert drift.coverage_test(np.zeros((0, 3)), np.zeros((9, 3)), rng=np.random.default_rng(0)) is None


def test_em_finds_the_shares_that_predictions_alone_miss():
    rng = np.random.default_rng(0)
    before, now = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    kinds = rng.choice(2, 4000, p=now)
    x = rng.normal(size=4000) + np.where(kinds == 0, -0.7, 0.7)
    second = 1 / (1 + np.exp(-1.4 * x))  # the exact probability under equal shares
    scores = np.stack([1 - second, second], 1)
    assert abs((scores.argmax(1) == 0).mean() - 0.9) > 0.1
    assert np.abs(shares.em(scores, before) - now).max() < 0.03


def test_no_row_is_judged_by_a_model_that_has_seen_it():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 300)).astype(np.float32)  # more numbers than rows: a fit knows each row by heart
    labels = [str(each) for each in rng.choice(["a", "b"], 200)]
    scores = shares.cross_fitted(vectors, labels, vectors[:5], seed=0)
    right = (scores.known.argmax(1) == scores.targets).mean()
    assert 0.35 < right < 0.65
