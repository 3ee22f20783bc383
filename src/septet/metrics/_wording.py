"""What a text is made of, as far as rules can say it: its sentences, words and bullet points, the phrases it holds, its register.

The rules are for languages that write spaces and full stops, the word lists for English. They see words, not sense: irony, a politeness that
uses none of the listed words, or a quoted rudeness are taken for what their words are.
"""

from __future__ import annotations

import functools
import re

_END = re.compile(r"[.!?…]+|[。！？]+")
_CLOSING = re.compile(r"[\"'”’»)\]*_]*")
_OPENING = "\"'“‘«([*_"
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»')
_MARKER = re.compile(r"\s*(?:[-*+•‣▪◦·–—]|\d{1,3}[.)])\s+")
_BULLET = re.compile(r"\s*[-*+•‣▪◦·–—]\s+(?=\S)")
_WORD = re.compile(r"[^\s—]+")

# a full stop after these ends no sentence ...
_SHORT = {"mr", "mrs", "ms", "dr", "prof", "st", "rev", "vs", "cf", "e.g", "i.e", "eg", "ie", "approx", "incl", "excl"}
# ... after these only one where a capital letter follows ...
_SHORT_LAST = {"etc", "inc", "ltd", "co", "corp", "jr", "sr", "dept"}
# ... the same, where they begin with a capital letter: "Sat." is short, "sat." is a verb ...
_SHORT_DATES = re.compile("Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec")
# ... and after these where no number follows: "No. 5" is short, "No." is an answer
_SHORT_BEFORE_NUMBER = {"no", "nos", "max", "min", "p", "pp", "fig", "vol", "ext", "tel"}

# `word*` stands for every word that begins so
COURTESY = """please|kindly|thank|thanks|welcome|glad|gladly|happy|happily|pleased|pleasure|delighted|sorry|apolog*|afraid|regret*|
unfortunately|certainly|of course|by all means|grateful|appreciate*|hope|wish|may i|would you|could you|feel free|good morning|
good afternoon|good evening|hello|no problem|congratulations|i understand|i would love""".replace("\n", "").split("|")
RUDE = """stupid*|idiot*|moron*|dumb|pathetic|nonsense|shut up|get lost|calm down|not my problem|not our problem|your own fault|
who cares|i don't care|i do not care|damn*|crap|bloody|hell|sucks|fuck*|shit*""".replace("\n", "").split("|")
CASUAL = """hey|yo|yeah|yep|yup|nope|nah|lol|omg|btw|pls|plz|thx|ur|gonna|wanna|gotta|kinda|sorta|dunno|cuz|dude|mate|buddy|
guys|awesome|my bad|cheers""".replace("\n", "").split("|")
_CONTRACTION = re.compile(r"\w(?:n't|'(?:ll|re|ve|m|d))\b|\b(?:it|that|there|here|what|who|let|he|she|where|how)'s\b")
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]|[:;]-?[)(DP](?!\\w)")


def words(text: str) -> int:
    """Return how many words a text has: runs without white space or a long dash that hold a letter or a digit."""
    return sum(map(_told, _WORD.findall(text)))


def sentences(text: str) -> list[str]:
    """Return the sentences of a text.

    A sentence ends with a full stop, an exclamation or question mark, an ellipsis, or the line. It does not end at a mark without white
    space after it (`4.95`, `shop.example/a?b=1`), after an abbreviation or an initial, inside quotation marks, at an ellipsis or closing
    quotation mark before a small letter, or at the number of a list's item. What holds neither letter nor digit is none.

    Source:  rules of our own; `tests/unit/metrics/test_wording.py` lists what they are held to. A name such as `Yahoo!` and a full
             stop without a space after it (`yes.Then`) are read wrongly.
    """
    found = []
    for line in text.splitlines():
        marker = _MARKER.match(line)
        start = marker.end() if marker else 0
        quoted = [match.span() for match in _QUOTED.finditer(line)]
        for match in _END.finditer(line, start):
            after = _CLOSING.match(line, match.end())
            end = after.end() if after else match.end()
            inside = any(left < match.start() and end < right for left, right in quoted)
            if not inside and _ends(line, start, match, end):
                found.append(line[start:end].strip())
                start = end
        found.append(line[start:].strip())
    return list(filter(_told, found))


