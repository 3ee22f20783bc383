"""The block `data.clean`: what is mended in the texts, and which rows leave the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from septet.recipe.block import Block, Count, Problem, Text, key

Mask = Literal["email", "phone", "card", "iban", "ip", "key"]
# ISO 639 codes that the language model knows; zxx is no language (numbers, markup)
_CODES = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv fy ga gcf gcr gd gl gom grc gu "
    "gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no "
    "nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo "
    "yue zh zu zxx"
)
LANGUAGES = tuple(_CODES.split())


class Clean(Block):
    """What is mended in the text columns, and which rows leave train and validation; all of it is counted in the ledger."""

    repair: bool = key(
        True,
        "Mend text that was read in a wrong encoding (mojibake: cafÃ© for café).",
        why="such text is never meant; what looks whole is not touched",
        change="the texts are about broken encodings",
    )
    html: bool = key(
        False,
        "Take HTML tags, comments, scripts and styles out, and turn entities (&amp;) into characters, in texts that have them.",
        why="tags may be what is learned; the finding html-in-text tells where there are many",
        change="the texts come from web pages or mails",
        example=True,
    )
    boilerplate: Annotated[float, Field(gt=0, lt=1)] | None = key(
        None,
        "Take lines out that stand in more than this share of train's texts of three lines or more: headers, footers, cookie notices.",
        why="a line that returns may carry meaning (a form, a dialogue)",
        change="the texts are pages of one site, or mails with one footer",
        example=0.2,
    )
    unicode: Literal["NFC", "NFKC", "none"] = key(
        "NFC",
        "Unicode normal form.",
        why="one spelling for each accented character, nothing else changes",
        change="full-width or ligature characters should be unified (NFKC)",
    )
    control: bool = key(
        True,
        "Remove control characters.",
        why="they carry no meaning and break tools",
        change="the text is terminal output",
    )
    mask: list[Mask] = key(
        [],
        "Personal data to replace by <EMAIL>, <PHONE>, <CARD> (Luhn-checked), <IBAN> (mod-97-checked), <IP>, <KEY> (keys and tokens of services, private keys), in training and in what is served.",
        why="nothing is replaced unasked; the finding personal-data tells what is there",
        change="people's data must not be learned",
        example=["email", "phone", "card", "iban", "ip", "key"],
    )
    whitespace: bool | None = key(
        None,
        "Collapse runs of white space and strip the ends.",
        why="derived: collapsed where texts are read, kept where text is generated",
        change="layout carries meaning (code, tables)",
        example=False,
    )
    labels: Literal["off", "warn", "merge"] = key(
        "warn",
        "Labels that differ only in case, spaces, hyphens or underscores: warn tells them, merge gives each the spelling that most rows have (one that task.labels lists, where it lists one), off does not look.",
        why="someone who knows the labels should decide",
        change="they are slips of typing (merge), or differ on purpose (off)",
        example="merge",
    )
    language: list[Text] | None = key(
        None,
        "Languages to keep, by ISO 639 code; rows surely in others leave train and validation, never a test that is given. Short and unsure ones stay, and are counted.",
        why="no language is left out; the finding languages-mixed tells where there are several",
        change="the model should learn some languages only",
        example=["en"],
        min_length=1,
    )
    min_length: Count | None = key(
        None,
        "Characters that the texts of a row must have at least; shorter rows leave train and validation, never a test that is given.",
        unit="characters",
        why="a short text may say enough",
        change="stubs carry no meaning",
        example=10,
    )
    max_length: Count | None = key(
        None,
        "Characters that the texts of a row may have at most; longer rows leave train and validation, never a test that is given.",
        unit="characters",
        why="long texts are cut to model.max_length, not dropped",
        change="a few rows are dumps or logs",
        example=20000,
    )

    def problems(self) -> Iterator[Problem]:
        for code in self.language or ():
            if code not in LANGUAGES:
                near = code.lower().replace("_", "-").partition("-")[0]  # EN, en-GB, de_CH
                yield Problem(
                    "clean.language",
                    f"names {code!r}, no language code that is known.",
                    f"language: [{near}]" if near in LANGUAGES else "ISO 639 codes: en, de, fr, es, zh …",
                )
        if self.min_length is not None and self.max_length is not None and self.min_length > self.max_length:
            yield Problem(
                "clean.min_length",
                f"is above clean.max_length ({self.min_length:,} and {self.max_length:,}): no row would be left.",
                "min_length: 10",
            )
        for kind in sorted({kind for kind in self.mask if self.mask.count(kind) > 1}):
            yield Problem("clean.mask", f"names {kind} twice.", "name each kind once")
