"""Clean text: Unicode form, characters that carry nothing, white space.

The same function serves training and prediction, so that a served text is cleaned as the training rows were. Joiners
(U+200D, U+200C) between visible characters stay: emoji families and several scripts need them. A lone surrogate, which
no file can hold, becomes U+FFFD whatever the options.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SPACES = str.maketrans(dict.fromkeys("\x0b\x0c\x1c\x1d\x1e\x1f\x85", " "))
_CONTROL = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_STRAY_JOINER = re.compile(r"(?<!\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\S)")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is cleaned; see `data.clean` in the recipe."""

    unicode: str = "NFC"
    control: bool = True
    whitespace: bool = True

    @classmethod
    def of(cls, options: Any) -> Cleaning:
        """Return the cleaning a recipe's `data.clean` asks for."""
        return cls(options.unicode, options.control, options.whitespace)


def clean_text(text: str, cleaning: Cleaning) -> str:
    """Return the cleaned text."""
    return _clean(text, cleaning, kinds=set())


def clean_texts(texts: Sequence[tuple[str, ...]], cleaning: Cleaning) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Return the cleaned texts, and how many rows each kind of cleaning changed."""
    changed: Counter[str] = Counter()
    cleaned = []
    for row in texts:
        kinds: set[str] = set()
        cleaned.append(tuple([_clean(text, cleaning, kinds=kinds) for text in row]))
        changed.update(kinds)
    return cleaned, dict(sorted(changed.items()))


def whole(text: str) -> str:
    """Return text that can be stored: lone surrogates become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _clean(text: str, cleaning: Cleaning, *, kinds: set[str]) -> str:
    # printable text has no control, format or surrogate character: the common case, and quick to see
    printable = text.isprintable()
    if not printable:
        text = _note(kinds, "surrogates", before=text, after=whole(text))
    if cleaning.unicode != "none" and not text.isascii():
        text = _note(kinds, "unicode", before=text, after=unicodedata.normalize(cleaning.unicode, text))  # type: ignore[arg-type]
    if cleaning.control and not printable:
        text = _note(
            kinds, "control", before=text, after=_STRAY_JOINER.sub("", _CONTROL.sub("", text.translate(_SPACES)))
        )
    if cleaning.whitespace:
        text = _note(kinds, "whitespace", before=text, after=" ".join(text.split()))
    return text


def _note(kinds: set[str], kind: str, *, before: str, after: str) -> str:
    if after != before:
        kinds.add(kind)
    return after