def bullets(text: str) -> int | None:
    """Return how many bullet points a text is made of; None where something else stands beside them.

    Lines that introduce (they end with a colon) and lines that continue a point (they are indented) may stand beside them.
    """
    count = 0
    for line in filter(str.strip, text.splitlines()):
        if _BULLET.match(line):
            count += 1
        elif not (line.rstrip("*_ \t").endswith(":") or (count and line[0].isspace())):
            return None
    return count


def holds(text: str, *phrases: str) -> bool:
    """Whether a text has one of some phrases, in any case, as whole words; `refund*` stands for every word that begins so."""
    return _pattern(phrases).search(_plain(text)) is not None


def starts(text: str, *phrases: str) -> bool:
    """Whether a text begins with one of some phrases, quotation marks and emphasis aside."""
    return _pattern(phrases).match(_plain(text).lstrip(_OPENING + "#>- \t\r\n")) is not None


def polite(text: str) -> bool:
    """A word of courtesy (please, thank, glad, sorry, afraid, certainly …), and no rude and no casual one."""
    return holds(text, *COURTESY) and not holds(text, *RUDE, *CASUAL)


def formal(text: str) -> bool:
    """No contraction (don't, we'll), no exclamation mark, no emoji, no rude and no casual word."""
    return not _relaxed(text) and not holds(text, *RUDE, *CASUAL)


def casual(text: str) -> bool:
    """A contraction, an exclamation mark, an emoji or a casual word (hey, yeah, cheers …), and no rude one."""
    return (_relaxed(text) or holds(text, *CASUAL)) and not holds(text, *RUDE)


def _ends(line: str, start: int, mark: re.Match[str], end: int) -> bool:
    """Whether a sentence that began at `start` ends with a mark and what closes after it."""
    rest = line[end:]
    if mark[0][0] in "。！？" or not rest.strip():
        return True
    if not rest[0].isspace():
        return False
    following = rest.lstrip().lstrip(_OPENING)[:1]
    if following.islower() and (end > mark.end() or "…" in mark[0] or ".." in mark[0]):
        return False
    return mark[0] != "." or not _shortened(line[start : mark.start()], following)


def _shortened(before: str, following: str) -> bool:
    """Whether the full stop behind a text belongs to an abbreviation or an initial."""
    word = before.split()[-1].lstrip(_OPENING) if before.split() else ""
    low = word.lower()
    if low in _SHORT:
        return True
    if low in _SHORT_LAST or _SHORT_DATES.fullmatch(word) or re.fullmatch(r"(?:[a-z]\.)+[a-z]", low):
        return not following.isupper()
    if low in _SHORT_BEFORE_NUMBER:
        return following.isdigit()
    return len(word) == 1 and word.isupper() and word != "I"


def _relaxed(text: str) -> bool:
    plain = _plain(text)
    return "!" in plain or bool(_CONTRACTION.search(plain) or _EMOJI.search(text))


@functools.lru_cache(maxsize=1024)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds any of some phrases as whole words."""
    found = []
    for phrase in phrases:
        kept = r"\s+".join(map(re.escape, _plain(phrase).removesuffix("*").split()))
        found.append(kept + (r"\w*" if phrase.endswith("*") else ""))
    return re.compile(rf"(?<!\w)(?:{'|'.join(found)})(?!\w)")


def _plain(text: str) -> str:
    """Return a text with small letters and straight apostrophes."""
    return text.casefold().replace("’", "'").replace("‘", "'")


def _told(text: str) -> bool:
    return any(letter.isalnum() for letter in text)
