"""What gives a label away: a mark in the text that is no word of its topic, or another column of the table.

*In the text.* "[billing] My card …", "Ticket BIL-00412: …", a closing line that only one team writes: a model learns the mark and nothing else, and fails
where new texts have none. Topic words are as telling ("passcode" is in nearly no row but those of `passcode_forgotten`), so being told apart by
a word says nothing. But topic words stand anywhere in a sentence and are written as words. A mark is told where it is in a twentieth of a label's rows,
in nearly no others, and

- nearly always at one place, counted from the first or the last word; or
- is made of signs that no sentence has ("<b>", "team=4", "✓"), anywhere; or
- is at one place in half of the label's rows and in nearly no others there, wherever else the word may be.

Words are compared as they are, and with their digits as one, so that "BIL-00412" and "BIL-00977" are one mark. A word amid the sentence is not told from a topic word.
How often this finds planted marks, and nothing in real sets: docs/why.md.

*Another column* that determines the label nearly alone does no harm while nobody reads it; it is told, lest somebody adds it to the text. One of `task.columns` is read, and
is a leak where it is not known before the label is.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.data.draft import Draft, share
from septet.data.rows import Rows
from septet.data.table import Table

LOOKED_AT = 20_000  # rows; a mark of a twentieth of a label shows in fewer
LEAST, COVERED, PURE = (
    10,
    0.05,
    0.95,
)  # rows with a mark, share of the label's rows that have it, share of its rows that have the label
PLAIN = 20  # rows with a mark that is a plain word: of ten rows, nine may have a topic word at one place by chance
FIXED = 0.85  # share of a mark's rows in which it is at one place; of topic words in real sets 0.7 at most
HALF = (
    0.5  # share of a label's rows that have a word at one place; in real sets 0.37 at most ("please" begins requests)
)
EDGE, WORDS = 12, 400  # places counted from either end, and words of a text that are read
ALONE, GAIN = (
    0.95,
    0.9,
)  # rows that a column gets right, and share of what the most frequent label gets wrong that it mends
BINS = 20
ANYWHERE = "anywhere"
EXAMPLES, SHOWN = 5, 120
_DIGITS = re.compile(r"\d+")
_ENDS = ".,?!;…\"'“”‘’"  # of a word at the end of a sentence or a quote
_SIGNS = frozenset("_[]<>{}|=~^*\\")
_KINDS = ("So", "Cf", "Co")  # pictures, invisible and private characters; no letters, currencies or quotes


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of text that gives a label away; `rows` have it and the label, `others` have it and another one."""

    text: str
    label: str
    place: str
    rows: list[int]
    others: int
    covered: float


def look_for_marks(draft: Draft) -> None:
    """Report marks in the texts of train that give the label away."""
    whole = len(draft.splits["train"])
    rows = draft.splits["train"] if whole <= LOOKED_AT else draft.splits["train"].take(_drawn(whole))
    for number, column in enumerate(draft.schema.texts):
        found = marks([texts[number] for texts in rows.texts], [label or "" for label in rows.labels])
        if not found:
            continue
        given = sorted({i for mark in found for i in mark.rows})
        shown = "; ".join(
            f'"{mark.text}" {mark.place} ({len(mark.rows):,} rows of "{mark.label}", {mark.others:,} others)'
            for mark in found[:3]
        )
        more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
        of = " looked at" if len(rows) < whole else ""
        draft.find(
            "label-leak",
            "warning",
            message=f"train: {share(len(given), len(rows))}{of} have a mark in {column!r} that gives their label away: {shown}{more}.",
            fix="take it out of the text, in the files; where new texts will have it too, nothing",
            evidence={
                "split": "train",
                "column": column,
                "rows": len(given),
                "marks": [_told(mark, rows, number) for mark in found],
            },
        )


