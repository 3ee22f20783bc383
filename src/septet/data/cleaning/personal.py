"""Personal data and secrets in texts: where they stand, and the text with `<EMAIL>`, `<PHONE>`, `<CARD>`, `<IBAN>`, `<IP>`, `<KEY>` in their place.

Numbers count only where something proves them: a card number its issuer's length and the Luhn sum, an IBAN its country's length and the
remainder 1 by 97 (ISO 13616), an address that it is a valid one and not this machine's own, a phone number a `+`, a leading 0, a usual
grouping, or a word such as "call" before it. Dates, prices and order numbers are none of these. Names and postal addresses are not looked
for: no pattern finds them. What was found by a more certain kind is not looked at again by a less certain one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator

Span = tuple[int, int]

_EMAIL = re.compile(r"(?<![\w.%+-])\w[\w.%+'-]{0,63}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w@-])")
_CARD = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d|-\w)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION = re.compile(r"(?:\bv|version|release|firmware|build|driver)[\s:]{0,3}$", re.IGNORECASE)

_MANY = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")
_PHONE = re.compile(
    r"(?<![\w+.,:/#$€£¥%=*^-])(?:\+ ?)?\(?\d(?:[ \u00a0\u202f().\u2010-\u2013/-]{0,3}\d){6,15}"
    r"(?![\w%°$€£¥]|[.,:/*^=-]\d|-\w| ?%)"
)
_CUE = re.compile(
    r"\b(?:tel|phone|telephone|mobile|cell|call|called|fax|whatsapp|sms|dial|ring|reach|hotline|contact|telefon|handy|t[ée]l[ée]phone|tel[ée]fono|cellulare)\b"
    r"(?:\W{1,3}(?:me|us|him|her|them|at|on|no|number|nr|is|the|office|line|home|work|back|now|free|or|under)\b){0,4}\W{0,3}$",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}))(?![/.-]?\d{3})")

_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[\w-]{20,64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|sk-[A-Za-z0-9_-]{20,255}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,255}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,64}"
    r"|npm_[A-Za-z0-9]{36}|eyJ[\w-]{8,4096}\.eyJ[\w-]{8,8192}\.[\w-]{8,4096})(?![A-Za-z0-9])"
)
_PREFIXES = (
    *(
        "PRIVATE KEY",
        "AKIA",
        "ASIA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
        "sk-",
        "k_live_",
        "k_test_",
    ),
    *("AIza", "hf_", "npm_", "eyJ"),
)
_NAMED = re.compile(
    r"(?:(?:api[_ -]?key|secret[_ -]?key|access[_ -]?key|client[_ -]?secret|auth[_ -]?token|access[_ -]?token)[\"']?\s{0,3}[:=]\s{0,3}[\"']?|bearer )"
    r"((?=[\w./+~-]{0,255}\d)(?=[\w./+~-]{0,255}[A-Za-z])[\w./+~-]{20,255}={0,2})",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----[A-Za-z0-9+/=\s:,.\\-]{0,20000}?-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----"
    r"|-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{0,20000}"
)

# issuer's first digits, from and to -> lengths of its numbers
_CARDS = (
    ((4, 4), (13, 16, 19)),
    ((51, 55), (16,)),
    ((2221, 2720), (16,)),
    ((34, 34), (15,)),
    ((37, 37), (15,)),
    ((300, 305), (14,)),
    ((36, 36), (14,)),
    ((38, 39), (14,)),
    ((3528, 3589), (16, 17, 18, 19)),
    ((6011, 6011), (16, 19)),
    ((62, 62), (16, 17, 18, 19)),
    ((644, 649), (16, 19)),
    ((65, 65), (16, 19)),
)
_IBANS = {
    code: length
    for length, codes in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV NI",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for code in codes.split()
}


def find(text: str) -> dict[str, list[Span]]:
    """Return where personal data stand, by kind."""
    found: dict[str, list[Span]] = {}
    taken: list[Span] = []
    for kind in _likely(text):
        for start, end in KINDS[kind](text):
            if all(end <= first or start >= last for first, last in taken):
                found.setdefault(kind, []).append((start, end))
                taken.append((start, end))
    return found


def mask(text: str, kinds: Collection[str]) -> tuple[str, list[str]]:
    """Return the text with placeholders for personal data of some kinds, and which of them were there."""
    found = {kind: spans for kind, spans in find(text).items() if kind in kinds}
    if not found:
        return text, []
    parts, done = [], 0
    for start, end, kind in sorted((*span, kind) for kind, spans in found.items() for span in spans):
        parts += [text[done:start], f"<{kind.upper()}>"]
        done = end
    return "".join([*parts, text[done:]]), list(found)


def _likely(text: str) -> list[str]:
    """Return the kinds that a text may hold, the most certain first; quick to tell, since most texts hold none."""
    found = []
    if _may_hold_key(text):
        found.append("key")
    if "@" in text:
        found.append("email")
    if _MANY.search(text) is not None:
        return [*found, "iban", "card", "ip", "phone"]
    return [*found, "ip"] if text.count(".") >= 3 or text.count(":") >= 2 else found


def _may_hold_key(text: str) -> bool:
    if "_" in text or "-" in text or "eyJ" in text or "AKIA" in text or "ASIA" in text or "AIza" in text:
        for prefix in _PREFIXES:
            if prefix in text:
                return True
    if ":" in text or "=" in text or "earer " in text:
        lowered = text.lower()
        return "key" in lowered or "secret" in lowered or "token" in lowered or "bearer" in lowered
    return False


def _keys(text: str) -> Iterator[Span]:
    if "PRIVATE KEY" in text:
        yield from (match.span() for match in _BLOCK.finditer(text))
    yield from (match.span() for match in _PREFIXED.finditer(text) if _mixed(match[0]))
    yield from (match.span(1) for match in _NAMED.finditer(text))


def _mixed(key: str) -> bool:
    """Whether a key holds digits, as one that was drawn at random does; words joined by hyphens do not."""
    return any(character.isdigit() for character in key)


def _emails(text: str) -> Iterator[Span]:
    yield from (match.span() for match in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        length = _IBANS.get(match[0][:2].upper())
        if length is None:
            continue
        taken, end = "", match.start()
        while end < len(text) and len(taken) < length:
            character = text[end]
            if character.isascii() and character.isalnum():
                taken += character
            elif character not in " -" or text[end - 1] in " -":
                break
            end += 1
        after = text[end : end + 1]
        if len(taken) == length and not (after.isascii() and after.isalnum()) and _by_97(taken.upper()):
            yield match.start(), end


def _by_97(iban: str) -> bool:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        issued = any(
            low <= int(digits[: len(str(low))]) <= high and len(digits) in lengths for (low, high), lengths in _CARDS
        )
        if issued and len(set(digits)) > 1 and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [2 * int(digit) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0


def _addresses(text: str) -> Iterator[Span]:
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            if _VERSION.search(text, max(0, match.start() - 12), match.start()) is None and _is_address(match[0]):
                yield match.span()
    if text.count(":") >= 2:
        for match in _IPV6.finditer(text):
            groups = [group for group in match[0].split(":") if group]
            if len(groups) >= 3 and any(map(str.isdigit, match[0])) and _is_address(match[0]):
                yield match.span()


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        if _is_phone(match[0], before=text[max(0, match.start() - 40) : match.start()]):
            yield match.span()


def _is_phone(number: str, *, before: str) -> bool:
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if number[0] == "+":
        return 8 <= len(digits) <= 15 and digits[0] != "0"
    if _DATE.match(number) is not None:
        return False
    if "/" in number and not re.match(r"[(\d)]+ ?/ ?\d{4}", number):  # as in 030/1234567, and in no fraction
        return False
    if digits.startswith("00"):
        return 11 <= len(digits) <= 16 and digits[2] != "0" and len(set(digits)) > 2
    shape = [len(group) for group in groups]
    marked = any(mark in number for mark in "-.()")
    if shape in ([3, 3, 4], [1, 3, 3, 4]) and marked and groups[-3][0] not in "01":
        return True
    if digits[0] == "0" and digits[1] != "0" and 9 <= len(digits) <= 12 and "." not in number:
        return shape[0] >= 2 and (len(groups) <= 6 if len(groups) > 1 else 10 <= len(digits) <= 11)
    return 7 <= len(digits) <= 13 and _CUE.search(before) is not None


KINDS: dict[str, Callable[[str], Iterator[Span]]] = {
    "key": _keys,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "phone": _phones,
}
