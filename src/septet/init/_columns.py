"""What is seen of a table's columns, and which of them are like a label, like a text, or like a prompt and its answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from septet.data.files import ENDINGS, SPLITS
from septet.data.times import read_times
from septet.errors import DataError

LABEL_NAMES = ("label", "labels", "class", "category", "target", "intent", "sentiment", "team", "topic", "y")
TEXT_NAMES = ("text", "body", "message", "sentence", "content", "review", "comment", "question", "description")
ANSWER_NAMES = ("answer", "response", "reply", "output", "completion", "summary", "highlights", "translation", "target")
TITLE_NAMES = ("title", "headline", "heading", "name", "author", "source", "url", "id")
LABEL_CHARACTERS, MOST_LABELS = 60, 1_000
DOCUMENT_CHARACTERS = 200  # a text as long on average is one that could be learned as it stands
LOOKED_AT = 1_000
FILES = 0.9  # share of values that are paths of files of one kind
# the two texts of a pair, where they are not called the same but for what counts them (sentence1, sentence2; text_a, text_b)
PAIRS = (("premise", "hypothesis"), ("query", "document"), ("query", "passage"))
_COUNTS = re.compile(r"^(?P<stem>.*?)_?(?P<place>1|2|a|b)$", re.IGNORECASE)
# a column of times whose values are numbers is known by its name alone
TIME_NAMES = re.compile(
    r"(^|_)(date|time|datetime|timestamp|created|updated|published|posted|sent|year)(_|$)", re.IGNORECASE
)
KEY_NAMES = re.compile(r"(^|_)(id|uuid|guid|index|rowid)$|^(Unnamed: 0)?$", re.IGNORECASE)
# scripts that are written without spaces: Thai to Burmese, Khmer, kana and ideographs, Hangul
_UNSPACED = re.compile("[\u0e00-\u109f\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af]{2}")


@dataclass(frozen=True, slots=True)
class Column:
    """What is seen of a column.

    Args:
        counts: how often each value is there, as text.
        length: characters of a value, on average.
        missing: rows that have none.
        prose: share of its values that are texts of two words or more.
        scalar: whether its values are texts and numbers; no lists, no objects.
    """

    name: str
    counts: Counter[str]
    length: float
    missing: int
    prose: float
    scalar: bool = True

    @property
    def num_distinct(self) -> int:
        return len(self.counts)

    @property
    def described(self) -> str:
        return f"{self.num_distinct:,} different values, {self.length:.0f} characters on average"


def look(name: str, values: Iterable[Any]) -> Column:
    """Return what is seen of a column."""
    values = list(values)
    texts = [None if value is None else str(value) for value in values]
    present = [text for text in texts if text is not None and text.strip()]
    some = list(islice((value for value in values if value is not None and str(value).strip()), LOOKED_AT))
    prose = sum(isinstance(value, str) and _is_prose(value) for value in some) / max(1, len(some))
    length = sum(map(len, present)) / max(1, len(present))
    scalar = not any(isinstance(value, list | tuple | dict) for value in some)
    return Column(name, Counter(present), length, len(texts) - len(present), prose, scalar)


def guess_label(columns: Mapping[str, Column], num_rows: int, *, exclude: Collection[str] = ()) -> Column | None:
    """Return the column that is most like a label: few different, short values; one with a label's name before others."""
    most = max(2, min(MOST_LABELS, num_rows // 2))
    fit = [
        column
        for column in columns.values()
        if column.name not in exclude and _is_labels(column, most) and not names_splits(column)
    ]
    return min([c for c in fit if is_named(c)] or fit, key=lambda c: (c.missing, c.num_distinct), default=None)


def names_splits(column: Column) -> bool:
    """Whether a column says which rows are those of train and which of test."""
    return len(column.counts) > 1 and all(value.strip().lower() in SPLITS for value in column.counts)


def names_files(column: Column) -> str | None:
    """Return what the values of a column are paths of, nearly all of them: pictures or recordings; None where they are neither."""
    every, named = sum(column.counts.values()), Counter[str]()
    for value, count in column.counts.items():
        named.update({kind: count for kind, ends in ENDINGS.items() if Path(value).suffix.lower() in ends})
    return next((kind for kind, count in named.items() if count >= FILES * every > 0), None)


def is_named(column: Column) -> bool:
    """Whether a column has a name that labels have."""
    return column.name.lower() in LABEL_NAMES


def repeats_labels(column: Column, num_rows: int) -> bool:
    """Whether a column of answers holds a few short ones again and again, as labels are."""
    return _is_labels(column, min(MOST_LABELS, num_rows // 10))


def guess_text(columns: Mapping[str, Column], *, exclude: str) -> Column | None:
    """Return the column that is most like the text beside a label: the longest."""
    rest = [column for column in columns.values() if column.name != exclude]
    fit = [column for column in rest if column.scalar] or rest
    return max(fit, key=lambda c: c.length + (10 if c.name.lower() in TEXT_NAMES else 0), default=None)


def is_text(column: Column) -> bool:
    """Whether a column is like a text: its values are words, or its name says so."""
    return column.prose >= 0.5 or column.name.lower() in TEXT_NAMES


def guess_members(columns: Mapping[str, Column], *, exclude: str) -> list[str]:
    """Return the columns of numbers and categories beside a label: those with several values that are no key, no name and no time."""
    return [
        column.name
        for column in columns.values()
        if column.name != exclude
        and column.scalar
        and column.num_distinct > 1
        and column.name.lower() not in TITLE_NAMES
        and not KEY_NAMES.search(column.name)
        and TIME_NAMES.search(column.name) is None
    ]


def guess_texts(columns: Mapping[str, Column], *, exclude: str) -> tuple[str, str] | None:
    """Return the two columns of a pair that has one label, by their names; None where there is none, or more than one."""
    texts = {column.name.lower(): column.name for column in _texts(columns.values()) if column.name != exclude}
    named = [pair for pair in PAIRS if {*pair} <= texts.keys()]
    places = {name: match.group("stem", "place") for name in texts if (match := _COUNTS.match(name))}
    counted = [
        (one, other)
        for one, (stem, place) in places.items()
        for other, its in places.items()
        if place in "1a" and its == (stem, {"1": "2", "a": "b"}[place])
    ]
    found = [*named, *counted]
    return (texts[found[0][0]], texts[found[0][1]]) if len(found) == 1 else None


def guess_time(columns: Iterable[Column]) -> Column | None:
    """Return the column that says when a row came to be: all that is looked at of it are dates or times, or numbers under such a name."""
    return next((column for column in columns if column.num_distinct > 1 and _is_times(column)), None)


def guess_document(columns: Mapping[str, Column]) -> Column | None:
    """Return the column whose texts could be learned as they stand: `text`, or the longest prose."""
    named = [column for column in columns.values() if column.name.lower() == "text"]
    return max(named or _texts(columns.values()), key=lambda c: c.length, default=None)


def guess_pair(columns: Mapping[str, Column]) -> tuple[str, str, str] | None:
    """Return the columns of a prompt and its answer, and why these: the two texts of a row, or one with an answer's name and the longest other."""
    texts = _texts(columns.values())
    named = [column for column in texts if column.name.lower() in ANSWER_NAMES]
    if len(texts) >= 2 and len(named) == 1:
        answer = named[0].name
        prompt = max((column for column in texts if column.name != answer), key=lambda c: c.length).name
        return prompt, answer, f"guessed: {answer} has an answer's name, and {prompt} is the longest other text"
    if len(texts) != 2:
        return None
    prompt, answer = (column.name for column in texts)
    return prompt, answer, "guessed: the two columns of text, in the order of the file"


def _texts(columns: Iterable[Column]) -> list[Column]:
    """Return the columns of prose; titles and names only where there is no other."""
    found = [column for column in columns if column.prose >= 0.5]
    return [column for column in found if column.name.lower() not in TITLE_NAMES] or found


def _is_times(column: Column) -> bool:
    values = list(islice(column.counts, LOOKED_AT))
    if TIME_NAMES.search(column.name) is None and all(value.replace(".", "").lstrip("-").isdigit() for value in values):
        return False
    try:
        read_times(values, column.name, where=str)
    except DataError:
        return False
    return True


def _is_labels(column: Column, most: int) -> bool:
    return column.scalar and 2 <= column.num_distinct <= most and column.length <= LABEL_CHARACTERS


def _is_prose(value: str) -> bool:
    words: Sequence[str] = value[:1_000].split()
    return sum(any(map(str.isalpha, word)) for word in words) >= 2 or _UNSPACED.search(value[:1_000]) is not None
