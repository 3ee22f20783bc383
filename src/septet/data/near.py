"""Near duplicates: texts that share most of their shingles, found by MinHash and banding, and then counted exactly.

A text is folded (lower case; what is no letter or digit separates words) and cut into overlapping pieces of `size` characters. Two texts are
near duplicates when the Jaccard similarity of their sets of pieces is at least `threshold`. MinHash signatures (rensa, in Rust) bring likely
pairs into one bucket, and every pair is then counted exactly. What banding may miss is rare: a pair of similarity 0.8 with probability
5e-5, one of 0.7 with 0.01. Texts without a letter or digit have no near duplicates.

Sources: Broder 1997 (resemblance, MinHash); Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets", ch. 3 (shingles of 5 characters for short
texts, banding).

Shapes: N texts, C characters and S shingles of a chunk, M candidate pairs.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

SIZE = 5
BANDS, ROWS = 25, 5  # 1 - (1 - s**ROWS)**BANDS of the pairs of similarity s share a bucket
SEED = 20261128
_CHARACTERS = 2_000_000  # of a chunk
_PAIRS = 100_000  # counted at once
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, and without a pattern in its bits (the golden ratio)


@dataclass(frozen=True, slots=True)
class Near:
    """Texts in groups of near duplicates.

    Args:
        first: (N,) int64: the first text of each one's group; its own place where it has no near duplicate.
        similarity: (N,) float32: of the pair by which a text came into its group; 0 for the first of a group.
    """

    first: np.ndarray
    similarity: np.ndarray

    @property
    def later(self) -> np.ndarray:
        """(L,) int64: the texts that have an earlier one in their group."""
        return np.flatnonzero(self.first != np.arange(len(self.first)))


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.8, size: int = SIZE) -> Near:
    """Return which texts are near duplicates of which; those that are equal when folded are too.

    Args:
        threshold: smallest Jaccard similarity, above 0 to 1.
        size: characters of a shingle.
    """
    sets, keys = _signatures(texts, size)
    groups = _Groups(len(texts))
    for band in range(BANDS):
        for ones, others in _candidates(keys[:, band], sets.sizes, groups):
            similar = sets.jaccard(ones, others)
            for k in np.flatnonzero(similar >= threshold):
                groups.join(int(ones[k]), int(others[k]), float(similar[k]))
    return Near(groups.roots(), groups.similarity)


class _Sets:
    """The shingles of every text, each once: 31 bits of a hash, which two different shingles share once in 2e9."""

    def __init__(self, values: np.ndarray, ends: np.ndarray):
        from scipy.sparse import csr_matrix

        starts = np.concatenate([[0], ends]).astype(np.int64)
        ones = np.ones(len(values), dtype=np.float32)
        self.sizes = np.diff(starts)
        self._rows: Any = csr_matrix((ones, values, starts), shape=(len(ends), np.iinfo(np.int32).max))

    def jaccard(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return (M,) float64: the similarity of pairs of texts."""
        found = [
            np.asarray(self._rows[ones[at : at + _PAIRS]].multiply(self._rows[others[at : at + _PAIRS]]).sum(1)).ravel()
            for at in range(0, len(ones), _PAIRS)
        ]
        shared = np.concatenate(found) if found else np.zeros(0)
        return shared / np.maximum(1, self.sizes[ones] + self.sizes[others] - shared)


class _Groups:
    """Texts joined by pairs; the first text of a group stands for it."""

    def __init__(self, count: int):
        self.parents = np.arange(count)
        self.similarity = np.zeros(count, dtype=np.float32)

    def join(self, one: int, other: int, similarity: float) -> None:
        one, other = self._root(one), self._root(other)
        if one != other:
            first, later = min(one, other), max(one, other)
            self.parents[later] = first
            self.similarity[later] = similarity

    def roots(self) -> np.ndarray:
        """Return (N,) int64: the first text of each one's group."""
        while True:
            above = self.parents[self.parents]
            if (above == self.parents).all():
                return self.parents
            self.parents = above

    def _root(self, text: int) -> int:
        while self.parents[text] != text:
            self.parents[text] = self.parents[self.parents[text]]
            text = int(self.parents[text])
        return text


