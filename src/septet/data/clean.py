"""Clean text: Unicode form, characters that carry nothing, white space.

The same functions serve training and prediction, so that a served text is cleaned as the training rows were. Joiners
(U+200D, U+200C) between visible characters stay: emoji families and several scripts need them. A lone surrogate, which
no file can hold, becomes U+FFFD whatever the options. Of lists and objects (the turns of a conversation), the texts
inside are cleaned, also where they are kept as JSON text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from septet.data.rows import Rows

_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_CONTROL = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_JOINERS = "\u200c\u200d"
_STRAY_JOINER = re.compile(r"(?<!\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\S)")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is cleaned; see `data.clean` in the recipe."""

    unicode: str = "NFC"
    control: bool = True
    whitespace: bool | None = True

    def __post_init__(self) -> None:
        if self.whitespace is None:  # left open in a recipe that no columns have decided: as for texts that are read
            object.__setattr__(self, "whitespace", True)

    @classmethod
    def of(cls, options: Any, *, layout: bool = False) -> Cleaning:
        """Return the cleaning a recipe's `data.clean` asks for.

        Args:
            layout: white space is part of the text, and stays unless the recipe says otherwise.
        """
        whitespace = not layout if options.whitespace is None else options.whitespace
        return cls(options.unicode, options.control, whitespace)


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


def clean_rows(rows: Rows, cleaning: Cleaning, *, classes: bool) -> dict[str, int]:
    """Clean rows in place, a label only where it is free text; return how many rows each kind of cleaning changed."""
    if classes:
        rows.texts, counts = clean_texts(rows.texts, cleaning)
        return counts
    changed: Counter[str] = Counter()
    for i, texts in enumerate(rows.texts):
        kinds: set[str] = set()
        rows.texts[i] = tuple([_clean_value(text, cleaning, kinds=kinds) for text in texts])
        rows.labels[i] = _clean_value(rows.labels[i], cleaning, kinds=kinds)
        changed.update(kinds)
    return dict(sorted(changed.items()))


def clean_value(value: str | list[Any] | dict[str, Any], cleaning: Cleaning) -> Any:
    """Return a text, or a list or object with texts inside, cleaned; everything else in it stays.

    A text that is the JSON of a list or object is cleaned inside. Where that changes nothing, it stays as it was written.
    """
    return _clean_value(value, cleaning, kinds=set())


def whole(text: str) -> str:
    """Return text that can be stored: lone surrogates become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _clean_value(value: Any, cleaning: Cleaning, *, kinds: set[str]) -> Any:
    if not isinstance(value, str):
        return _clean_inside(value, cleaning, kinds=kinds)
    value = _note(kinds, "surrogates", before=value, after=whole(value))
    if value.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(value)
            cleaned = _clean_inside(found, cleaning, kinds=kinds)
            return value if cleaned == found else whole(json.dumps(cleaned, ensure_ascii=False))
        except (ValueError, RecursionError):
            pass  # a text that only begins as JSON does
    return _clean(value, cleaning, kinds=kinds)


def _clean_inside(value: Any, cleaning: Cleaning, *, kinds: set[str]) -> Any:
    if isinstance(value, str):
        return _clean(value, cleaning, kinds=kinds)
    if isinstance(value, dict):
        return {name: _clean_inside(item, cleaning, kinds=kinds) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean_inside(item, cleaning, kinds=kinds) for item in value]
    return value


def _clean(text: str, cleaning: Cleaning, *, kinds: set[str]) -> str:
    # printable text has no control, format or surrogate character: the common case, and quick to see
    printable = text.isprintable()
    if not printable:
        text = _note(kinds, "surrogates", before=text, after=whole(text))
    if cleaning.unicode != "none" and not text.isascii():
        text = _note(kinds, "unicode", before=text, after=unicodedata.normalize(cleaning.unicode, text))  # type: ignore[arg-type]
    if cleaning.control and not printable:
        text = _note(kinds, "control", before=text, after=_without_control(text))
    if cleaning.whitespace:
        text = _note(kinds, "whitespace", before=text, after=" ".join(text.split()))
    return text


def _without_control(text: str) -> str:
    for space in _SPACES:
        text = text.replace(space, " ")
    text = _CONTROL.sub("", text)
    # a long document is searched for one character much faster than for a pattern that looks around
    return _STRAY_JOINER.sub("", text) if any(joiner in text for joiner in _JOINERS) else text


def _note(kinds: set[str], kind: str, *, before: str, after: str) -> str:
    if after != before:
        kinds.add(kind)
    return after
