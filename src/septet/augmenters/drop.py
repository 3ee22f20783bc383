"""Words left out, as in notes and hurried messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from septet.augmenters import Augmenter, Phrase

if TYPE_CHECKING:
    import numpy as np


class Drop(Augmenter):
    """Each drawn word goes with the space behind it, or before it where it is the last; one word at least stays."""

    strength = 0.1
    why = "one word in ten, as in Wei & Zou 2019 (EDA), section 3.2"

    def change(self, phrase: Phrase, rng: np.random.Generator) -> str:
        gone = phrase.drawn(rng, self.options.strength, most=len(phrase.words) - 1)
        return phrase.replaced({self._with_space(phrase, i): "" for i in gone})

    def _with_space(self, phrase: Phrase, place: int) -> tuple[int, int]:
        start, end = phrase.words[place]
        text = phrase.text
        if end < len(text) and text[end].isspace():
            return start, end + 1
        if end == len(text) and start and text[start - 1].isspace():
            return start - 1, end
        return start, end