def _signatures(texts: Sequence[str], size: int) -> tuple[_Sets, np.ndarray]:
    """Return the shingles of all texts, and (N, BANDS) uint64: the bucket of each in each band."""

    def sign(chunk: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, hashes = _shingles(chunk, size)
        counts = np.bincount(rows, minlength=len(chunk))
        return hashes, counts, _bands(hashes, counts)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # numpy and rensa work without the interpreter's lock
        found = [*pool.map(sign, _chunks(texts)), sign([])]
    values, counts, keys = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _Sets(values, np.cumsum(counts)), keys


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = characters = 0
    for place, text in enumerate(texts):
        characters += len(text) + 1
        if characters >= _CHARACTERS:
            yield texts[start : place + 1]
            start, characters = place + 1, 0
    if start < len(texts):
        yield texts[start:]


def _shingles(texts: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (S,) int64 and (S,) int32: the text of each shingle and its hash, sorted by both, each once."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    raw = " ".join([*texts, ""]).encode("utf-32-le", "surrogatepass")
    folded_C = _folding()[np.frombuffer(raw, dtype=np.uint32)]
    row_C = np.repeat(np.arange(len(texts)), lengths)
    # of separators that follow each other, or begin a text, one or none is left; each text ends with one
    letter_C = folded_C != 0
    kept = letter_C.copy()
    kept[1:] |= letter_C[:-1] & (row_C[1:] == row_C[:-1])
    folded_C, row_C = folded_C[kept], row_C[kept]
    last = np.cumsum(np.bincount(row_C, minlength=len(texts)))[row_C]  # the end of each character's text
    places = np.arange(len(row_C))
    whole = places + size <= last
    whole[np.flatnonzero(np.diff(row_C, prepend=-1))] = True  # a text shorter than a shingle is one
    starts, ends = places[whole], last[whole]
    hashes = np.zeros(len(starts), dtype=np.uint64)
    padded = np.concatenate([folded_C, np.zeros(size, dtype=folded_C.dtype)]).astype(np.uint64)
    for k in range(size):
        hashes = (hashes + np.where(starts + k < ends, padded[starts + k], 0)) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    keys = (row_C[whole].astype(np.uint64) << np.uint64(31)) | (hashes >> np.uint64(33))
    keys.sort()  # several times faster than `np.unique`, which hashes
    keys = keys[np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))]
    return (keys >> np.uint64(31)).astype(np.int64), (keys & np.uint64((1 << 31) - 1)).astype(np.int32)


@cache
def _folding() -> np.ndarray:
    """Return (0x110000,) uint32: each character in lower case, 0 for what is no letter, digit or mark upon one."""
    import unicodedata

    letters = "LNM"
    lowered = [
        ord(low[0]) if unicodedata.category(c)[0] in letters and (low := c.lower()) else 0
        for c in map(chr, range(0x110000))
    ]
    return np.array(lowered, dtype=np.uint32)


def _bands(hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (N, BANDS) uint64: the bucket of each text in each band, from MinHash signatures."""
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]  (its types are not in the package)

    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes.astype(np.uint64), ends, BANDS * ROWS, SEED)
    flat = np.frombuffer(array("I", chain.from_iterable(matrix.to_rows())), dtype=np.uint32)
    signature = flat.reshape(len(counts), BANDS, ROWS).astype(np.uint64)
    keys = np.zeros((len(counts), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        keys = (keys + signature[:, :, row]) * _MULTIPLIER
        keys ^= keys >> np.uint64(31)
    return keys


def _candidates(keys: np.ndarray, sizes: np.ndarray, groups: _Groups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of one bucket that are in no common group yet: its first text with each other, and again among those that stay apart."""
    texts = np.flatnonzero(sizes > 0)
    while len(texts):
        texts = texts[np.lexsort((texts, keys[texts]))]
        begins = np.concatenate([[True], keys[texts[1:]] != keys[texts[:-1]]])
        firsts = texts[np.maximum.accumulate(np.where(begins, np.arange(len(texts)), 0))]
        roots = groups.roots()
        apart = roots[firsts] != roots[texts]
        if not apart.any():
            return
        yield firsts[apart], texts[apart]
        roots = groups.roots()
        texts = texts[roots[firsts] != roots[texts]]
