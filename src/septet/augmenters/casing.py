"""Words in other letters: small, capital, or with a capital first letter. Nothing changes for models that read all letters as small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from septet.augmenters import Augmenter, Phrase

if TYPE_CHECKING:
    import numpy as np


class Casing(Augmenter):
    """Each drawn word is written in small letters, in capitals, or with a capital first letter."""

    strength = 0.3
    why = "a word in three; the words themselves stay"

    def change(self, phrase: Phrase, rng: np.random.Generator) -> str:
        return phrase.replaced(
            {phrase.words[i]: self._other(phrase.word(i), rng) for i in phrase.drawn(rng, self.options.strength)}
        )

    def _other(self, word: str, rng: np.random.Generator) -> str:
        forms = [form for form in dict.fromkeys([word.lower(), word.upper(), word.capitalize()]) if form != word]
        return forms[int(rng.integers(len(forms)))] if forms else word
