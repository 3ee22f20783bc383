"""`python -m bench.planted near`: copies and edits of real texts, and which of them the near search finds at 0.8.

Texts of a set get copies: equal ones, ones that differ in case and punctuation, and ones with words dropped, replaced, added or misspelt until
their Jaccard similarity to the text they were made from lies in a band. The similarity, and so what is true, is counted here from the definition, over
every pair of texts, and shares no code with the search.

Told are, over all rows, the precision and recall of "has an earlier near duplicate"; and of the planted rows of each band, which share was
found to be near the very text they were made from.
"""

from __future__ import annotations

import csv
import gzip
import json
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from septet.data.near import near_duplicates

BANDS = {
    "equal": (1.0, 1.0),
    "case and punctuation": (1.0, 1.0),
    "0.90 to 1": (0.9, 0.9999),
    "0.85 to 0.90": (0.85, 0.9),
    "0.80 to 0.85": (0.8, 0.85),
    "0.75 to 0.80": (0.75, 0.8),
    "0.60 to 0.75": (0.6, 0.75),
    "0.40 to 0.60": (0.4, 0.6),
}
THRESHOLD = 0.8
ORIGINALS, PLANTED = 4000, 150  # of a set, and of each band
SEED = 0
_SIZE = 5
_TRIES = 40
_BLOCK = 256


def texts_of(shared: Path, name: str, split: str = "train") -> list[tuple[str, str]]:
    """Return the (text, label) of a set, each text once, in an order drawn once."""
    with gzip.open(shared / "data" / name / f"{split}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        found = list({row["text"]: row["label"] for row in csv.DictReader(file)}.items())
    return [found[i] for i in np.random.default_rng(SEED).permutation(len(found))]


def pieces(text: str) -> frozenset[str]:
    """Return the shingles of a text, by the book: letters, digits and marks in lower case, one space between words, five characters."""
    low = "".join(c.lower()[:1] if unicodedata.category(c)[0] in "LNM" else " " for c in text)
    folded = "".join(f"{word} " for word in low.split())
    return frozenset(folded[i : i + _SIZE] for i in range(max(1, len(folded) - _SIZE + 1))) if folded else frozenset()


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def edited(text: str, words: list[str], band: str, rng: np.random.Generator) -> str | None:
    """Return a text whose similarity to this one lies in the band; None where no edit got there."""
    if band == "equal":
        return text
    if band == "case and punctuation":
        return " ".join(text.upper().replace(",", " ,").split()) + " !"
    low, high = BANDS[band]
    for _ in range(_TRIES):
        made = text.split()
        while made and jaccard(pieces(text), pieces(" ".join(made))) >= high:
            _edit(made, words, rng)
        if made and low <= jaccard(pieces(text), pieces(" ".join(made))) < high:
            return " ".join(made)
    return None


def plant(texts: list[str], rng: np.random.Generator, count: int) -> list[tuple[int, str, str]]:
    """Return (place of the original, band, text) of `count` rows of each band, no original used twice."""
    words = [word for text in texts[:500] for word in text.split()]
    places = iter(rng.permutation(len(texts)).tolist())
    found: list[tuple[int, str, str]] = []
    for band in BANDS:
        made = 0
        while made < count and (place := next(places, None)) is not None:
            text = edited(texts[place], words, band, rng)
            if pieces(texts[place]) and text is not None:
                found.append((place, band, text))
                made += 1
    return found


def true_groups(texts: list[str], threshold: float = THRESHOLD) -> np.ndarray:
    """Return (N,) int64: the first text of each one's group, by counting every pair."""
    sets = [pieces(text) for text in texts]
    numbers: dict[str, int] = {}
    columns = [numbers.setdefault(piece, len(numbers)) for each in sets for piece in sorted(each)]
    sizes = np.array([len(each) for each in sets])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    rows = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(sets), max(1, len(numbers))))
    links: list[tuple[int, int]] = []
    for start in range(0, len(sets), _BLOCK):
        shared = (rows[start : start + _BLOCK] @ rows.T).toarray()
        similar = shared / np.maximum(1, sizes[start : start + _BLOCK, None] + sizes - shared)
        ones, others = np.nonzero((similar >= threshold) & (shared > 0))
        links += zip((ones + start).tolist(), others.tolist(), strict=True)
    ones, others = (np.array(each, dtype=np.int64) for each in zip(*links, strict=True))
    graph = csr_matrix((np.ones(len(ones)), (ones, others)), shape=(len(sets), len(sets)))
    _, group = connected_components(graph, directed=False)
    firsts = np.full(len(sets), len(sets), dtype=np.int64)
    np.minimum.at(firsts, group, np.arange(len(sets)))
    return firsts[group]


def measure(shared: Path, name: str, *, originals: int = ORIGINALS, planted: int = PLANTED) -> dict[str, Any]:
    """Return what is found in one set."""
    rng = np.random.default_rng(SEED)
    texts = [text for text, _ in texts_of(shared, name)[:originals]]
    made = plant(texts, rng, planted)
    whole = [*texts, *(text for _, _, text in made)]
    order = rng.permutation(len(whole))  # a planted row may come before the one it was made from
    shuffled = [whole[i] for i in order]
    where = np.argsort(order)
    began = time.monotonic()
    found = near_duplicates(shuffled, threshold=THRESHOLD)
    seconds = time.monotonic() - began
    truth = true_groups(shuffled)
    later, true_later = (np.arange(len(whole)) != first for first in (found.first, truth))
    bands = {}
    for band in BANDS:
        pairs = [(where[place], where[len(texts) + k]) for k, (place, its, _) in enumerate(made) if its == band]
        bands[band] = {
            "planted": len(pairs),
            "found": int(sum(found.first[a] == found.first[b] for a, b in pairs)),
            "true": int(sum(truth[a] == truth[b] for a, b in pairs)),  # below 0.8 by way of a third text
        }
    right = int((later & true_later).sum())
    return {
        "data": name,
        "texts": len(texts),
        "rows": len(whole),
        "true": int(true_later.sum()),
        "told": int(later.sum()),
        "precision": right / max(1, int(later.sum())),
        "recall": right / max(1, int(true_later.sum())),
        "bands": bands,
        "seconds": seconds,
    }


def records(shared: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return one record a set."""
    found = []
    for name in names:
        found.append(measure(shared, name))
        print(json.dumps(found[-1]), flush=True)
    return found


def _edit(made: list[str], words: list[str], rng: np.random.Generator) -> None:
    """Change one word of a text in place: drop, replace, add, misspell, or swap with the next."""
    at, way = int(rng.integers(len(made))), int(rng.integers(5))
    other = words[rng.integers(len(words))]
    if way == 0:
        del made[at]
    elif way == 1:
        made[at] = other
    elif way == 2:
        made.insert(at, other)
    elif way == 3:
        cut = int(rng.integers(len(made[at])))
        made[at] = made[at][:cut] + "abcdefghijklmnopqrstuvwxyz"[rng.integers(26)] + made[at][cut + 1 :]
    else:
        made[at : at + 2] = made[at : at + 2][::-1]
