"""Neighbouring words exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from septet.augmenters import Augmenter, Phrase

if TYPE_CHECKING:
    import numpy as np


class Swap(Augmenter):
    """Pairs of words with nothing but white space between them change places; no word is in two pairs."""

    strength = 0.1
    why = "one word in ten begins a pair, as in Wei & Zou 2019 (EDA), section 3.2"

    def change(self, phrase: Phrase, rng: np.random.Generator) -> str:
        words, text = phrase.words, phrase.text
        pairs = [i for i in range(len(words) - 1) if text[words[i][1] : words[i + 1][0]].isspace()]
        wanted = max(1, round(self.options.strength * len(words)))
        new: dict[tuple[int, int], str] = {}
        for place in rng.permutation(len(pairs)).tolist():
            first, second = words[pairs[place]], words[pairs[place] + 1]
            if len(new) < 2 * wanted and first not in new and second not in new:
                new |= {first: text[slice(*second)], second: text[slice(*first)]}
        return phrase.replaced(new)
