"""The language of each text, many at once: the model of py3langid, computed in arrays.

py3langid (a naive Bayes model over byte sequences, 140 languages) reads one text a call, byte by byte in Python. Here all texts of a chunk, sorted by length, take each step
together, and their counts meet the model in one sparse product; the answers are the same. Of a long text the beginning is read.

    told = Languages().tell(texts, wanted=["en"])
    texts_in_other_languages = told.others

Shapes: N texts, B bytes of a chunk, F features, C classes of the model (two of which may share a code).
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

READ_CHARACTERS = 600  # of a text: its beginning tells its language
# a text is in another language where those asked for are this unlikely, and one other this likely: docs/why.md says what that finds and misses
NOT_WANTED, SURE = 0.02, 0.4
_BYTES = 1_000_000  # that take their steps together
_TEXTS = 20_000  # of a chunk, and hence of its probabilities
_THREADS = 4
# frequent in English, and in no other language that is written in these letters
_FUNCTION_WORDS = frozenset(
    (
        "the",
        "and",
        "to",
        "you",
        "your",
        "my",
        "this",
        "that",
        "it",
        "with",
        "for",
        "have",
        "what",
        "how",
        "are",
        "from",
        "they",
        "would",
        "not",
        "been",
    )
)


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of texts.

    Args:
        codes: (N,) str: the likeliest language of each.
        sure: (N,) float32: its probability; low where a text is short, or says nothing of its language.
        wanted: (N,) float32: the probability that the text is in one of the languages asked for.
    """

    codes: np.ndarray
    sure: np.ndarray
    wanted: np.ndarray

    @property
    def others(self) -> np.ndarray:
        """(N,) bool: texts that are surely in none of the languages asked for."""
        return (self.wanted < NOT_WANTED) & (self.sure >= SURE)


class Languages:
    """The model of py3langid; loading takes about a second, and holding it about 120 MiB."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        model: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._next = np.asarray(model.tk_nextmove)
        self._rows = np.asarray(model.tk_row).astype(np.int64) << 8
        self._features = np.asarray(model.tk_output, dtype=np.int32)
        self._table = np.asarray(model.nb_ptc, dtype=np.float32)
        self._prior = np.asarray(model.nb_pc, dtype=np.float32)
        self.codes = list(dict.fromkeys(model.nb_classes))
        self._code_of = np.array([self.codes.index(code) for code in model.nb_classes])

    def tell(self, texts: Sequence[str], wanted: Iterable[str] = ()) -> Told:
        """Return the language of each text.

        Args:
            wanted: codes of languages that are asked for.
        """
        columns = [self.codes.index(code) for code in wanted]
        codes = np.empty(len(texts), dtype="<U4")
        sure, asked = (np.zeros(len(texts), dtype=np.float32) for _ in range(2))

        def judge(start: int) -> None:
            shares = self.shares(texts[start : start + _TEXTS])
            span = slice(start, start + len(shares))
            codes[span] = np.array(self.codes)[shares.argmax(1)]
            sure[span] = shares.max(1)
            asked[span] = shares[:, columns].sum(1)

        with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
            for _ in pool.map(judge, range(0, len(texts), _TEXTS)):
                pass
        return Told(codes, sure, asked)

    def shares(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, codes) float32: the probability of each language."""
        encoded = [_encoded(text) for text in texts]
        lengths = np.array([len(each) for each in encoded], dtype=np.int64)
        shares = np.empty((len(texts), len(self.codes)), dtype=np.float32)
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            size = max(1, _BYTES // max(1, int(lengths[order[start]])))
            places = order[start : start + size]
            shares[places] = self._shares([encoded[place] for place in places], lengths[places])
            start += size
        return shares

    def _shares(self, encoded: list[bytes], lengths: np.ndarray) -> np.ndarray:
        """Return (N, codes) float32 of texts that are sorted by length, the longest first."""
        from scipy.sparse import csr_matrix

        texts, features = self._walk(encoded, lengths)
        keys, counts = np.unique(texts * len(self._table) + features, return_counts=True)
        starts = np.searchsorted(keys, np.arange(len(encoded) + 1) * len(self._table))
        weights = np.log1p(counts.astype(np.float32))
        shape = (len(encoded), len(self._table))
        scores = csr_matrix((weights, keys % len(self._table), starts), shape=shape) @ self._table + self._prior
        scores[np.diff(starts) == 0] = 0  # no feature says anything: all languages are as likely
        scores /= np.sqrt(np.maximum(1, lengths), dtype=np.float32)[:, None]
        scores -= scores.max(1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(1, keepdims=True)
        first = np.unique(self._code_of, return_index=True)[1]
        merged = scores[:, first]
        for extra in sorted(set(range(len(self._code_of))) - set(first.tolist())):
            merged[:, self._code_of[extra]] += scores[:, extra]
        return merged

    def _walk(self, encoded: list[bytes], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features that are met, each with the place of its text."""
        buffer = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        at = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        state = np.zeros(len(encoded), dtype=np.int64)
        left = np.searchsorted(-lengths, -np.arange(int(lengths[0])), side="left") if len(lengths) else []
        texts: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        features: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
        for step, going in enumerate(left):
            state = self._next[self._rows[state[:going]] + buffer[at[:going] + step]].astype(np.int64)
            met = self._features[state]
            hits = np.flatnonzero(met >= 0)
            texts.append(hits)
            features.append(met[hits])
        return np.concatenate(texts), np.concatenate(features)


def _encoded(text: str) -> bytes:
    """Return the bytes that py3langid would read of the beginning of a text."""
    text = text[:READ_CHARACTERS]
    if text.isupper():
        text = text.lower()
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).encode("utf-8", "surrogatepass")


def english(text: str) -> bool:
    """Whether a text is in English, by its function words alone: never true of other languages, and quick; false says nothing."""
    return text.isascii() and len(_FUNCTION_WORDS.intersection(text.lower().split())) >= 2
