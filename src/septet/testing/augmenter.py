"""`check_augmenter`: a variant follows from its generator alone, protected words stay, and a text without words stays as it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from septet import registry
from septet.augmenters import Given, Phrase
from septet.testing.contract import check_file, require

TEXTS = (
    "Please send the refund to my old account, I still wait for it since Monday.",
    "The parcel AB-1234 is late and nobody answers the telephone!",
    "Where is my order? See https://shop.example/orders and write to @shop.",
    "ok",
    "12 + 30 = 42",
    "Ich möchte die Bestellung noch heute ändern, geht das irgendwie?",
)
KEEP = (re.compile("AB-[0-9]+"), re.compile("refund|nobody"))
SEEDS = 25


def check_augmenter(augmenter: str | type, *, options: Given | None = None) -> None:
    """Check an augmenter by its registered name, or the class itself.

    Args:
        options: with the models it needs; its own strength where left out.

    Raises:
        ContractError: it breaks a promise.
    """
    kind: Any = registry.part("augmenter", augmenter) if isinstance(augmenter, str) else augmenter
    if isinstance(augmenter, str):
        check_file(registry.module("augmenter", augmenter))
    require(
        0 < kind.strength <= 1, "strength is a share of the words.", expected="above 0 to 1", received=kind.strength
    )
    require(bool(kind.why.strip()), "The strength has a reason.", expected="one sentence", received=repr(kind.why))
    made = kind(options or Given(kind.strength))
    phrases = [Phrase.of(text, KEEP) for text in TEXTS]
    changed = [0] * len(TEXTS)
    for seed in range(1 if kind.once else SEEDS):
        found = made.augment(phrases, _rngs(seed))
        require(len(found) == len(TEXTS), "Each text has one variant.", expected=len(TEXTS), received=len(found))
        again = made.augment(phrases, _rngs(seed))
        require(found == again, "A variant follows from its generator alone.", expected=found, received=again)
        turned = made.augment(phrases[::-1], _rngs(seed)[::-1])[::-1]
        require(found == turned, "A variant does not depend on the texts beside it.", expected=found, received=turned)
        for place, (phrase, text) in enumerate(zip(phrases, found, strict=True)):
            changed[place] += text != phrase.text
            if not kind.translates:  # what a translator loses is found by the caller
                _check_kept(phrase, text)
    require(sum(changed) > 0, "It changes some text.", expected="a variant", received="the texts themselves")


def _check_kept(phrase: Phrase, text: str) -> None:
    require(phrase.survives(text), "Protected words stay, in their order.", expected=phrase.text, received=text)
    require(bool(text.strip()), "No text becomes empty.", expected=phrase.text, received=repr(text))
    links = re.findall(r"https?://\S+|@\w+", phrase.text)
    require(all(link in text for link in links), "Links and mentions stay.", expected=links, received=text)
    if not phrase.words:
        require(text == phrase.text, "A text without words stays as it is.", expected=phrase.text, received=text)


def _rngs(seed: int) -> list[np.random.Generator]:
    return [np.random.Generator(np.random.PCG64([seed, place])) for place in range(len(TEXTS))]
