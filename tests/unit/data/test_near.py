"""Near duplicates: what is found is what counting every pair finds; what becomes of them in `prepare`."""

from __future__ import annotations

import random
import unicodedata
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.near import near_duplicates
from septet.data.rows import Rows
from septet.data.split import cut

WORDS = [
    "parcel",
    "invoice",
    "refund",
    "late",
    "courier",
    "blue",
    "lamp",
    "broken",
    "street",
    "card",
    "please",
    "where",
    "my",
    "is",
    "the",
    "order",
]


@cache
def pieces(text: str, size: int = 5) -> set[str]:
    """The shingles of a text, by the book."""
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in "".join(c.lower()[:1] for c in text))
    folded = "".join(f"{word} " for word in kept.split())
    return {folded[i : i + size] for i in range(max(1, len(folded) - size + 1))} if folded else set()


def similarity(one: str, other: str) -> float:
    a, b = pieces(one), pieces(other)
    return len(a & b) / max(1, len(a | b))


def groups(texts: list[str], threshold: float) -> list[int]:
    """The first of each one's group, by comparing every pair."""
    parents = list(range(len(texts)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    for i, j in combinations(range(len(texts)), 2):
        if similarity(texts[i], texts[j]) >= threshold:
            a, b = sorted((root(i), root(j)))
            parents[b] = a
    return [root(i) for i in range(len(texts))]


def edited(text: str, draw: random.Random, edits: int) -> str:
    words = text.split()
    for _ in range(edits):
        at = draw.randrange(len(words))
        words[at] = draw.choice(WORDS)
    return " ".join(words)


def texts_with_copies(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    found = [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(count)]
    found += [edited(draw.choice(found[:count]), draw, draw.randint(0, 3)) for _ in range(count)]
    draw.shuffle(found)
    return found


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.95])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_found_is_what_every_pair_says(threshold, seed):
    texts = texts_with_copies(120, seed)
    assert near_duplicates(texts, threshold=threshold).first.tolist() == groups(texts, threshold)


@given(st.lists(st.text(max_size=40), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_text_is_folded_by_the_book(texts):
    found = near_duplicates(texts, threshold=0.8)
    assert found.first.tolist() == groups(texts, 0.8)


def test_case_and_punctuation_do_not_matter_and_nothing_resembles_nothing():
    found = near_duplicates(
        ["Where is my card?", "!!!", "where is my  CARD", "", "...", "İstanbul", "\ud800"], threshold=1.0
    )
    assert found.first.tolist() == [0, 1, 0, 3, 4, 5, 6]
    assert found.similarity.tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert found.later.tolist() == [2]


def test_planted_copies_are_found():
    """At a similarity of 0.8 and more: all of them, and nothing else (the issue of recall: 0.95)."""
    draw = random.Random(7)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    texts = [" ".join("".join(draw.choices(alphabet, k=draw.randint(2, 9))) for _ in range(20)) for _ in range(1500)]
    pairs = []
    for i in range(500):
        words = texts[i].split()
        words[draw.randrange(20)] = "".join(draw.choices(alphabet, k=5))
        texts.append(" ".join(words))
        if similarity(texts[i], texts[-1]) >= 0.8:
            pairs.append((i, len(texts) - 1))
    assert len(pairs) > 300
    found = near_duplicates(texts, threshold=0.8)
    assert [(int(found.first[j]), int(j)) for j in found.later] == pairs


def test_rows_that_resemble_each_other_are_cut_together():
    texts = [f"{word} {word} question {i}" for i, word in enumerate("abcdefghij" * 10)]
    rows = Rows([(text,) for text in texts], ["x"] * 100, None, list(range(100)), str)
    alike = [i - i % 4 for i in range(100)]
    found = cut(rows, list(range(100)), shares={"validation": 0.2, "test": 0.2}, seed=1, alike=alike)
    where = {i: split for split, indices in found.items() for i in indices}
    assert all(where[i] == where[alike[i]] for i in range(100))
    assert all(len(found[split]) == 20 for split in ("validation", "test"))


TRAIN = [
    {"text": "where is the parcel that i ordered last monday morning", "label": "post"},
    {"text": "where is the parcel that i ordered last monday mornings", "label": "post"},
    {"text": "Where is the parcel, that I ordered last Monday morning?", "label": "money"},
    {"text": "my invoice is wrong and i was charged twice for the lamp", "label": "money"},
    {"text": "the lamp arrived with a broken switch and no bulb at all", "label": "shop"},
    {"text": "please send the parcel to another street than the first", "label": "post"},
    {"text": "a refund for two shoes of the wrong size is what i want", "label": "money"},
]
TEST = [
    {"text": "my invoice is wrong and I was charged twice for this lamp", "label": "money"},
    {"text": "a courier rang at the wrong door of our house yesterday", "label": "post"},
]


def found(prepared, slug, split="train"):
    return next((f for f in prepared.findings.to_json() if f["slug"] == slug and f["evidence"]["split"] == split), None)


def test_by_default_they_are_told_and_kept(prepared):
    done = prepared({"train": TRAIN, "test": TEST}, {"split": {"validation": 0}})
    assert len(done.rows("train")) == 7
    near, leak = found(done, "near-duplicates"), found(done, "near-leak")
    assert near["level"] == "warning"  # one has another label
    assert (near["evidence"]["rows"], near["evidence"]["other_label"]) == (2, 1)
    assert near["evidence"]["pairs"][0][1] == "Where is the parcel, that I ordered last Monday morning? [money]"
    assert (leak["level"], leak["evidence"]["rows"], leak["evidence"]["with"]) == ("warning", 1, "test")


def test_they_leave_train_where_asked_and_never_test(prepared):
    done = prepared(
        {"train": TRAIN, "test": [*TEST, TEST[1] | {"text": TEST[1]["text"] + "!"}]},
        {"split": {"validation": 0}, "near": {"policy": "drop"}},
    )
    assert [row["text"] for row in done.rows("train")] == [TRAIN[i]["text"] for i in (0, 4, 5, 6)]
    assert len(done.rows("test")) == 3
    assert done.ledger["train"].dropped == {"near duplicate": 3}
    assert found(done, "near-leak")["level"] == "note"
    assert "kept" in found(done, "near-duplicates", "test")["message"]


def test_a_threshold_and_off_are_obeyed(prepared):
    strict = prepared({"train": TRAIN, "test": TEST}, {"split": {"validation": 0}, "near": {"threshold": 1.0}})
    assert found(strict, "near-duplicates")["evidence"]["rows"] == 1
    assert found(strict, "near-leak") is None
    off = prepared({"train": TRAIN, "test": TEST}, {"split": {"validation": 0}, "near": {"policy": "off"}})
    assert found(off, "near-duplicates") is None


def test_a_cut_leaks_no_near_duplicate(prepared):
    draw = random.Random(3)
    texts = [" ".join("".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(14)) for _ in range(60)]
    rows = [
        {"text": f"{text} {end}", "label": "ab"[i % 2]} for i, text in enumerate(texts) for end in ("one", "two", "ten")
    ]
    done = prepared({"train": rows}, {"split": {"validation": 0.2, "test": 0.2}})
    sides = {row["text"].rsplit(" ", 1)[0]: set() for row in rows}
    for split in ("train", "validation", "test"):
        assert len(done.rows(split)) >= 30
        for row in done.rows(split):
            sides[row["text"].rsplit(" ", 1)[0]].add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    loose = prepared({"train": rows}, {"split": {"validation": 0.2, "test": 0.2}, "near": {"policy": "off"}})
    assert loose.rows("test") != done.rows("test")


def test_texts_of_one_form_are_cut_all_the_same(prepared):
    """Where all rows resemble each other, being kept together would leave nothing to validate with."""
    rows = [
        {"text": f"please tell me at once about the state of my order with the number {i}", "label": "ab"[i % 2]}
        for i in range(100)
    ]
    done = prepared({"train": rows}, {"split": {"validation": 0.2, "test": 0.2}})
    assert [len(done.rows(split)) for split in ("train", "validation", "test")] == [60, 20, 20]
