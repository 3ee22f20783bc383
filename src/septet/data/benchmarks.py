"""Contamination: rows of train and validation that are in a benchmark (`data.against`), told and taken out.

A row is in a benchmark when, folded to words, it is equal or nearly equal to one of its texts (`near.py`), or when one of the two holds the other: at least half of
the pieces of thirteen words of the shorter one, or all of it where it has eight to twelve words. Shorter ones are looked for as a whole row only: "thank you very much"
is in many texts and in no benchmark. Words need white space or punctuation between them; scripts without either are compared as whole rows.

Of a benchmark's file, the columns of the task's texts are read; where it has none of them, every column of text, by itself and joined; a plain text
by paragraphs. What scores a model is the question as well as the answer, so an answer that is written (no class) counts as part of a row.

Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C: pieces of thirteen words. There one shared piece is
enough; here half of them, because quotes and forms share one piece and are no contamination.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from septet.data.draft import Draft, share
from septet.data.near import near_duplicates
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.sources import benchmark_sources, read_benchmark
from septet.data.table import Stamp, Table
from septet.errors import DataError
from septet.report import Finding

PIECE, SHORTEST = 13, 8  # words
HALF = 0.5
EXAMPLES, SHOWN = 10, 120
LEAST = 4  # words of a column that is not the task's: "yes" and "B" are no text of a benchmark
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The texts of a benchmark, each with its place, `bench.jsonl line 7`, and what is to be told of how it was read."""

    name: str
    texts: list[str]
    places: list[str]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that is in a benchmark: the text it meets and how (`equal`, `nearly equal`, `holding a text of it`, `in a text of it`)."""

    row: int
    text: int
    how: str


def benchmark_of(name: str, table: Table, schema: Schema) -> Benchmark:
    """Return the texts of a benchmark's table.

    Raises:
        DataError: it holds no text.
    """
    own = [*schema.texts, *([] if schema.classes or schema.label is None else [schema.label])]
    used = [column for column in own if column in table.columns]
    texts: list[str] = []
    places: list[str] = []
    for place in range(len(table)):
        found = [text for column in used or table.columns for text in _strings(table.columns[column][place])]
        alone = found if used else [text for text in found if len(text.split()) >= LEAST]
        for text in dict.fromkeys([*alone, " ".join(found)]):
            if text.strip():
                texts.append(unicodedata.normalize("NFC", text))
                places.append(table.where(place))
    if not texts:
        raise DataError(
            f"The benchmark {name!r} of data.against holds no text.",
            where=table.name,
            received=f"{len(table):,} rows, columns {', '.join(list(table.columns)[:8])}",
            hint="name a file with the texts of the benchmark",
        )
    return Benchmark(name, texts, places, table.findings)


def read_benchmarks(recipe: Any, schema: Schema) -> tuple[list[Benchmark], list[Stamp]]:
    """Return the benchmarks of `data.against`, and the stamps of their files.

    Raises:
        UsageError: a file is missing.
        DataError: a file cannot be read, or holds no text.
    """
    found: list[Benchmark] = []
    stamps: list[Stamp] = []
    for name, source in benchmark_sources(recipe).items():
        table = read_benchmark(source, recipe)
        found.append(benchmark_of(name, table, schema))
        stamps += table.stamps
    return found, stamps


def look_for_benchmarks(draft: Draft, benchmarks: Sequence[Benchmark], policy: str, *, threshold: float) -> None:
    """Report rows that are in a benchmark, and drop them from train and validation where the policy is `drop`."""
    for benchmark in benchmarks:
        draft.tell(benchmark.findings, benchmark=benchmark.name)
        for split in ("train", "validation"):
            if split not in draft.splits:
                continue
            rows = draft.splits[split]
            hits = contaminated(_texts(rows, draft.schema), benchmark, threshold=threshold)
            if not hits:
                continue
            drops = policy == "drop"
            ways = {how: sum(hit.how == how for hit in hits) for how in dict.fromkeys(hit.how for hit in hits)}
            fate = "dropped" if drops else "kept (data.contamination: warn)"
            where = f"{rows.place(hits[0].row)} is {benchmark.places[hits[0].text]}"
            draft.find(
                "contaminated",
                "warning",
                message=f"{split}: {share(len(hits), len(rows))} are in the benchmark {benchmark.name} ({', '.join(f'{n:,} {how}' for how, n in ways.items())}; {where}); {fate}.",
                fix="" if drops else f"data.contamination: drop; until then a score on {benchmark.name} says little",
                evidence={
                    "split": split,
                    "benchmark": benchmark.name,
                    "rows": len(hits),
                    "ways": ways,
                    "places": rows.some([hit.row for hit in hits]),
                    "examples": [
                        {
                            "place": rows.place(hit.row),
                            "in": benchmark.places[hit.text],
                            "how": hit.how,
                            "text": _short(" | ".join(rows.texts[hit.row])),
                        }
                        for hit in hits[:EXAMPLES]
                    ],
                },
            )
            if drops:
                draft.drop(split, [hit.row for hit in hits], reason=f"in benchmark {benchmark.name}")


def contaminated(texts: Sequence[str], benchmark: Benchmark, *, threshold: float) -> list[Hit]:
    """Return the texts that are in a benchmark, one hit each, in their order."""
    found: dict[int, Hit] = {}
    near = near_duplicates([*benchmark.texts, *texts], threshold=threshold)
    count = len(benchmark.texts)
    group: dict[int, int] = {}
    for i, first in enumerate(near.first[:count].tolist()):
        group.setdefault(first, i)
    for row, first in enumerate(near.first[count:].tolist()):
        if first in group:
            found[row] = Hit(row, group[first], "nearly equal")
    words, theirs = _Words.of(texts), _Words.of(benchmark.texts)
    equal = {each: i for i, each in reversed(list(enumerate(theirs.whole()))) if each}
    for row, each in enumerate(words.whole()):
        if each in equal:
            found[row] = Hit(row, equal[each], "equal")
    for i, row in _held(theirs, words):
        found.setdefault(row, Hit(row, i, "holding a text of it"))
    for row, i in _held(words, theirs):
        found.setdefault(row, Hit(row, i, "in a text of it"))
    return [found[row] for row in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Words:
    """Texts as hashes of words: `words` (W,) uint64 of all, `text` (W,) the text of each, `lengths` (N,)."""

    words: np.ndarray
    text: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Words:
        each = [_hashes(text) for text in texts]
        lengths = np.array([len(words) for words in each], dtype=np.int64)
        return cls(np.concatenate([*each, _hashes("")]), np.repeat(np.arange(len(texts)), lengths), lengths)

    def whole(self) -> list[tuple[int, ...]]:
        """Return the words of each text."""
        ends = np.cumsum(self.lengths).tolist()
        every = self.words.tolist()
        return [tuple(every[end - n : end]) for end, n in zip(ends, self.lengths.tolist(), strict=True)]

    def pieces(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (text, hash) of each run of so many words of a text, once a text."""
        count = len(self.words) - size + 1
        if count <= 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
        hashes = np.zeros(count, dtype=np.uint64)
        for k in range(size):
            hashes = (hashes + self.words[k : k + count]) * _MULTIPLIER
            hashes ^= hashes >> np.uint64(29)
        inside = self.text[:count] == self.text[size - 1 :]
        text, hashes = self.text[:count][inside], hashes[inside]
        order = np.lexsort((hashes, text))
        text, hashes = text[order], hashes[order]
        first = (np.diff(text, prepend=-1) != 0) | np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(text)]
        return text[first], hashes[first]