def marks(texts: Sequence[str], labels: Sequence[str]) -> list[Mark]:
    """Return the marks of texts, those first that cover most of their label."""
    names = sorted(set(labels))
    if len(names) < 2 or len(texts) < LEAST:
        return []
    numbers = {name: k for k, name in enumerate(names)}
    label_N = np.array([numbers[label] for label in labels])
    totals_K = np.bincount(label_N, minlength=len(names))
    words, seen = _words(texts)
    found: list[Mark] = []
    for place, word_M, row_M in _places(seen):
        for word, label, inside, others in _pure(word_M, label_N[row_M], row_M, totals_K):
            covered = len(inside) / totals_K[label]
            if not _odd(words[word]) and (place is None or (words[word].isalpha() and len(inside) < PLAIN)):
                continue
            if place is not None and covered < HALF and not _fixed(seen, word, place, len(inside) + others):
                continue
            found.append(Mark(words[word], names[label], _named(place), inside.tolist(), others, float(covered)))
    best: dict[tuple[str, str], Mark] = {}
    for mark in sorted(found, key=lambda each: (-each.covered, each.text, each.place == ANYWHERE)):
        best.setdefault((mark.text, mark.label), mark)
    return list(best.values())


def telling_columns(table: Table, labels: Sequence[str | None], used: Collection[str]) -> list[dict[str, Any]]:
    """Return the columns of a table, but those that are used, that determine the label nearly alone: name, share they get right, and rows that show it."""
    kept = [i for i in _drawn(len(labels)) if labels[i] is not None]
    targets = [labels[i] or "" for i in kept]
    if len(set(targets)) < 2:
        return []
    most = Counter(targets).most_common(1)[0][1] / len(kept)
    found = []
    for name, values in table.columns.items():
        if name in used:
            continue
        read = max(
            ((_alone(keys, targets), keys) for keys in _readings([values[i] for i in kept])),
            key=lambda each: each[0],
            default=None,
        )
        if read is None or read[0] < max(ALONE, most + GAIN * (1 - most)):
            continue
        places = _showing(read[1], targets)
        found.append(
            {
                "column": name,
                "right": read[0],
                "most_frequent": most,
                "examples": [
                    {"place": table.where(i), "value": _cut(str(values[i])), "label": labels[i]}
                    for i in (kept[place] for place in places)
                ],
            }
        )
    return found


def tell_columns(draft: Draft, found: Sequence[Mapping[str, Any]]) -> None:
    """Report columns that determine the label."""
    for each in found:
        pairs = ", ".join(f'{row["value"]!r} is "{row["label"]}"' for row in each["examples"][:3])
        is_read = each["column"] in draft.schema.members
        draft.find(
            "label-leak",
            "warning" if is_read else "note",
            message=f"train: the column {each['column']!r}, which is {'' if is_read else 'not '}read, gives the label away: alone it is right in {each['right']:.1%} of the rows ({pairs}).",
            fix="take it out of task.columns, unless it is known before the label is"
            if is_read
            else "nothing, while it stays out of the text",
            evidence={"split": "train", **each},
        )


def _drawn(count: int) -> list[int]:
    """Return the rows that are looked at, in their order: all, or as many as are enough."""
    if count <= LOOKED_AT:
        return list(range(count))
    return np.sort(np.random.default_rng(0).permutation(count)[:LOOKED_AT]).tolist()


@dataclass(frozen=True, slots=True)
class _Seen:
    """(M,) each: words of texts, once a text: number of the word, the text, and its places from the start and from the end."""

    word: np.ndarray
    row: np.ndarray
    start: np.ndarray
    end: np.ndarray


def _words(texts: Sequence[str]) -> tuple[list[str], _Seen]:
    """Return the words and signs, and where they are seen; a sign within a word counts as a word of its own, at no edge."""
    numbers: dict[str, int] = {}
    word, row, start, end = [], [], [], []
    for place, text in enumerate(texts):
        found = [w for each in text.casefold().split() if (w := each.strip(_ENDS))][:WORDS]
        last = len(found) - 1
        both = [(w, i) for i, each in enumerate(found) for w in {each, _DIGITS.sub("#", each)}]
        first, final = dict(reversed(both)), dict(both)
        for each, at in first.items():
            word.append(numbers.setdefault(each, len(numbers)))
            row.append(place)
            start.append(at)
            end.append(last - final[each])
        for sign in {c for c in set(text) if _is_sign(c)} - first.keys():
            word.append(numbers.setdefault(sign, len(numbers)))
            row.append(place)
            start.append(EDGE)
            end.append(EDGE)
    arrays = (np.array(each, dtype=np.int64) for each in (word, row, start, end))
    return list(numbers), _Seen(*arrays)


