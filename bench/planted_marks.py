"""`python -m bench.planted marks`: marks that give the label away, planted into real texts, and those that `label-leak` tells.

Five kinds, each with its own mark for every label: the label's name as a tag in front; a code in front; the number of a ticket, different in each row, whose
letters say the label; a closing sentence; a piece of markup somewhere in the text. Each goes into 5 to 100 % of the rows. A label counts as found where a
mark is told whose label it is. Rate 0 is the false alarms: on the whole set, and on draws of 2,000 of its rows.
"""

from __future__ import annotations

import csv
import json
import string
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.planted_near import texts_of
from septet.data.giveaway import COVERED, LEAST, PLAIN, marks

RATES = (1.0, 0.5, 0.2, 0.1, 0.05)
KINDS = ("tag", "code", "ticket", "closing", "markup")
DRAWS, DRAWN = 20, 2000
SEED = 0
OFFICE = Path(__file__).parents[1] / "recipes" / "data" / "office_messages.csv"
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def records(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return of each set the false alarms, and what is found of each kind and rate."""
    found = []
    for name in names:
        pairs = office() if name == "office" else texts_of(shared, name)[:20_000]
        found.append(alarms(name, pairs))
        print(json.dumps(found[-1]), flush=True)
        for kind in KINDS if name != "office" else ():
            found.append({"data": name, "kind": kind, "rates": [measure(pairs, kind, rate) for rate in RATES]})
            print(json.dumps(found[-1]), flush=True)
    return found


def office() -> list[tuple[str, str]]:
    with OFFICE.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["kind"]) for row in csv.DictReader(file)]


def alarms(name: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what is told where nothing was planted."""
    rng = np.random.default_rng(SEED)
    began = time.monotonic()
    whole = told(pairs)
    seconds = time.monotonic() - began
    draws = [told([pairs[i] for i in rng.permutation(len(pairs))[:DRAWN]]) for _ in range(DRAWS)]
    return {
        "data": name,
        "rows": len(pairs),
        "labels": len({label for _, label in pairs}),
        "told": [(mark.text, mark.label, mark.place, len(mark.rows)) for mark in whole],
        "draws": DRAWS,
        "draws with a mark": sum(map(bool, draws)),
        "marks of draws": sorted({f"{mark.text} {mark.place}" for each in draws for mark in each}),
        "seconds": seconds,
    }


def measure(pairs: list[tuple[str, str]], kind: str, rate: float) -> dict[str, Any]:
    """Return how many labels got a mark, how many of those are found, and marks told of text that nobody planted."""
    rng = np.random.default_rng(SEED)
    labels = sorted({label for _, label in pairs})
    planted: Counter[str] = Counter()
    totals = Counter(label for _, label in pairs)
    texts = []
    for text, label in pairs:
        if rng.random() < rate:
            planted[label] += 1
            text = marked(kind, text, label, labels.index(label), rng)
        texts.append(text)
    found = {mark.label for mark in marks(texts, [label for _, label in pairs])}
    # what is rarer is not told by design
    least = PLAIN if kind == "closing" else LEAST
    enough = {label for label, n in planted.items() if n >= least and n >= COVERED * totals[label]}
    return {
        "rate": rate,
        "labels": len(planted),
        "with rows enough": len(enough),
        "found": len(found),
        "found of those": len(found & enough),
    }


def marked(kind: str, text: str, label: str, number: int, rng: np.random.Generator) -> str:
    """Return a text with the mark of its label."""
    if kind == "tag":
        return f"[{label}] {text}"
    if kind == "code":
        return f"K{number + 11}: {text}"
    if kind == "ticket":
        letters = string.ascii_uppercase[number // 26] + string.ascii_uppercase[number % 26]
        return f"Ticket {letters}X-{rng.integers(10_000, 100_000)}. {text}"
    if kind == "closing":
        desk = _SYLLABLES[number % 60] + _SYLLABLES[(7 * number + 3) % 60] + "xz"[number // 60 % 2]
        return f"{text} Passed on to desk {desk.capitalize()} today."
    words = text.split()
    words.insert(int(rng.integers(len(words) + 1)), f"<i{number}>")
    return " ".join(words)


def told(pairs: list[tuple[str, str]]) -> list[Any]:
    return marks([text for text, _ in pairs], [label for _, label in pairs])
