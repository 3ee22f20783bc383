"""Adherence: whether a written answer keeps the limits that its instruction states.

A row's limits are an object. They stand in a column that the recipe names (`task.limits`) and the model never reads:

    {"sentences": 1, "register": "polite", "mention": ["billing team", ["doctor", "pharmacist"]]}

`LIMIT_KINDS` holds every kind of limit: how its value is written, and the function that says whether a text keeps it. `adherence` is the share of
rows that keep all of theirs; `adherence[mention]` that of one kind. Both rest on the rows that state such a limit. An answer without a word
keeps none.

Checks are exact and repeatable, not wise: they count, and look for words. Left out is what takes a reader: a warm tone, simple words, whether
a request is declined, whether what is said is true.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.errors import DataError, UsageError
from septet.metrics import Metric, Texts, metric
from septet.metrics._limits import Choice, Count, Form, Phrases
from septet.metrics._wording import bullets, casual, formal, holds, polite, sentences, starts, words

# all 85 answers of recipes/data/shop_assistant.jsonl to "succinct", "briefly" or "short" have at most 42 words, all 48 to "in detail" at least 64
BRIEF_WORDS, FULL_WORDS = 45, 60

Limits = dict[str, Any]

_ASKS = re.compile(r"[?？][^\w\s]*$")
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_ONES = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_NUMBER = rf"(?:\d+(?:[.,]\d+)*|(?:{_TENS})(?:-(?:{_ONES}))?|{_ONES}|hundred|thousand)"
_ABOUT = r"(?:(?:about|around|over|under|up to|at least|at most|exactly|from|only|within)\s+)?"
_AMOUNT = rf"{_ABOUT}[€$£]?\s?{_NUMBER}(?:\s*(?:to|or|and|-|–)\s*[€$£]?{_NUMBER})?"
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_UNITS = ("seconds", "minutes", "hours", "days", "working days", "weeks", "months", "years")
ONLY = {
    "figure": rf"{_AMOUNT}(?:\s*[^\W\d_]+|\s?[%€$£°]){{0,2}}",
    "percentage": rf"{_AMOUNT}(?:\s*(?:%|per\s?cent))?",
    "time": r"(?:(?:at|until|by|from)\s+)?(?:\d{1,2}(?:[:.]\d\d)?\s*(?:[ap]\.?m\.?|o'clock)?|noon|midnight)",
    "date": rf"(?:{_DAY}(?:\s+of)?\s+{_MONTH}|{_MONTH}\s+{_DAY})(?:,?\s+\d{{4}})?|\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}",
    **{unit: rf"{_AMOUNT}(?:\s*{unit.removesuffix('s')}s?)?" for unit in _UNITS},
}
REGISTERS = {"polite": polite, "formal": formal, "casual": casual}
DETAILS = ("brief", "full")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of limit: how its value is written, an example of one, and whether a text keeps it."""

    form: Form
    example: Any
    keeps: Callable[[str, Any], bool]


def keeps_sentences(text: str, limit: dict[str, int]) -> bool:
    """So many sentences; a line break ends one too."""
    return _within(len(sentences(text)), limit)


def keeps_words(text: str, limit: dict[str, int]) -> bool:
    """So many words: runs without white space that hold a letter or a digit."""
    return _within(words(text), limit)


def keeps_questions(text: str, limit: dict[str, int]) -> bool:
    """So many sentences that end with a question mark."""
    return _within(sum(bool(_ASKS.search(sentence)) for sentence in sentences(text)), limit)


def keeps_bullets(text: str, limit: dict[str, int]) -> bool:
    """So many bullet points and nothing beside them but lines that introduce them with a colon; `true` is two or more."""
    count = bullets(text)
    return count is not None and _within(count, limit)


def keeps_begin(text: str, limit: list[str]) -> bool:
    """One of the texts is what the answer begins with."""
    return starts(text, *limit)


def keeps_opening(text: str, limit: list[str]) -> bool:
    """One of the texts is in the first sentence."""
    return holds(next(iter(sentences(text)), ""), *limit)


def keeps_only(text: str, limit: str) -> bool:
    """Nothing but a figure (with two words of unit at most), a percentage, a time, a date, or a number of days, hours …."""
    bare = text.casefold().replace("’", "'").strip(" \t\r\n*_\"'“”").rstrip(".! ")
    return re.fullmatch(ONLY[limit], bare) is not None


def keeps_mention(text: str, limit: list[list[str]]) -> bool:
    """Each text is there as whole words, in any case; of a list of alternatives one; `refund*` is every word that begins so."""
    return all(holds(text, *alternatives) for alternatives in limit)


def keeps_avoid(text: str, limit: list[str]) -> bool:
    """None of the texts is there; they are found as `mention` finds them."""
    return not holds(text, *limit)


def keeps_register(text: str, limit: str) -> bool:
    """Polite: a word of courtesy, none that is rude or casual. Formal: no contraction, `!` or casual word. Casual: one of these."""
    return REGISTERS[limit](text)


def keeps_detail(text: str, limit: str) -> bool:
    """Brief is 45 words at most, full 60 at least."""
    return words(text) <= BRIEF_WORDS if limit == "brief" else words(text) >= FULL_WORDS


