"""From bytes to text: which encoding a file has, and what is said where that cannot be known.

`auto`: a byte order mark decides; what is valid UTF-8 is UTF-8. Only else is the encoding guessed, from the lines that are not ASCII: charset-normalizer
proposes readings, and one is taken if no other is plausible too: its text is in a language that is written in that encoding (py3langid), and has no
symbols, controls or capitals inside of words. A guess is told with an example. Everything less sure is an error that shows the readings; so is a file
that mixes encodings, which `utf-8|cp1252` reads line by line. Left out: encodings of EBCDIC, UTF-7, and whatever else no spreadsheet writes today.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from septet.errors import DataError, RecipeError
from septet.report import Finding

AUTO = "auto"
SAMPLE = 1 << 18  # bytes of lines that are looked at for a guess
LEAST = 4  # characters beyond ASCII, in different words, that a guess needs
ODD = 20  # of so many characters beyond ASCII at most one may be odd
CLEAR = 0.05  # by which the mess of the next reading must be larger (charset-normalizer's, 0 to 1)
FEW = 20  # of so many lines beyond ASCII at most one may be UTF-8 by chance, in encodings of two bytes a character
SHARE = 20  # of so many bytes at most one is a control character, where they are text; of bytes at random one in ten is
SHOWN = 5  # lines and readings that a message names

_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_WEST = frozenset(
    [
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "nl",
        "sv",
        "da",
        "no",
        "nb",
        "nn",
        "fi",
        "is",
        "en",
        "ca",
        "gl",
        "eu",
        "ga",
        "id",
        "ms",
        "sw",
        "af",
        "lb",
        "oc",
        "wa",
        "an",
        "br",
        "fo",
    ]
)
_MIDDLE = frozenset(["pl", "cs", "sk", "hu", "hr", "sl", "ro", "sq", "bs", "sr"])
_CYRILLIC = frozenset(["ru", "uk", "bg", "sr", "mk", "be", "mn", "kk", "ky"])
# the languages that are written in an encoding, the most usual encoding first
_WRITTEN = {
    "cp1252": _WEST,
    "cp1250": _MIDDLE,
    "cp1251": _CYRILLIC,
    "cp1253": frozenset({"el"}),
    "cp1254": frozenset({"tr", "az"}),
    "cp1255": frozenset({"he"}),
    "cp1256": frozenset({"ar", "fa", "ur"}),
    "cp1257": frozenset({"lt", "lv", "et"}),
    "iso8859_2": _MIDDLE,
    "iso8859_7": frozenset({"el"}),
    "iso8859_15": _WEST,
    "koi8_r": _CYRILLIC,
    "koi8_u": _CYRILLIC,
    "mac_roman": _WEST,
    "cp437": _WEST,
    "cp850": _WEST,
    "cp852": _MIDDLE,
    "cp866": _CYRILLIC,
    "gb18030": frozenset({"zh"}),
    "big5": frozenset({"zh"}),
    "cp932": frozenset({"ja"}),
    "euc_jp": frozenset({"ja"}),
    "cp949": frozenset({"ko"}),
    "tis_620": frozenset({"th"}),
}
_TWO_BYTES = ("gb18030", "big5", "cp932", "euc_jp", "cp949")
_BEYOND = re.compile(r"\w*[^\x00-\x7f]\w*")
# symbols between letters, capitals after small letters, and scripts in one word: what a wrong reading makes
_STRANGE = re.compile(
    r"(?<=[^\W\d_])[^\x00-\x7f\w\u2019\u00b7\u00ad\u2010-\u2013-](?=[^\W\d_])"
    r"|[a-zß-öø-ÿа-яά-ώ][À-ÖØ-ÞА-ЯΑ-Ω]|[\u0400-\u04ff][a-zA-Z]|[a-zA-Z][\u0370-\u04ff]"
)
_FOREIGN = {  # characters that another language of two-byte characters has, and this one hardly
    "cp949": re.compile("[\u4e00-\u9fff]"),
    "gb18030": re.compile("[\u3040-\u30ff\uac00-\ud7a3]"),
    "big5": re.compile("[\u3040-\u30ff\uac00-\ud7a3]"),
    "cp932": re.compile("[\uff61-\uff9f]"),
}
_CONTROLS = bytes({*range(32)} - {*b"\t\n\r\f\v\x1a\x1b"} | {127})
_HIGH = re.compile("[\x80-\x9f]")


@dataclass(slots=True)
class Decoded:
    """The text of a file without a byte order mark, and what is to be told of how it was read."""

    text: str
    findings: list[Finding] = field(default_factory=list)


def decode(raw: bytes, name: str, *, encoding: str = AUTO, lenient: bool = False) -> Decoded:
    """Return the text of a file.

    Args:
        encoding: `auto`; one that Python knows; or several, `utf-8|cp1252`: each line has the first that it is valid in.
        lenient: a byte that does not fit becomes half a character (U+DC80 to U+DCFF), and a NUL stays.

    Raises:
        RecipeError: there is no such encoding.
        DataError: a byte does not fit, or the encoding cannot be told; names a line.
    """
    if encoding == AUTO:
        found = _detected(raw, name, lenient=lenient)
    elif "|" in encoding:
        found = _by_line(raw, name, encoding.split("|"))
    else:
        found = Decoded(_decoded(raw, name, encoding, "surrogateescape" if lenient else "strict"))
    found.text = found.text.removeprefix("\ufeff")
    nul = -1 if lenient else found.text.find("\0")
    if nul >= 0:
        raise DataError(
            "There is a NUL byte in the text.",
            where=f"{name} line {found.text.count(chr(10), 0, nul) + 1}",
            hint="the file is binary, damaged, or of another encoding (data.encoding: utf-16)",
        )
    if not found.text.strip():
        raise DataError("The file is empty.", where=name)
    return found


def check_head(head: bytes, name: str) -> None:
    """Refuse a file that begins as no text does, before the rest of it is read.

    Raises:
        DataError: it is binary.
    """
    if _wide(head) is not None or any(head.startswith(mark) for mark, _ in _MARKS):
        return
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut
    except UnicodeDecodeError as error:
        _check_text(head, name, error)


def _detected(raw: bytes, name: str, *, lenient: bool) -> Decoded:
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None)
    if marked not in (None, "utf-8-sig"):
        return Decoded(_decoded(raw, name, str(marked), "strict"))
    wide = _wide(raw)
    if wide is not None:
        text = _decoded(raw, name, wide, "strict")
        return Decoded(text, [_guessed(name, wide, text.strip()[:40])])
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        try:
            return _guess(raw, name, error, marked=marked is not None)
        except DataError:
            if not lenient:
                raise
    return Decoded(raw.decode("utf-8", "surrogateescape"))


def _wide(raw: bytes) -> str | None:
    """Return the encoding of UTF-16 without a mark: every other byte of Latin text is 0, and no other is."""
    head = raw[: 1 << 16]
    even, odd, least = head[::2].count(0), head[1::2].count(0), len(head) // 2 * 0.4
    if len(head) < 8 or min(even, odd) > 0:
        return None
    return "utf-16-le" if odd > least else "utf-16-be" if even > least else None


def _guess(raw: bytes, name: str, error: UnicodeDecodeError, *, marked: bool) -> Decoded:
    """Return the text of bytes that are not UTF-8; the error says where the first is that is not."""
    _check_text(raw, name, error)
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if not line.isascii()]
    valid = [number for number, line in lines if _is_utf8(line)]
    other = [(number, line) for number, line in lines if not _is_utf8(line)]
    if valid and len(other) == 1 and error.reason == "unexpected end of data":
        raise DataError(
            "The file ends in the middle of a character: it is cut short.",
            where=f"{name} line {other[0][0]}",
            hint="copy or download it again",
        )
    sample = _sample(line for _, line in other)
    readings = list(_readings(sample))
    sure = _surest(readings)
    if marked or (valid and (sure is None or sure.encoding not in _TWO_BYTES or len(valid) * FEW > len(lines))):
        raise _mixed(name, valid, other, readings)
    if sure is None:
        raise _unsure(raw, name, error, readings)
    try:
        text = raw.decode(sure.encoding)
    except UnicodeDecodeError:
        raise _unsure(raw, name, error, readings) from None
    return Decoded(text, [_guessed(name, sure.encoding, sure.example, lines=len(lines))])


def _check_text(raw: bytes, name: str, error: UnicodeDecodeError) -> None:
    """Refuse what is no text in any encoding: a twentieth of it is control characters."""
    controls = len(raw) - len(raw.translate(None, _CONTROLS))
    if controls * SHARE > len(raw):
        raise DataError(
            "The file is binary, no text.",
            where=f"{name} line {raw.count(10, 0, error.start) + 1}",
            received=raw[:16],
            hint="another file; or data.format, where the name does not say it",
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """A sample read in an encoding: how odd that text is, and how messy charset-normalizer finds it; whether it is plausible."""

    encoding: str
    example: str
    odd: int
    mess: float
    plausible: bool


def _readings(sample: bytes) -> Iterator[_Reading]:
    """Yield the readings of a sample, the best first."""
    from charset_normalizer import from_bytes
    from py3langid import classify

    for match in from_bytes(sample, cp_isolation=list(_WRITTEN)):
        names = [each for each in _WRITTEN if each in match.could_be_from_charset]
        if not names:
            continue
        text = sample.decode(names[0], "replace")
        language = classify(text)[0]
        written = [each for each in names if language in _WRITTEN[each]]
        encoding = (written or names)[0]
        words = dict.fromkeys(_BEYOND.findall(text))
        beyond = sum(not char.isascii() for word in words for char in word)
        odd = len(_STRANGE.findall(text)) + (len(_FOREIGN[encoding].findall(text)) if encoding in _FOREIGN else 0)
        if encoding == "cp949":  # syllables that no word of Korean has; this codec writes them in parts, after a filler
            odd += text.encode("euc_kr", "ignore").count(b"\xa4\xd4")
        fits = odd * ODD <= beyond and not _HIGH.search(text) and "\ufffd" not in text
        yield _Reading(encoding, _example(text), odd, match.chaos, bool(written) and beyond >= LEAST and fits)


def _surest(readings: Sequence[_Reading]) -> _Reading | None:
    """Return the one plausible reading; None where there is none, or another is as good."""
    good = sorted((each for each in readings if each.plausible), key=lambda each: (each.odd, each.mess))
    if not good or any(other.mess < good[0].mess + CLEAR for other in good[1:]):
        return None
    return good[0]


def _sample(lines: Iterator[bytes]) -> bytes:
    found, size = [], 0
    for line in lines:
        found.append(line[: SAMPLE - size])
        size += len(found[-1]) + 1
        if size >= SAMPLE:
            break
    return b"\n".join(found)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _example(text: str) -> str:
    """Return the first words beyond ASCII with what is around them."""
    found = _BEYOND.search(text)
    start = max(0, found.start() - 15) if found else 0
    return " ".join(text[start : start + 45].split())


def _decoded(raw: bytes, name: str, encoding: str, errors: str) -> str:
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    if plain and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("The file is UTF-16, not utf-8.", where=f"{name} line 1", hint="data.encoding: utf-16")
    try:
        return raw.decode(encoding, errors)
    except LookupError:
        raise RecipeError(
            "data.encoding is no encoding known here.", received=encoding, hint="auto, utf-8, latin-1, cp1252, utf-16"
        ) from None
    except UnicodeDecodeError as error:
        where = f"{name} line {raw.count(10, 0, error.start) + 1}"
        if error.reason == "truncated data" or "end of" in error.reason:
            raise DataError(
                f"The file ends in the middle of a character of {encoding}: it is cut short.",
                where=where,
                hint="copy or download it again",
            ) from None
        hint = "data.encoding: auto   (which finds what older files use), or save the file as UTF-8"
        raise DataError(f"Byte 0x{raw[error.start]:02x} is not valid {encoding}.", where=where, hint=hint) from None


def _by_line(raw: bytes, name: str, encodings: Sequence[str]) -> Decoded:
    """Return the text of a file in which each line has one of several encodings, the first that fits."""
    found: list[str] = []
    second: list[int] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        for place, encoding in enumerate(encodings):
            try:
                found.append(line.decode(encoding))
            except UnicodeDecodeError:
                if place == len(encodings) - 1:
                    raise DataError(
                        "The line is valid in none of the encodings.",
                        where=f"{name} line {number}",
                        received="|".join(encodings),
                    ) from None
            else:
                if place:
                    second.append(number)
                break
    told = []
    if second:
        message = f"{name}: {len(second):,} of {len(found):,} lines are not {encodings[0]} and were read as {' or '.join(encodings[1:])} (line {_few(second)})."
        told = [
            Finding(
                "encoding-mixed", "note", message, "save the file in one encoding", {"file": name, "lines": second[:50]}
            )
        ]
    return Decoded("\n".join(found), told)


def _guessed(name: str, encoding: str, example: str, *, lines: int | None = None) -> Finding:
    where = "" if lines is None else f" ({lines:,} {'line' if lines == 1 else 'lines'} beyond ASCII)"
    return Finding(
        "encoding-guessed",
        "warning",
        f'{name} is not UTF-8; it was read as {encoding}{where}: "{example}".',
        f"look at the example; where it is right: data.encoding: {encoding}",
        {"file": name, "encoding": encoding, "example": example},
    )


def _unsure(raw: bytes, name: str, error: UnicodeDecodeError, readings: Sequence[_Reading]) -> DataError:
    usual = sorted(readings, key=lambda each: (not each.plausible, list(_WRITTEN).index(each.encoding)))
    seen = {each.example: each for each in reversed(usual)}
    shown = [f'{each.encoding} reads "{each.example}"' for each in reversed(list(seen.values()))][:SHOWN]
    options = "data.encoding: " + "; ".join(shown) if shown else "data.encoding: cp1252   (older Western files)"
    return DataError(
        f"Byte 0x{raw[error.start]:02x} is not valid utf-8, and which encoding it has cannot be told.",
        where=f"{name} line {raw.count(10, 0, error.start) + 1}",
        hint=f"{options}; or save the file as UTF-8",
    )


def _mixed(
    name: str, valid: Sequence[int], other: Sequence[tuple[int, bytes]], readings: Sequence[_Reading]
) -> DataError:
    best = min((each for each in readings if each.plausible), key=lambda each: each.odd, default=None)
    second = "cp1252" if best is None or best.encoding in _TWO_BYTES else best.encoding
    number, line = other[0]
    example = _example(line.decode(second, "replace"))
    return DataError(
        f"The file mixes encodings: of its lines beyond ASCII {len(valid):,} {'is' if len(valid) == 1 else 'are'} UTF-8, {len(other):,} {'is' if len(other) == 1 else 'are'} not (line {_few([n for n, _ in other])}).",
        where=f"{name} line {number}",
        hint=f'data.encoding: utf-8|{second}   (line by line; this one then reads "{example}"), or save it in one encoding',
    )


def _few(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:SHOWN])) + (", …" if len(numbers) > SHOWN else "")
