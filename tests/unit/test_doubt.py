"""Likely mislabelled rows: planted, found out of fold, told, dropped from train alone."""

from __future__ import annotations

import csv
import gzip
import os
import random
from pathlib import Path
from typing import Any

import pytest

from septet.errors import RecipeError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

SHARED = Path(os.environ.get("SEPTET_SHARED", Path(__file__).parents[3] / "shared"))
TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape", "lemon", "peach", "melon"],
    "metal": ["iron", "copper", "silver", "gold", "nickel", "lead", "zinc", "chrome"],
    "cloth": ["cotton", "linen", "silk", "wool", "denim", "velvet", "felt", "lace"],
}


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Return rows of six words of one topic, numbered so that no two are alike."""
    rng, topics = random.Random(seed), sorted(TOPICS)
    return [
        {"text": " ".join([*rng.choices(TOPICS[topic], k=6), f"{seed}x{i}"]), "label": topic}
        for i, topic in enumerate(topics[i % 3] for i in range(count))
    ]


def flip(table: list[dict[str, str]], places: range) -> set[str]:
    """Give the rows at these places the next label; return their texts."""
    topics = sorted(TOPICS)
    for place in places:
        table[place]["label"] = topics[(topics.index(table[place]["label"]) + 1) % 3]
    return {table[place]["text"] for place in places}


def prepared(folder: Path, tables: dict[str, Any], model: Any = "starter", **data: Any) -> Any:
    made = Recipe.load(
        {
            "data": dict.fromkeys(tables, "<memory>") | data,
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": model,
        }
    )
    return prepare(made, Run(folder / "runs" / "one"), tables=tables)


def finding(data: Any, slug: str, split: str) -> Any:
    return next(each for each in data.findings if each.slug == slug and each.evidence["split"] == split)


def test_flipped_labels_are_found_and_the_right_ones_suggested(tmp_path):
    train = rows(300)
    flipped = flip(train, range(0, 300, 10))
    data = prepared(
        tmp_path,
        {"train": train, "validation": rows(60, 1), "test": rows(60, 2)},
        doubtful={"policy": "warn", "features": "tfidf"},
    )
    found = finding(data, "labels-doubtful", "train")
    assert found.level == "warning"
    assert 25 <= found.evidence["rows"] <= 33
    topics = sorted(TOPICS)
    for example in found.evidence["examples"]:
        assert example["text"] in flipped
        assert example["suggested"] == topics[topics.index(example["label"]) - 1]
    assert data.ledger["train"].dropped == {}
    assert not [each for each in data.findings if each.slug == "labels-doubtful" and each.evidence["split"] == "test"]


def test_drop_takes_them_out_of_train_and_out_of_no_other_split(tmp_path):
    tables = {"train": rows(300), "validation": rows(60, 1), "test": rows(60, 2)}
    flipped = flip(tables["train"], range(0, 300, 10))
    for split in ("validation", "test"):
        flip(tables[split], range(0, 60, 10))
    data = prepared(tmp_path, tables, doubtful={"policy": "drop", "features": "tfidf"})
    assert 25 <= data.ledger["train"].dropped["label doubtful"] <= 33
    assert len(flipped & {row["text"] for row in data.rows("train")}) <= 5
    for split in ("validation", "test"):
        assert len(data.rows(split)) == 60
        assert 4 <= finding(data, "labels-doubtful", split).evidence["rows"] <= 8


def test_rows_of_a_test_split_decide_nothing_of_train(tmp_path):
    train = rows(150)
    flip(train, range(0, 150, 10))
    kept = []
    for seed in (1, 2):
        data = prepared(
            tmp_path,
            {"train": train, "validation": rows(30, 5), "test": rows(90, seed)},
            doubtful={"policy": "drop", "features": "tfidf"},
        )
        kept.append([row["_row"] for row in data.rows("train")])
    assert kept[0] == kept[1]


def test_copies_are_judged_together(tmp_path):
    """A flipped row with a flipped copy in another fold would vouch for itself."""
    train = rows(240)
    flipped = flip(train, range(0, 240, 11))
    train += [dict(row) for row in train if row["text"] in flipped]
    data = prepared(
        tmp_path,
        {"train": train, "validation": rows(30, 5), "test": rows(30, 6)},
        duplicates="keep",
        doubtful={"policy": "warn", "features": "tfidf"},
    )
    assert 36 <= finding(data, "labels-doubtful", "train").evidence["rows"] <= 48


def test_labels_that_no_text_tells_are_not_judged(tmp_path):
    rng = random.Random(0)
    train = [{"text": f"{i} " + " ".join(rng.choices("abcdefgh", k=5)), "label": rng.choice("xy")} for i in range(200)]
    data = prepared(tmp_path, {"train": train}, doubtful={"policy": "drop", "features": "tfidf"})
    assert "labels-unjudged" in [each.slug for each in data.findings]
    assert "label doubtful" not in data.ledger["train"].dropped


def test_the_recipes_own_model_judges(tmp_path, tiny_bert):
    """What is found depends on the model, and so the prepared data have another name with another one."""
    train = rows(60)
    names = set()
    for model in ({"name": str(tiny_bert)}, {"name": str(tiny_bert), "max_length": 4}):
        data = prepared(tmp_path, {"train": train}, model=model, doubtful={"policy": "warn", "folds": 3})
        names.add(data.path.name)
        assert {each.slug for each in data.findings} & {"labels-doubtful", "labels-unjudged", "labels-ambiguous"}
    assert len(names) == 2


def test_off_changes_nothing_and_free_text_is_not_judged(tmp_path):
    data = prepared(tmp_path, {"train": rows(60)})
    assert not [each for each in data.findings if each.slug.startswith("labels-")]
    for asked in ({"doubtful": {"policy": "warn"}}, {"annotations": ["one", "other"]}):
        made = Recipe.load(
            {
                "data": {"train": "<memory>", **asked},
                "task": {"name": "generate", "prompt": "text", "answer": "label"},
                "model": "starter-lm",
            }
        )
        with pytest.raises(RecipeError, match=rf"data\.{next(iter(asked))} would be ignored"):
            prepare(made, Run(tmp_path / "runs" / "two"), tables={"train": rows(60)})


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs ../shared")
def test_flipped_labels_of_real_rows_are_found_at_the_planted_rate(tmp_path):
    """The full table is `python -m bench.planted labels`; here four of banking77's labels, by TF-IDF."""
    with gzip.open(SHARED / "data" / "banking77" / "train.csv.gz", "rt", newline="") as file:
        every = list(csv.DictReader(file))
    labels = ["card_arrival", "exchange_rate", "cash_withdrawal_charge", "age_limit"]
    train = [row for row in every if row["label"] in labels]
    rng = random.Random(7)
    flipped = set()
    for place in rng.sample(range(len(train)), len(train) // 10):
        row = train[place]
        row["label"] = rng.choice([label for label in labels if label != row["label"]])
        flipped.add(row["text"].strip())
    data = prepared(
        tmp_path,
        {"train": train},
        split={"validation": 0, "test": 0},
        doubtful={"policy": "drop", "features": "tfidf"},
    )
    kept = {row["text"] for row in data.rows("train")}
    dropped = data.ledger["train"].dropped["label doubtful"]
    found = len(flipped - kept)
    assert found / dropped >= 0.7
    assert found / len(flipped) >= 0.8
