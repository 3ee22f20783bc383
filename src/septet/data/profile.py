"""What the prepared rows look like: columns, lengths, labels, words, odd rows and a few samples, as JSON.

    survey(table, used=["text", "label"])         # the columns of a raw table: types seen, what is missing, distinct values
    describe(rows, schema)                        # one split as it was kept
    profile(splits, schema, surveys)              # all splits: both of these, and which words of validation and test train does not have

Words are runs between white space, in lower case and without the punctuation around them; in scripts without spaces they say little, and the
characters do. A profile holds as few texts as it can: some of the longest, the shortest, the odd ones and samples, each cut to `SHOWN` characters,
with addresses and long numbers replaced. No other value of a column is kept.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from septet.data.clean import whole
from septet.data.draft import is_test
from septet.data.media import KINDS, Media
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.table import Table

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 24  # of a histogram; the last one holds what lies above the 99th percentile
EXTREMES, SAMPLES, SHOWN = 3, 5, 120  # rows shown of each kind, and characters of each
RARE_SCRIPT = 0.001  # of the letters: a script below it is odd in this data
_WORD_EDGES = "\"'`.,;:!?()[]{}<>«»„“”‚‘’…–—-*_/\\|#"
_LETTERS = string.ascii_letters.encode()
_USUAL = bytes([*range(32, 127), *b"\n\t\r\f"])
_ADDRESS = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}")
_NUMBER = re.compile(r"\+?\d(?:[\s().\-/]?\d){6,}")
_NAMES = {"int": "whole number", "float": "number", "bool": "true or false", "str": "text", "NoneType": "missing"}
_LOOKED_AT = 1000  # values of a column of text, to see whether all of them are numbers


def survey(table: Table, used: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return of each column of a table: the types of its values, how many are missing, how many differ, and whether the task uses it."""
    found = {}
    for name, values in table.columns.items():
        blank = values.count("")
        types = {_NAMES.get(kind.__name__, kind.__name__): n for kind, n in Counter(map(type, values)).most_common()}
        missing = types.pop("missing", 0) + blank
        if "text" in types:
            types["text"] -= blank
            types[_written(values)] = types.pop("text")
        try:
            distinct: int | None = len(set(values) - {None, ""})
        except TypeError:  # lists and objects
            distinct = None
        found[whole(name)] = {
            "types": {kind: count for kind, count in types.items() if count},
            "missing": missing,
            "distinct": distinct,
            "used": name in used,
        }
    return found


