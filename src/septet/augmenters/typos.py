"""Slips of the keyboard: a letter left out, doubled, exchanged with the next, or hit beside its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from septet.augmenters import Augmenter, Phrase

if TYPE_CHECKING:
    import numpy as np

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHORTEST = 3  # letters; a slip in a shorter word makes another word


def _beside() -> dict[str, str]:
    """Return each letter's neighbours on the keyboard."""
    place = {letter: (x + 0.5 * y, y) for y, row in enumerate(ROWS) for x, letter in enumerate(row)}
    return {
        letter: "".join(k for k, (x, y) in place.items() if k != letter and abs(x - at) <= 1 and abs(y - row) <= 1)
        for letter, (at, row) in place.items()
    }


BESIDE = _beside()


class Typos(Augmenter):
    """Each drawn word gets one slip; its first letter stays."""

    strength = 0.1
    why = "one word in ten has a slip, about what hurried messages hold"

    def change(self, phrase: Phrase, rng: np.random.Generator) -> str:
        long = [i for i in range(len(phrase.words)) if len(phrase.word(i)) >= SHORTEST]
        if not long:
            return phrase.text
        some = Phrase(phrase.text, tuple(phrase.words[i] for i in long), phrase.kept)
        return some.replaced({some.words[i]: slip(some.word(i), rng) for i in some.drawn(rng, self.options.strength)})


def slip(word: str, rng: np.random.Generator) -> str:
    """Return a word of two letters or more with one slip behind its first letter."""
    at = int(rng.integers(1, len(word)))
    letter = word[at]
    kind = int(rng.integers(4))
    if kind == 0 and at + 1 < len(word) and word[at + 1] != letter:
        return word[:at] + word[at + 1] + letter + word[at + 2 :]
    if kind == 1 and letter.lower() in BESIDE:
        beside = BESIDE[letter.lower()]
        hit = beside[int(rng.integers(len(beside)))]
        return word[:at] + (hit.upper() if letter.isupper() else hit) + word[at + 1 :]
    if kind == 2:
        return word[:at] + letter + word[at:]
    return word[:at] + word[at + 1 :]
