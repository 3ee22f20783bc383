"""`python -m bench.planted leaks`: rows of test planted into train, and what `septet prepare` leaves of them.

Train and test are real rows of a set. Into train go rows whose text is that of a test row: equal, equal once cleaned (white space, control characters,
decomposed accents), equal with another label, and edited, with a Jaccard similarity of 0.8 or more. Then the whole stage runs, once as it does by
default and once with `data.near.policy: drop`. A planted row counts as found when it is not in train any more. What is lost besides is counted too: a row that
leaves train as "also in test" and shares no text with test is a false alarm.

The last record cuts validation and test from rows of which many were planted as copies and edits, and counts, over every pair, the texts of two
splits that are near duplicates.
"""

from __future__ import annotations

import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from bench.planted_near import PLANTED, edited, jaccard, pieces, plant, texts_of, true_groups
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

TRAIN, TEST, EACH = 4000, 2000, 100
KINDS = ("equal", "equal once cleaned", "another label", "0.90 to 1", "0.80 to 0.90")
SEED = 0
Row = dict[str, str]


def records(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return two records a set: leaks into train, and a cut."""
    found = []
    for name in names:
        for each in (across(shared, name), cut(shared, name)):
            found.append(each)
            print(json.dumps(each), flush=True)
    return found


def across(shared: Path, name: str, *, rows: int = TRAIN, tests: int = TEST, each: int = EACH) -> dict[str, Any]:
    """Return, of each kind, how many were planted and how many are gone, and the false alarms."""
    rng = np.random.default_rng(SEED)
    train = [{"text": text, "label": label} for text, label in texts_of(shared, name)[:rows]]
    test = [{"text": text, "label": label} for text, label in texts_of(shared, name, "test")[:tests]]
    made = leaks(test, sorted({row["label"] for row in train}), rng, each)
    mixed = [*train, *(row for _, row in made)]
    mixed = [mixed[i] for i in rng.permutation(len(mixed))]
    told, default = prepared(mixed, test, "warn")
    _, dropped = prepared(mixed, test, "drop")
    exact = {clean(row["text"]) for row in test}
    left = {
        policy: {row["text"] for row in data.rows("train")} for policy, data in (("warn", default), ("drop", dropped))
    }
    real = sum(text in exact for text in {clean(row["text"]) for row in mixed})
    books = default.ledger["train"].dropped
    return {
        "data": name,
        "what": "leaks into train",
        "train": len(mixed),
        "test": len(test),
        "kinds": {
            kind: {
                "planted": sum(its == kind for its, _ in made),
                "gone": sum(its == kind and clean(row["text"]) not in left["warn"] for its, row in made),
                "gone, near dropped": sum(its == kind and clean(row["text"]) not in left["drop"] for its, row in made),
            }
            for kind in KINDS
        },
        "texts also in test": real,
        "texts dropped as such": len({clean(row["text"]) for row in mixed} & exact) - len(left["warn"] & exact),
        "near-leak told": next((f["evidence"]["rows"] for f in told if f["slug"] == "near-leak"), 0),
        "rows dropped as also in test": books.get("also in test", 0),
        "kept that should not be": len(left["warn"] & exact),
        "lost that should not be": len({clean(row["text"]) for row in mixed} - exact - left["warn"]),
    }


def cut(shared: Path, name: str, *, rows: int = TRAIN, each: int = PLANTED) -> dict[str, Any]:
    """Return how many texts of a cut have a near duplicate in another split."""
    rng = np.random.default_rng(SEED)
    pairs = texts_of(shared, name)[:rows]
    made = plant([text for text, _ in pairs], rng, each)
    whole = [{"text": text, "label": label} for text, label in pairs]
    whole += [{"text": text, "label": pairs[place][1]} for place, _, text in made]
    _, data = prepared([whole[i] for i in rng.permutation(len(whole))], None, "warn")
    splits = {split: [row["text"] for row in data.rows(split)] for split in data.splits}
    texts = [text for found in splits.values() for text in found]
    sides = np.concatenate([np.full(len(found), k) for k, found in enumerate(splits.values())])
    groups = true_groups(texts)
    torn = sum(len(set(sides[groups == group].tolist())) > 1 for group in np.unique(groups))
    return {
        "data": name,
        "what": "a cut",
        "rows": {split: len(found) for split, found in splits.items()},
        "groups of near duplicates": int((np.unique(groups, return_counts=True)[1] > 1).sum()),
        "in two splits": torn,
    }


def leaks(test: list[Row], labels: list[str], rng: np.random.Generator, each: int) -> list[tuple[str, Row]]:
    """Return (kind, row) of rows made from test rows, each of which is used once."""
    words = [word for row in test[:500] for word in row["text"].split()]
    places = iter(rng.permutation(len(test)).tolist())
    found: list[tuple[str, Row]] = []
    for kind in KINDS:
        made = 0
        while made < each and (place := next(places, None)) is not None:
            row = test[place]
            text = leaked(kind, row["text"], words, rng)
            if text is not None:
                others = [label for label in labels if label != row["label"]]
                label = others[rng.integers(len(others))] if kind == "another label" else row["label"]
                found.append((kind, {"text": text, "label": label}))
                made += 1
    return found


def leaked(kind: str, text: str, words: list[str], rng: np.random.Generator) -> str | None:
    """Return a text that leaks this one in a way; None where it cannot."""
    if kind in ("equal", "another label"):
        return text
    if kind == "equal once cleaned":
        return "  " + unicodedata.normalize("NFD", text).replace(" ", " \t", 1) + "\x07 "
    band = "0.90 to 1" if kind == "0.90 to 1" else ("0.85 to 0.90", "0.80 to 0.85")[int(rng.integers(2))]
    made = edited(text, words, band, rng)
    return made if made is not None and jaccard(pieces(made), pieces(clean(made))) == 1 else None


def clean(text: str) -> str:
    """Return a text as `data.clean` leaves it by default, from its description."""
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc").split())


def prepared(train: list[Row], test: list[Row] | None, policy: str) -> tuple[list[dict[str, Any]], Any]:
    """Return the findings and the prepared data."""
    data: dict[str, Any] = {"train": "<memory>", "near": {"policy": policy}}
    tables: dict[str, Any] = {"train": train}
    if test is not None:
        data |= {"test": "<memory>", "split": {"validation": 0}}
        tables["test"] = test
    task = {"name": "classify", "text": "text", "label": "label"}
    recipe = Recipe.load({"data": data, "task": task, "model": "starter"})
    folder = tempfile.mkdtemp()  # read from until the process ends
    done = prepare(recipe, Run(Path(folder) / "runs" / "one"), tables=tables)
    return done.findings.to_json(), done