def _places(seen: _Seen) -> list[tuple[tuple[str, int] | None, np.ndarray, np.ndarray]]:
    """Return (place, words, rows): what is anywhere, and what is at each place near the start and the end."""
    found: list[tuple[tuple[str, int] | None, np.ndarray, np.ndarray]] = [(None, seen.word, seen.row)]
    for side, each in (("start", seen.start), ("end", seen.end)):
        for at in range(EDGE):
            here = each == at
            found.append(((side, at), seen.word[here], seen.row[here]))
    return found


def _pure(
    word_M: np.ndarray, label_M: np.ndarray, row_M: np.ndarray, totals_K: np.ndarray
) -> list[tuple[int, int, np.ndarray, int]]:
    """Return (word, label, rows that have both, rows that have the word and another label) of words that nearly only one label has."""
    if not len(word_M):
        return []
    pairs, counts = np.unique(word_M * len(totals_K) + label_M, return_counts=True)
    word, label = pairs // len(totals_K), pairs % len(totals_K)
    whole = np.bincount(word, weights=counts)[word]
    kept = (counts >= LEAST) & (counts >= PURE * whole) & (counts >= COVERED * totals_K[label])
    return [
        (int(w), int(k), row_M[(word_M == w) & (label_M == k)], int(n - c))
        for w, k, c, n in zip(word[kept], label[kept], counts[kept], whole[kept], strict=True)
    ]


def _fixed(seen: _Seen, word: int, place: tuple[str, int], here: int) -> bool:
    return here >= FIXED * int((seen.word == word).sum())


def _odd(word: str) -> bool:
    """Whether a word holds a sign that sentences do not."""
    return any(map(_is_sign, word))


def _is_sign(c: str) -> bool:
    return c in _SIGNS or (ord(c) > 127 and unicodedata.category(c) in _KINDS)


def _named(place: tuple[str, int] | None) -> str:
    if place is None:
        return ANYWHERE
    side, at = place
    if side == "start":
        return f"as word {at + 1}"
    return "as the last word" if at == 0 else f"as word {at + 1} from the end"


def _readings(values: list[Any]) -> list[list[str | None]]:
    """Return the ways to read a column: by its values, digits counted as one, and, of numbers that do not just count up, by twentieths."""
    texts = [None if value is None else str(value)[:SHOWN] or None for value in values]
    ways = [texts, [None if text is None else _DIGITS.sub("#", text) for text in texts]]
    try:
        numbers = np.array([np.nan if text is None else float(text) for text in texts])
    except ValueError:
        return ways
    there = np.isfinite(numbers)
    if there.sum() >= BINS and not (np.diff(numbers[there]) > 0).all():
        edges = np.quantile(numbers[there], np.linspace(0, 1, BINS + 1)[1:-1])
        ways.append([str(b) if ok else None for b, ok in zip(np.searchsorted(edges, numbers), there, strict=True)])
    return ways


def _alone(keys: Sequence[str | None], targets: Sequence[str]) -> float:
    """Return how often the label that the other rows of a row's value have most often is its own."""
    by_key: dict[str | None, Counter[str]] = {}
    for key, target in zip(keys, targets, strict=True):
        by_key.setdefault(key, Counter())[target] += 1
    right = 0.0
    for key, counts in by_key.items():
        if key is None:
            continue
        for label, count in counts.items():
            rival = max((n for other, n in counts.items() if other != label), default=0)
            right += count * (1.0 if count - 1 > rival else 0.5 if count - 1 == rival > 0 else 0.0)
    return right / len(targets)


def _showing(keys: Sequence[str | None], targets: Sequence[str]) -> list[int]:
    """Return a row of each of a few values that has the label which that value has most often."""
    counts = Counter((key, target) for key, target in zip(keys, targets, strict=True) if key is not None)
    usual: dict[str | None, str] = {}
    for (key, target), _ in counts.most_common():
        usual.setdefault(key, target)
    first: dict[str | None, int] = {}
    for i, key in enumerate(keys):
        if usual.get(key) == targets[i]:
            first.setdefault(key, i)
    return sorted(first.values())[:EXAMPLES]


def _told(mark: Mark, rows: Rows, number: int) -> dict[str, Any]:
    return {
        "mark": mark.text,
        "label": mark.label,
        "where": mark.place,
        "rows": len(mark.rows),
        "others": mark.others,
        "covered": round(mark.covered, 4),
        "places": rows.some(mark.rows, EXAMPLES),
        "texts": [_cut(rows.texts[i][number]) for i in mark.rows[:EXAMPLES]],
    }


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