def _of_media(splits: Mapping[str, Rows], media: Media, surveys: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the profile of each split whose rows are files: labels, sizes, kinds, and a few files of splits that are no test."""
    found = {}
    for split, rows in splits.items():
        seen = [media.known[sha256] for (sha256,) in rows.texts]
        some = [] if is_test(split) else _evenly(len(rows), SAMPLES)
        found[split] = {
            "rows": len(rows),
            "labels": rows.label_counts(),
            "columns": {},
            f"{media.kind}s": {
                "sizes": {
                    name: spread(np.array(sizes, np.int64)) for name, sizes in KINDS[media.kind].measured(seen).items()
                },
                "kinds": dict(Counter(each.kind for each in seen).most_common()),
                "samples": [{"place": rows.place(i), "label": rows.labels[i]} for i in some],
            },
            "read": surveys.get(split, {}),
        }
    return found


def profile(
    splits: Mapping[str, Rows], schema: Schema, surveys: Mapping[str, Any], media: Media | None = None
) -> dict[str, dict[str, Any]]:
    """Return the profile of each split, train first: as it was kept (`describe`), its words, and as its table was read (`survey`).

    Args:
        media: what the rows' files are, where they are files; then there are no words.
    """
    if media is not None:
        return _of_media(splits, media, surveys)
    found: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for split, rows in splits.items():
        written = (
            set[str]() if split == "train" else Counter[str]()
        )  # a set is twice as fast, and train needs no counts
        found[split] = describe(rows, schema, split=split, written=written)
        count = sum(facts["words"].pop("sum", 0) for facts in found[split]["columns"].values())
        if isinstance(written, Counter):
            bare = _bare(written)
            found[split]["vocabulary"] = {"words": count, "distinct": len(bare), **_unseen(bare, known)}
        else:
            known = {word.strip(_WORD_EDGES).casefold() for word in written} - {""}
            found[split]["vocabulary"] = {"words": count, "distinct": len(known)}
        found[split]["read"] = surveys.get(split, {})
    return found


def describe(
    rows: Rows, schema: Schema, *, split: str = "train", written: set[str] | Counter[str] | None = None
) -> dict[str, Any]:
    """Return rows, labels (most frequent first), lengths, scripts and a few rows of one split.

    Args:
        split: of a test split no text is kept: what a model is tested on is best not read first.
        written: gets the words of the texts, as they are written.
    """
    written = set() if written is None else written
    texts = {column: [each[place] for each in rows.texts] for place, column in enumerate(schema.texts)}
    if schema.label is not None and not schema.classes:
        texts[schema.label] = [label or "" for label in rows.labels]
    lengths = np.array(rows.lengths(labels=not schema.classes), dtype=np.int64)
    scripts = _scripts(chain.from_iterable(texts.values()))
    hidden = is_test(split)
    shown = {
        "longest": [(i, {"length": int(lengths[i])}) for i in _extremes(-lengths)],
        "shortest": [(i, {"length": int(lengths[i])}) for i in _extremes(lengths)],
        "odd": _odd(rows, scripts["odd"]),
        "samples": [] if hidden else [(i, {}) for i in _evenly(len(rows), SAMPLES)],
    }
    return {
        "rows": len(rows),
        "labels": rows.label_counts() if schema.classes else {},
        "characters": spread(lengths),
        "columns": {column: _column(values, written) for column, values in texts.items()},
        "scripts": scripts["shares"],
        **{kind: [_place(rows, i, hidden=hidden) | told for i, told in found] for kind, found in shown.items()},
    }


def spread(lengths: np.ndarray) -> dict[str, Any]:
    """Return least, quantiles, most, mean and a histogram of whole numbers; nothing of none."""
    if not len(lengths):
        return {}
    found = np.quantile(lengths, QUANTILES)
    least, most = int(lengths.min()), int(lengths.max())
    top = max(least, int(np.ceil(found[-1])))
    width = -(-(top - least + 1) // BINS)
    edges = np.arange(least, top + width + 1, width)
    edges = edges[: int(np.searchsorted(edges, top, "right")) + 1]
    counts, _ = np.histogram(np.minimum(lengths, top), bins=edges)
    return {
        "min": least,
        **{f"p{100 * q:.0f}": round(float(v), 1) for q, v in zip(QUANTILES, found, strict=True)},
        "max": most,
        "mean": round(float(lengths.mean()), 1),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def shorten(text: str, most: int = SHOWN) -> str:
    """Return a text as it is shown: on one line, cut, with addresses and long numbers replaced."""
    head = " ".join(text[: 4 * most].split())
    head = _NUMBER.sub("‹number›", _ADDRESS.sub("‹address›", head))
    return head if len(head) <= most and len(text) <= 4 * most else head[: most - 1] + "…"


def _written(values: Sequence[Any]) -> str:
    """Return `text`, or what its first values are where they are numbers: a table of text knows no other type."""
    seen = list(islice((value for value in values if isinstance(value, str) and value), _LOOKED_AT))
    for pattern, name in (
        (r"[+-]?\d+", "text: whole numbers"),
        (r"[+-]?\d*[.,]?\d+(?:[eE][+-]?\d+)?", "text: numbers"),
    ):
        if seen and all(re.fullmatch(pattern, value) for value in seen):
            return name
    return "text"


def _column(values: Sequence[str], written: set[str] | Counter[str]) -> dict[str, Any]:
    """Return what one column holds; its words go into `written`."""
    words = []
    for value in values:
        found = value.split()
        words.append(len(found))
        written.update(found)
    return {
        "empty": values.count(""),
        "distinct": len(set(values)),
        "characters": spread(np.fromiter(map(len, values), np.int64, len(values))),
        "words": {**spread(np.array(words, np.int64)), "sum": sum(words)},
    }


def _bare(written: Counter[str]) -> dict[str, int]:
    """Return how often each word stands there, in lower case and without the punctuation around it."""
    found: dict[str, int] = {}
    for word, count in written.items():
        bare = word.strip(_WORD_EDGES).casefold()
        found[bare] = found.get(bare, 0) + count
    found.pop("", None)
    return found


def _unseen(words: Mapping[str, int], known: set[str]) -> dict[str, Any]:
    """Return how much of a text is words that train does not have, and the commonest; those with a digit or an @ are counted and not shown."""
    new = {word: count for word, count in words.items() if word not in known}
    plain = [word for word in new if not any(c.isdigit() or c == "@" for c in word) and len(word) <= 30]
    commonest = sorted(plain, key=lambda word: (-new[word], word))[:8]
    return {"unseen": sum(new.values()), "unseen_distinct": len(new), "commonest": commonest}


def _scripts(texts: Any) -> dict[str, Any]:
    """Return the share of each script among the letters, and the characters that are odd here: of no use in text, or of a rare script."""
    joined = "".join(texts)
    plain = joined.encode("ascii", "ignore")
    letters = Counter({"Latin": len(plain) - len(plain.translate(None, _LETTERS))})
    odd = Counter(map(chr, plain.translate(None, _USUAL)))
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(codes[codes > 127], minlength=1)
    of: dict[str, str] = {}
    for code in np.flatnonzero(counts).tolist():
        character = chr(code)
        kind = unicodedata.category(character)
        if kind[0] == "L":
            of[character] = unicodedata.name(character, "UNKNOWN").split()[0].capitalize()
            letters[of[character]] += int(counts[code])
        elif character == "\ufffd" or kind in ("Co", "Cn", "Cs", "Cc"):
            odd[character] = int(counts[code])
    total = sum(letters.values())
    rare = {script for script, count in letters.items() if count < RARE_SCRIPT * total}
    odd |= Counter({character: int(counts[ord(character)]) for character, script in of.items() if script in rare})
    shares = {script: round(count / total, 6) for script, count in letters.most_common(8) if count}
    return {"shares": shares, "odd": odd}


def _odd(rows: Rows, odd: Mapping[str, int]) -> list[tuple[int, dict[str, Any]]]:
    """Return a few rows with the most odd characters, and what these are."""
    if not odd:
        return []
    pattern = re.compile("[" + "".join(map(re.escape, odd)) + "]")
    counts = np.array([sum(len(pattern.findall(text)) for text in texts) for texts in rows.texts])
    found = []
    for i in _extremes(-counts):
        if counts[i]:
            seen = Counter(chain.from_iterable(pattern.findall(text) for text in rows.texts[i]))
            named = [f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c, _ in seen.most_common(3)]
            found.append((i, {"characters": named, "count": int(counts[i])}))
    return found


def _place(rows: Rows, index: int, *, hidden: bool) -> dict[str, Any]:
    """Return where a row is from and, unless it is hidden, its text and label, cut short; folders are the machine's, and left out."""
    place = {"place": rows.place(index).rpartition("/")[2]}
    if hidden:
        return place
    label = rows.labels[index]
    told = {} if label is None else {"label": shorten(label)}
    return {**place, "text": shorten(" | ".join(rows.texts[index])), **told}


def _extremes(keys: np.ndarray) -> list[int]:
    return np.argsort(keys, kind="stable")[:EXTREMES].tolist()


def _evenly(rows: int, most: int) -> list[int]:
    """Return the places of some rows, evenly spread."""
    num = min(rows, most)
    return [(2 * i + 1) * rows // (2 * num) for i in range(num)]