def _held(needles: _Words, haystacks: _Words) -> list[tuple[int, int]]:
    """Return (needle, haystack) where a text holds half of the pieces of one that is as long or shorter."""
    found: list[tuple[int, int]] = []
    long, longer = needles.lengths, haystacks.lengths
    for size in range(SHORTEST, PIECE + 1):
        eligible = long == size if size < PIECE else long >= size
        text, hashes = needles.pieces(size)
        text, hashes = text[eligible[text]], hashes[eligible[text]]
        place, others = haystacks.pieces(size)
        common = np.intersect1d(hashes, others)
        needed = HALF * np.bincount(text, minlength=len(long))
        owners: defaultdict[int, list[int]] = defaultdict(list)
        for i, piece in _those(text, hashes, common):
            owners[piece].append(i)
        counts: defaultdict[tuple[int, int], int] = defaultdict(int)
        for k, piece in _those(place, others, common):
            for i in owners[piece]:
                counts[i, k] += 1
        found += [(i, k) for (i, k), n in counts.items() if n >= needed[i] and long[i] <= longer[k]]
    return sorted(found)


def _those(text: np.ndarray, hashes: np.ndarray, common: np.ndarray) -> list[tuple[int, int]]:
    here = np.isin(hashes, common)
    return list(zip(text[here].tolist(), hashes[here].tolist(), strict=True))


def _hashes(text: str) -> np.ndarray:
    """Return (W,) uint64: a hash of each word, in lower case and without punctuation."""
    folded = "".join(c if c.isalnum() else " " for c in text.casefold())
    return np.array([_hash(word) for word in folded.split()], dtype=np.uint64)


@lru_cache(maxsize=1_000_000)
def _hash(word: str) -> int:
    """Return 64 bits of a word, the same in each process."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _strings(value: Any) -> list[str]:
    """Return the texts in a value: itself, or those within a list or an object."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in _strings(each)]
    return [text for each in value for text in _strings(each)] if isinstance(value, (list, tuple)) else []


def _texts(rows: Rows, schema: Schema) -> list[str]:
    answers = [""] * len(rows) if schema.classes else [label or "" for label in rows.labels]
    return [" ".join([*texts, answer]).strip() for texts, answer in zip(rows.texts, answers, strict=True)]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
