"""Clean text, in this order: broken encodings, HTML, repeated lines, Unicode form, characters that carry nothing, personal data, white space.

The same functions serve training and prediction, so that a served text is cleaned as the training rows were. Joiners
(U+200D, U+200C) between visible characters stay: emoji families and several scripts need them. A lone surrogate, which
no file can hold, becomes U+FFFD whatever the options. Of lists and objects (the turns of a conversation), the texts
inside are cleaned, also where they are kept as JSON text. The steps themselves are files of `cleaning/`, as are those that
take rows out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from septet.data.cleaning.html import strip_html
from septet.data.cleaning.lines import without_lines
from septet.data.cleaning.personal import mask
from septet.data.cleaning.repair import repair
from septet.data.rows import Rows

Tell = Callable[[str, str, str], None]  # told of each change: its kind, the text before, the text after

_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
_CONTROL = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_JOINERS = "\u200c\u200d"
_STRAY_JOINER = re.compile(r"(?<!\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\S)")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is cleaned in a text; see `data.clean` in the recipe.

    Args:
        whitespace: None, as in a recipe that no columns have decided, is as for texts that are read.
        lines: repeated lines that are taken out, as `cleaning.lines` finds them.
    """

    unicode: str = "NFC"
    control: bool = True
    whitespace: bool | None = True
    repair: bool = False
    html: bool = False
    mask: Collection[str] = ()
    lines: Collection[str] = frozenset()

    def __post_init__(self) -> None:
        if self.whitespace is None:
            object.__setattr__(self, "whitespace", True)
        object.__setattr__(self, "mask", tuple(self.mask))
        object.__setattr__(self, "lines", frozenset(self.lines))

    @classmethod
    def of(cls, options: Any, *, layout: bool = False, lines: Collection[str] = ()) -> Cleaning:
        """Return the cleaning a recipe's `data.clean` asks for.

        Args:
            layout: white space is part of the text, and stays unless the recipe says otherwise.
            lines: the repeated lines that were found in train, where it asks for that.
        """
        whitespace = not layout if options.whitespace is None else options.whitespace
        return cls(
            options.unicode, options.control, whitespace, options.repair, options.html, options.mask, frozenset(lines)
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cleaning:
        """Return the cleaning of an artifact; a step that is younger than the artifact is off."""
        return cls(**{name: value[name] for name in (field.name for field in fields(cls)) if name in value})

    def to_json(self) -> dict[str, Any]:
        """Return what an artifact keeps."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**found, "mask": list(self.mask), "lines": sorted(self.lines)}


def clean_text(text: str, cleaning: Cleaning) -> str:
    """Return the cleaned text."""
    return _clean(text, cleaning, notes=_Notes())


def clean_texts(texts: Sequence[tuple[str, ...]], cleaning: Cleaning) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Return the cleaned texts, and how many rows each kind of cleaning changed."""
    changed: Counter[str] = Counter()
    cleaned = []
    for row in texts:
        notes = _Notes()
        cleaned.append(tuple([_clean(text, cleaning, notes=notes) for text in row]))
        changed.update(notes.kinds)
    return cleaned, dict(sorted(changed.items()))


def clean_rows(
    rows: Rows, cleaning: Cleaning, *, classes: bool, tell: Callable[[int], Tell] | None = None
) -> dict[str, int]:
    """Clean rows in place, a label only where it is free text; return how many rows each kind of cleaning changed.

    Args:
        tell: gives for the place of a row what is told of each change in it.
    """
    changed: Counter[str] = Counter()
    for i, texts in enumerate(rows.texts):
        notes = _Notes(None if tell is None else tell(i))
        if classes:
            rows.texts[i] = tuple([_clean(text, cleaning, notes=notes) for text in texts])
        else:
            rows.texts[i] = tuple([_clean_value(text, cleaning, notes=notes) for text in texts])
            rows.labels[i] = _clean_value(rows.labels[i], cleaning, notes=notes)
        if notes.kinds:
            changed.update(notes.kinds)
    return dict(sorted(changed.items()))


def clean_value(value: str | list[Any] | dict[str, Any], cleaning: Cleaning) -> Any:
    """Return a text, or a list or object with texts inside, cleaned; everything else in it stays.

    A text that is the JSON of a list or object is cleaned inside. Where that changes nothing, it stays as it was written.
    """
    return _clean_value(value, cleaning, notes=_Notes())


def whole(text: str) -> str:
    """Return text that can be stored: lone surrogates become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _clean_value(value: Any, cleaning: Cleaning, *, notes: _Notes) -> Any:
    if not isinstance(value, str):
        return _clean_inside(value, cleaning, notes=notes)
    value = _note(notes, "surrogates", before=value, after=whole(value))
    if value.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(value)
            cleaned = _clean_inside(found, cleaning, notes=notes)
            return value if cleaned == found else whole(json.dumps(cleaned, ensure_ascii=False))
        except (ValueError, RecursionError):
            pass  # a text that only begins as JSON does
    return _clean(value, cleaning, notes=notes)


def _clean_inside(value: Any, cleaning: Cleaning, *, notes: _Notes) -> Any:
    if isinstance(value, str):
        return _clean(value, cleaning, notes=notes)
    if isinstance(value, dict):
        return {name: _clean_inside(item, cleaning, notes=notes) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean_inside(item, cleaning, notes=notes) for item in value]
    return value


def _clean(text: str, cleaning: Cleaning, *, notes: _Notes) -> str:
    # printable text has no control, format or surrogate character: the common case, and quick to see
    if not text.isprintable():
        text = _note(notes, "surrogates", before=text, after=whole(text))
    if cleaning.repair and not text.isascii():
        text = _note(notes, "repair", before=text, after=repair(text))
    if cleaning.html and ("<" in text or "&" in text):
        text = _note(notes, "html", before=text, after=strip_html(text))
    if cleaning.lines and "\n" in text:
        text = _note(notes, "boilerplate", before=text, after=without_lines(text, cleaning.lines))
    if cleaning.unicode != "none" and not text.isascii():
        text = _note(notes, "unicode", before=text, after=unicodedata.normalize(cleaning.unicode, text))  # type: ignore[arg-type]
    if cleaning.control and not text.isprintable():
        text = _note(notes, "control", before=text, after=_without_control(text))
    if cleaning.mask:
        after, kinds = mask(text, cleaning.mask)
        for kind in kinds:
            _note(notes, f"masked {kind}", before=text, after=after)
        text = after
    if cleaning.whitespace:
        text = _note(notes, "whitespace", before=text, after=" ".join(text.split()))
    return text


def _without_control(text: str) -> str:
    for space in _SPACES:
        text = text.replace(space, " ")
    text = _CONTROL.sub("", text)
    # a long document is searched for one character much faster than for a pattern that looks around
    return _STRAY_JOINER.sub("", text) if any(joiner in text for joiner in _JOINERS) else text


class _Notes:
    """Which kinds of cleaning changed a row; who is told of each change."""

    __slots__ = ("kinds", "tell")

    def __init__(self, tell: Tell | None = None):
        self.kinds: set[str] = set()
        self.tell = tell


def _note(notes: _Notes, kind: str, *, before: str, after: str) -> str:
    if after != before:
        notes.kinds.add(kind)
        if notes.tell is not None:
            notes.tell(kind, before, after)
    return after
