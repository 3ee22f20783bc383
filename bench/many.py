"""Many rows of real text with planted repeats, as `python -m bench data` reads them.

Sentences of the shared data sets, each once, then sentences made of two of them (new texts of real words), exact repeats, and near repeats with
one or two words changed. The same seed gives the same file. `kind` and `origin` say of every row what it is, so that what a side finds can be judged.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import random
import re
from collections.abc import Iterator
from pathlib import Path

COLUMNS = ("text", "label", "kind", "origin")
LABELS = ("short", "middle", "long")
REAL = 0.4  # of the rows at most: a small table has repeats as a large one has
# of 100 rows beyond the real ones: made of two, near repeats, exact repeats
MADE, NEAR, EXACT = 65, 25, 10
_SHORTEST, _LONGEST = 15, 600  # characters
_TABLES = {
    "tweet_sentiment/train.csv.gz": ("text",),
    "sst2/train.csv.gz": ("text", "sentence"),
    "ag_news/train.csv.gz": ("text",),
    "ag_news/test.csv.gz": ("text",),
    "banking77/train.csv.gz": ("text",),
    "multi30k_en_de/train.jsonl.gz": ("en", "de"),
    "multi30k_en_fr/train.jsonl.gz": ("fr",),
    "t0_prompts/train.jsonl.gz": ("prompt",),
}
_PROSE = ("english_novels/train.txt.xz",)


def write_rows(path: Path, count: int, *, shared: Path, seed: int = 20261129) -> dict[str, int]:
    """Write a CSV file of so many rows in random order; return how many there are of each kind.

    Raises:
        FileNotFoundError: the shared data are not there.
    """
    draw = random.Random(seed)
    texts = list(dict.fromkeys(_real(shared)))
    draw.shuffle(texts)
    texts = texts[: round(REAL * count)]
    rows = [(text, "real", place) for place, text in enumerate(texts)]
    share = draw.choices(("made", "near", "exact"), (MADE, NEAR, EXACT), k=count - len(rows))
    for kind in share:
        origin = draw.randrange(len(texts))
        text = texts[origin]
        if kind == "made":
            text = f"{text} {texts[draw.randrange(len(texts))]}"
        elif kind == "near":
            text = _edited(text, draw)
        rows.append((text, kind, origin))
    draw.shuffle(rows)
    counts = dict.fromkeys(("real", "made", "near", "exact"), 0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for text, kind, origin in rows:
            counts[kind] += 1
            writer.writerow((text, LABELS[(len(text) > 60) + (len(text) > 120)], kind, origin))
    return counts


def _edited(text: str, draw: random.Random) -> str:
    """Return a text with one word in about fifteen spelled backwards or given a suffix."""
    words = text.split()
    for _ in range(max(1, len(words) // 15)):
        at = draw.randrange(len(words))
        turned = words[at][::-1]
        words[at] = turned if draw.random() < 0.5 and turned != words[at] else words[at] + "s"
    return " ".join(words)


def _real(shared: Path) -> Iterator[str]:
    for name, columns in _TABLES.items():
        with gzip.open(shared / "data" / name, "rt", encoding="utf-8", newline="") as file:
            raw = file.read()
        found = csv.DictReader(io.StringIO(raw)) if ".csv" in name else map(json.loads, raw.splitlines())
        for row in found:
            for column in columns:
                yield from _fitting(row.get(column))
    for name in _PROSE:
        with lzma.open(shared / "data" / name, "rt", encoding="utf-8") as file:
            prose = re.sub(r"\s+", " ", file.read())
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z“\"])", prose):
            yield from _fitting(sentence)


def _fitting(text: str | None) -> Iterator[str]:
    if text is not None and _SHORTEST <= len(text) <= _LONGEST:
        yield text