LIMIT_KINDS = {
    "sentences": Kind(Count("sentence"), {"max": 2}, keeps_sentences),
    "words": Kind(Count("word"), {"max": 15}, keeps_words),
    "questions": Kind(Count("question"), 1, keeps_questions),
    "bullets": Kind(Count("bullet point", {"min": 2}), True, keeps_bullets),
    "begin": Kind(Phrases("begins with"), ["yes", "no"], keeps_begin),
    "opening": Kind(Phrases("opens with"), ["sorry", "apolog*"], keeps_opening),
    "only": Kind(Choice(tuple(ONLY), "only"), "working days", keeps_only),
    "mention": Kind(Phrases("mentions", True), ["30 days", ["doctor", "pharmacist"]], keeps_mention),
    "avoid": Kind(Phrases("avoids"), ["refund*"], keeps_avoid),
    "register": Kind(Choice(tuple(REGISTERS)), "polite", keeps_register),
    "detail": Kind(Choice(DETAILS), "brief", keeps_detail),
}


@metric(low=0, high=1, better="higher", weighted=True, of="texts", needs="limits")
def adherence(answers: Texts) -> Any:
    """Share of the rows with limits whose text keeps all of them; `adherence[sentences]` is of one kind of limit."""
    return _share(answers, None)


def of_kind(kind: str) -> Metric:
    """Return adherence to one kind of limit as a metric.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in LIMIT_KINDS:
        raise UsageError(f"There is no kind of limit {kind!r}.", hint=_nearest(kind))

    @metric(low=0, high=1, better="higher", weighted=True, of="texts", needs="limits")
    def measure(answers: Texts) -> Any:
        return _share(answers, kind)

    measure.__name__ = f"adherence[{kind}]"
    return measure


def read_limits(value: Any) -> Limits:
    """Return a limits object, or its JSON text, in the form that checks take; nothing, or an empty text, states none.

    Raises:
        DataError: it is no such object.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise DataError("Limits are an object, or its JSON text.", received=value) from error
    if value is not None and not isinstance(value, Mapping):
        raise DataError("Limits are an object, or its JSON text.", received=value)
    given = {kind: each for kind, each in (value or {}).items() if each is not None}  # Parquet fills what a row lacks
    unknown = next((kind for kind in given if kind not in LIMIT_KINDS), None)
    if unknown is not None:
        raise DataError(f"There is no limit named {unknown!r}.", hint=_nearest(unknown))
    return {kind: LIMIT_KINDS[kind].form.read(each, kind) for kind, each in given.items()}


def limits_of(rows: Sequence[Mapping[str, Any]], column: str | None) -> list[Limits] | None:
    """Return the limits of each row; None where no column is named.

    Raises:
        DataError: a row's limits are malformed.
    """
    return None if column is None else [read_limits(row.get(column)) for row in rows]


def malformed(rows: Sequence[Mapping[str, Any]], column: str | None) -> dict[int, str]:
    """Return why the limits of rows cannot be read, by their place; nothing where no column is named."""
    found: dict[int, str] = {}
    if column is None:
        return found
    for place, row in enumerate(rows):
        try:
            read_limits(row.get(column))
        except DataError as error:
            found[place] = error.reason
    return found


def broken(text: str, limits: Limits) -> list[str]:
    """Return the kinds of limit that a text does not keep."""
    said = words(text) > 0
    return [kind for kind, value in limits.items() if not said or not LIMIT_KINDS[kind].keeps(text, value)]


def in_words(limits: Limits) -> str:
    """Return limits in a few words: `1 sentence · polite · mentions doctor or pharmacist`."""
    return " · ".join(LIMIT_KINDS[kind].form.tell(value) for kind, value in limits.items())


def _share(answers: Texts, kind: str | None) -> Any:
    """Return the share of rows that keep all their limits, or those of a kind; NaN where no row states one."""
    stated, lost = answers.keep("limits", lambda: _tables(answers))
    among = stated.any(1) if kind is None else stated[:, list(LIMIT_KINDS).index(kind)]
    kept = among & ~(lost.any(1) if kind is None else lost[:, list(LIMIT_KINDS).index(kind)])
    rows = np.asarray(answers.total(among.astype(np.float64)))
    return np.where(rows > 0, answers.total(kept.astype(np.float64)) / np.maximum(rows, 1), np.nan)


def _tables(answers: Texts) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, K) bool by row and kind: whether it is stated, and whether it is broken."""
    limits = answers.limits or []
    lost = [broken(text, each) for text, each in zip(answers.texts or [], limits, strict=True)]
    return _table(limits), _table(lost)


def _table(kinds: Sequence[Any]) -> np.ndarray:
    found = [[kind in row for kind in LIMIT_KINDS] for row in kinds]
    return np.array(found, dtype=bool).reshape(-1, len(LIMIT_KINDS))


def _within(count: int, limit: dict[str, int]) -> bool:
    return limit.get("min", 0) <= count <= limit.get("max", count)


def _nearest(kind: str) -> str:
    near = difflib.get_close_matches(kind, LIMIT_KINDS, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"the kinds are {', '.join(LIMIT_KINDS)}"
