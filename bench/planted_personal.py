"""Personal data, secrets, and numbers that only look so, planted into texts. Made by their own rules here; no pattern of the search is used.

Each format of a kind is drawn as often as the others. Some are known to be missed (`(bare)`, `(written out)`): they are counted, so that the table says so.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

Draw = random.Random

# words before what is planted; none of them is a cue for a phone number
BEFORE = ("it is", "see", "as in", "with", "I wrote", "the one is", "try", "then", "like")
IBANS = {"DE": 18, "GB": 0, "FR": 23, "NL": 0, "ES": 20, "PL": 24}
CUES = ("call me on", "phone:", "tel.", "mobile", "whatsapp me at")


@dataclass(frozen=True, slots=True)
class Planted:
    """What was put into a text: its kind (None for what only looks personal), the format it is written in, and where it stands."""

    kind: str | None
    form: str
    start: int
    end: int


def digits(draw: Draw, count: int, *, first: str = "123456789") -> str:
    return draw.choice(first) + "".join(draw.choices(string.digits, k=count - 1))


def word(draw: Draw, low: int = 4, high: int = 9) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(low, high)))


def token(draw: Draw, count: int, letters: str = string.ascii_letters + string.digits) -> str:
    """Return characters of a key, at least one of them a digit."""
    made = draw.choices(letters, k=count)
    made[draw.randrange(count)] = draw.choice("23456789")
    return "".join(made)


def grouped(text: str, sizes: tuple[int, ...], mark: str = " ") -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return mark.join([*parts, *([text[at:]] if text[at:] else [])])


def card(draw: Draw, prefix: str, length: int, *, right: bool = True) -> str:
    """Return a number whose Luhn sum is right, or wrong by one."""
    body = prefix + "".join(draw.choices(string.digits, k=length - len(prefix) - 1))
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str((-total + (0 if right else 1)) % 10)


def iban(draw: Draw, *, right: bool = True) -> str:
    """Return an IBAN whose check digits are right, or wrong by one."""
    country = draw.choice(list(IBANS))
    if country in ("GB", "NL"):
        bank = "".join(draw.choices(string.ascii_uppercase, k=4))
        body = bank + "".join(draw.choices(string.digits, k=14 if country == "GB" else 10))
    else:
        body = "".join(draw.choices(string.digits, k=IBANS[country]))
    spelled = "".join(str(ord(c) - 55) if c.isalpha() else c for c in f"{body}{country}00")
    check = 98 - int(spelled) % 97
    if not right:
        check = check + 1 if check < 98 else 2
    return f"{country}{check:02d}{body}"


def octets(draw: Draw) -> str:
    return ".".join([str(draw.randint(11, 223)), *(str(draw.randint(0, 255)) for _ in range(3))]).replace(
        "127.", "128.", 1
    )


def line(draw: Draw) -> str:
    return f"{draw.randint(200, 989)}-{draw.randint(200, 999)}-{digits(draw, 4, first='0123456789')}"


PERSONAL: dict[str, dict[str, Callable[[Draw], str]]] = {
    "email": {
        "plain": lambda d: f"{word(d)}@{word(d)}.com",
        "dots, plus": lambda d: f"{word(d)}.{word(d)}+{word(d)}@{word(d)}.co.uk",
        "digits, signs": lambda d: f"{word(d)}_{d.randint(1, 99)}-{word(d)}@mail.{word(d)}.org",
        "letters with marks": lambda d: f"{word(d)}ü@{word(d)}ä.de",
        "in brackets": lambda d: f"<{word(d)}@{word(d)}.net>",
        "in capitals": lambda d: f"{word(d)}@{word(d)}.com".upper(),
        "(written out)": lambda d: f"{word(d)} at {word(d)} dot com",
    },
    "phone": {
        "+1": lambda d: f"+1 {line(d)}",
        "US, brackets": lambda d: f"({d.randint(201, 989)}) {line(d)[4:]}",
        "US, hyphens": line,
        "US, dots": lambda d: line(d).replace("-", "."),
        "+44": lambda d: f"+44 20 {digits(d, 4)} {digits(d, 4)}",
        "UK mobile": lambda d: f"07{digits(d, 3)} {digits(d, 6)}",
        "UK, one word": lambda d: f"07{digits(d, 9)}",
        "+49": lambda d: f"+49 (0)30 {digits(d, 7)}",
        "DE, slash": lambda d: f"030/{digits(d, 7)}",
        "0049": lambda d: f"0049 30 {digits(d, 7)}",
        "FR": lambda d: " ".join([f"0{d.randint(1, 7)}", *(digits(d, 2) for _ in range(4))]),
        "+91": lambda d: f"+91 9{digits(d, 4)} {digits(d, 5)}",
        "after a cue": lambda d: f"{d.choice(CUES)} {digits(d, d.randint(7, 10))}",
        "(bare)": lambda d: digits(d, 10, first="23456789"),
    },
    "card": {
        "Visa, spaces": lambda d: grouped(card(d, "4", 16), (4, 4, 4)),
        "Mastercard, hyphens": lambda d: grouped(card(d, f"5{d.randint(1, 5)}", 16), (4, 4, 4), "-"),
        "Mastercard 2": lambda d: card(d, str(d.randint(2221, 2720)), 16),
        "Amex": lambda d: grouped(card(d, d.choice(("34", "37")), 15), (4, 6)),
        "Discover": lambda d: card(d, "6011", 16),
        "Diners": lambda d: card(d, "36", 14),
    },
    "iban": {
        "in fours": lambda d: grouped(iban(d), (4,) * 8).strip(),
        "one word": iban,
        "small letters": lambda d: iban(d).lower(),
    },
    "ip": {
        "v4": octets,
        "v4, port": lambda d: f"{octets(d)}:{d.randint(1024, 65535)}",
        "v6": lambda d: ":".join(f"{d.randint(0x1000, 0xFFFF):x}" for _ in range(8)),
        "v6, short": lambda d: f"2001:db8::{d.randint(0x10, 0xFFFF):x}:{d.randint(0x1000, 0x9FFF):x}",
    },
    "key": {
        "AWS": lambda d: "AK" + "IA" + token(d, 16, string.ascii_uppercase + string.digits),
        "GitHub": lambda d: "gh" + "p_" + token(d, 36),
        "GitHub, fine": lambda d: "github" + "_pat_" + token(d, 50),
        "Slack": lambda d: "xo" + f"xb-{digits(d, 11)}-{digits(d, 11)}-{token(d, 24)}",
        "OpenAI": lambda d: "s" + f"k-proj-{token(d, 40)}",
        "Stripe": lambda d: "sk" + f"_live_{token(d, 24)}",
        "Google": lambda d: "AI" + f"za{token(d, 35)}",
        "JWT": lambda d: "ey" + f"J{token(d, 30)}.eyJ{token(d, 40)}.{token(d, 43)}",
        "named": lambda d: f"api_key={token(d, 32)}",
        "private key": lambda d: (
            "-----BEGIN " + f"PRIVATE KEY-----\n{token(d, 64)}\n{token(d, 30)}==\n-----END " + "PRIVATE KEY-----"
        ),
        "(bare)": lambda d: token(d, 32),
    },
}
# what stands around a value and is no part of it
LEAD = {"in brackets": "<", "named": "api_key="}
TAIL = {"in brackets": ">"}

DECOYS: dict[str, Callable[[Draw], str]] = {
    "date": lambda d: f"{d.randint(1950, 2026)}-{d.randint(1, 12):02d}-{d.randint(1, 28):02d}",
    "date, dots": lambda d: f"{d.randint(1, 28):02d}.{d.randint(1, 12):02d}.{d.randint(1950, 2026)}",
    "date and time": lambda d: (
        f"{d.randint(1, 12)}/{d.randint(1, 28)}/{d.randint(2000, 2026)} {d.randint(10, 23)}:{d.randint(10, 59)}:{d.randint(10, 59)}"
    ),
    "price": lambda d: f"${d.randint(1, 999)},{d.randint(100, 999)},{d.randint(100, 999)}.{d.randint(10, 99)}",
    "large number": lambda d: f"{d.randint(1, 9)} {d.randint(100, 999)} {d.randint(100, 999)} {d.randint(100, 999)}",
    "decimal": lambda d: f"0.{digits(d, 9)}",
    "order number": lambda d: f"order {digits(d, 10)}",
    "card, wrong sum": lambda d: grouped(card(d, "4", 16, right=False), (4, 4, 4)),
    "IBAN, wrong sum": lambda d: grouped(iban(d, right=False), (4,) * 8).strip(),
    "version": lambda d: f"version {d.randint(1, 9)}.{d.randint(0, 20)}.{d.randint(0, 99)}.{d.randint(0, 99)}",
    "ISBN": lambda d: f"978-{d.randint(0, 9)}-{digits(d, 2)}-{digits(d, 6)}-{d.randint(0, 9)}",
    "UUID": lambda d: "-".join("".join(d.choices("0123456789abcdef", k=k)) for k in (8, 4, 4, 4, 12)),
    "years": lambda d: (
        f"{d.randint(1900, 1950)}-{d.randint(1951, 1999)}, {d.randint(2000, 2010)}-{d.randint(2011, 2026)}"
    ),
    "handle": lambda d: f"@{word(d)}{d.randint(1, 99)}",
    "sum of hexadecimals": lambda d: "".join(d.choices("0123456789abcdef", k=40)),
    "hyphened words": lambda d: "-".join(["sk", word(d), word(d), word(d), word(d)]),
    "score": lambda d: (
        f"{d.randint(0, 9)}-{d.randint(0, 9)}, {d.randint(0, 9)}-{d.randint(0, 9)} and {d.randint(10, 99)}-{d.randint(10, 99)}"
    ),
}


def plant(texts: list[str], seed: int, *, each: int, decoys: int) -> list[tuple[str, Planted]]:
    """Return texts with one thing planted in each: `each` of every format, `decoys` of everything that only looks personal."""
    draw = random.Random(seed)
    wanted = [
        (kind, form, make) for kind, forms in PERSONAL.items() for form, make in forms.items() for _ in range(each)
    ]
    wanted += [(None, form, make) for form, make in DECOYS.items() for _ in range(decoys)]
    draw.shuffle(wanted)
    found = []
    for place, (kind, form, make) in enumerate(wanted):
        value = make(draw)
        words = texts[place % len(texts)].split()
        at = draw.randint(0, len(words))
        # a value in the midst of a text, so that what comes before and after is a word like any other
        head = " ".join([*words[:at], draw.choice(BEFORE), ""])
        start, end = len(head) + len(LEAD.get(form, "")), len(head) + len(value) - len(TAIL.get(form, ""))
        if form == "after a cue":
            start = head.__len__() + value.rindex(" ") + 1
        if form == "v4, port":
            end = len(head) + value.rindex(":")
        found.append((f"{head}{value} {' '.join(words[at:])}".rstrip(), Planted(kind, form, start, end)))
    return found
