"""Who is right where two sides of `bench data` keep different texts: a drawn part of them is compared with every text of the table, exactly."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.data_side import LANGUAGES, THRESHOLD, folded_text, pieces

DRAWN = 500
# what a text is that one side keeps and the other drops
MISSED = "a repeat of a text that this side keeps too"
OTHER = "a repeat of a text that this side drops"
LANGUAGE = "in another language, as py3langid says"
ALONE = "a repeat of none"


def judge(rows: Path, ours: Iterable[str], theirs: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return, for what `septet` and for what `peer` keeps alone, the shares of each kind, over up to `DRAWN` drawn texts.

    Args:
        rows: the table that both sides read.
        ours, theirs: the texts that a side keeps.
    """
    kept = {"septet": {folded_text(text): text for text in ours}, "peer": {folded_text(text): text for text in theirs}}
    alone = {
        side: sorted(kept[side].keys() - kept[other].keys()) for side, other in (("septet", "peer"), ("peer", "septet"))
    }
    drawn = {side: random.Random(0).sample(texts, min(DRAWN, len(texts))) for side, texts in alone.items()}
    with rows.open(newline="", encoding="utf-8") as file:
        everything = (
            {folded_text(row["text"]) for row in csv.DictReader(file)} | kept["septet"].keys() | kept["peer"].keys()
        )
    near = _near([text for texts in drawn.values() for text in texts], everything)
    found = {}
    for side, texts in drawn.items():
        kinds = Counter(_kind(kept[side][text], near[text], kept[side].keys()) for text in texts)
        found[side] = {"texts": len(alone[side])} | {kind: num / len(texts) for kind, num in kinds.most_common()}
    return found


def _kind(text: str, near: set[str], kept: Iterable[str]) -> str:
    import py3langid

    if not near.isdisjoint(kept):
        return MISSED
    if py3langid.classify(text)[0] not in LANGUAGES:
        return LANGUAGE
    return OTHER if near else ALONE


def _near(texts: list[str], others: Iterable[str]) -> dict[str, set[str]]:
    """Return each folded text's others whose Jaccard similarity is at least the threshold."""
    own = [pieces(text) for text in texts]
    places: dict[str, list[int]] = {}
    for place, each in enumerate(own):
        for piece in each:
            places.setdefault(piece, []).append(place)
    found: dict[str, set[str]] = {text: set() for text in texts}
    for other in others:
        its = pieces(other)
        shared = Counter(place for piece in its for place in places.get(piece, ()))
        for place, both in shared.items():
            if texts[place] != other and both >= THRESHOLD * (len(own[place]) + len(its) - both):
                found[texts[place]].add(other)
    return found
