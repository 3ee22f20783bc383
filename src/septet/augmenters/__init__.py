"""Augmenters: ways to write a text differently without changing what it says. One file is one augmenter.

An augmenter sees a `Phrase`, a text with the places of the words that may be changed: whole words of letters, no links, mentions, numbers or protected
words among them. It draws from the generator it is given and from nothing else, so that the variant of a row follows from seed, number and row.

`check_augmenter` in `septet.testing` is the contract as code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from septet.progress import Listen, quiet

if TYPE_CHECKING:
    import numpy as np

Span = tuple[int, int]
# a run of letters, apostrophes and hyphens within, that touches no digit
_WORD = re.compile(r"(?<!\w)(?<!\d-)[^\W\d_]+(?:['’\-][^\W\d_]+)*(?!\w)(?!-\d)")
# what is no word of the language: links, addresses, mentions, hash tags, markup
_FOREIGN = re.compile(r"\w+://\S+|www\.\S+|\S+@\S+|[@#]\w+|<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text, and which of its words may be changed.

    Args:
        text: the whole.
        words: the places of these words, from left to right.
        kept: protected places, which hold the same characters afterwards.
    """

    text: str
    words: tuple[Span, ...]
    kept: tuple[Span, ...] = ()

    @classmethod
    def of(cls, text: str, keep: Sequence[re.Pattern[str]] = ()) -> Phrase:
        """Return a text with its words found.

        Args:
            keep: what they match is protected.
        """
        kept = [match.span() for pattern in keep for match in pattern.finditer(text) if match.group()]
        fixed = [*kept, *(match.span() for match in _FOREIGN.finditer(text))]
        words = [match.span() for match in _WORD.finditer(text)]
        free = [span for span in words if not any(a < span[1] and span[0] < b for a, b in fixed)]
        return cls(text, tuple(free), tuple(sorted(kept)))

    def word(self, place: int) -> str:
        start, end = self.words[place]
        return self.text[start:end]

    def drawn(self, rng: np.random.Generator, strength: float, most: int | None = None) -> list[int]:
        """Return the places of the words to change: that share of them, one at least, in their order."""
        count = min(len(self.words), max(1, round(strength * len(self.words))))
        count = count if most is None else min(count, most)
        return sorted(rng.permutation(len(self.words))[:count].tolist())

    def replaced(self, new: Mapping[Span, str]) -> str:
        """Return the text with some stretches written anew, the rest untouched."""
        parts, end = [], 0
        for (start, stop), text in sorted(new.items()):
            parts += [self.text[end:start], text]
            end = stop
        return "".join([*parts, self.text[end:]])

    def survives(self, text: str) -> bool:
        """Return whether every protected stretch is in a text, in the same order."""
        at = 0
        for start, end in self.kept:
            found = text.find(self.text[start:end], at)
            if found < 0:
                return False
            at = found + end - start
        return True


@dataclass(frozen=True, slots=True)
class Given:
    """What an augmenter is told.

    Args:
        strength: share of the words that are changed, above 0 to 1.
        model: the folder of the recipe's model; None where it has none yet.
        translators: two folders of models, there and back.
        device: where models run; the CPU when None.
        listen: told of the progress.
    """

    strength: float
    model: Path | None = None
    translators: tuple[Path, ...] = ()
    device: str | None = None
    listen: Listen = quiet


class Augmenter:
    """What an augmenter derives from; most define `change` alone.

    `strength` is the default share of the words that are changed, and `why` its reason; `reads_model` says that variants depend on the
    recipe's model, `translates` that it needs `data.augment.translators`; `once` that a text has one variant at most.
    """

    strength: ClassVar[float] = 0.1
    why: ClassVar[str] = "one word in ten, and one at least"
    reads_model: ClassVar[bool] = False
    translates: ClassVar[bool] = False
    once: ClassVar[bool] = False

    def __init__(self, options: Given):
        self.options = options

    def augment(self, phrases: Sequence[Phrase], rngs: Sequence[np.random.Generator]) -> list[str]:
        """Return a variant of each text, or the text itself where it has none; each draws from its own generator."""
        return [
            self.change(phrase, rng) if phrase.words else phrase.text for phrase, rng in zip(phrases, rngs, strict=True)
        ]

    def change(self, phrase: Phrase, rng: np.random.Generator) -> str:
        """Return a variant of a text that has words."""
        raise NotImplementedError
