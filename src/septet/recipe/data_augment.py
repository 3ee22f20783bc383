"""The block `data.augment`: variants of training rows, made once, of which every epoch shows others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from septet import registry
from septet.recipe.block import Block, Count, Problem, Text, Whole, key

Strength = Annotated[float, Field(gt=0, le=1)]
BACK = "back_translation"
# of English: a negation that is left out or exchanged turns a sentence into its opposite
NEGATIONS = r"(?i)\b(?:no|not|nor|never|none|nothing|nobody|nowhere|neither|without|hardly|cannot|\w+n['’]t)\b"


class Augment(Block):
    """Variants of the rows of train: how they are made, and how often an epoch shows one instead of its row."""

    augmenters: (
        Annotated[list[Text], Field(min_length=1)] | Annotated[dict[Text, Strength], Field(min_length=1)] | None
    ) = key(
        None,
        "How variants are made (`septet list augmenters`): names, or names with the share of the words that each changes. A row's variants take them in turn.",
        why="nothing is augmented",
        change="rows are few (below a thousand or so) and their texts are written by people in a hurry",
        example=["typos", "synonyms"],
    )
    copies: Count = key(
        4,
        "Variants of each row.",
        unit="variants",
        why="as many as an ordinary run has epochs; more cost their making alone",
        change="epochs are many (more), or variants take long to make (fewer)",
    )
    share: Annotated[float, Field(gt=0, le=1)] = key(
        0.5,
        "Share of the rows that an epoch shows as a variant, drawn anew for each row and epoch.",
        why="half of what is learned from stays as people wrote it",
        change="the check finds that variants change labels (less)",
    )
    keep: list[Text] = key(
        [NEGATIONS],
        "Regular expressions of what no variant may change: names, codes, terms.",
        why="English negations: without one a sentence says the opposite",
        change="labels hang on certain words; or texts are in another language, whose negations belong here",
        example=["[A-Z]{2}-[0-9]+"],
    )
    translators: Annotated[list[Text], Field(min_length=2, max_length=2)] | None = key(
        None,
        "Two models with encoder and decoder for back_translation: into another language, and back.",
        why="back_translation is not used",
        example=["models/en-de", "models/de-en"],
    )
    check: bool = key(
        True,
        "Let models that have not learned from a row say whether its variants still have its label.",
        why="a variant with a wrong label teaches what is wrong; some 4,000 texts are embedded once",
        change="the model is too large to embed texts with",
    )
    seed: Whole = key(42, "Seed of the variants.", why="fixed, so that the same ones are made again")

    @property
    def on(self) -> bool:
        """Whether anything is augmented."""
        return self.augmenters is not None

    @property
    def names(self) -> list[str]:
        return list(self.augmenters or [])

    def strength(self, name: str, usual: float) -> float:
        """Return the share of the words that an augmenter changes."""
        return self.augmenters[name] if isinstance(self.augmenters, dict) else usual

    def problems(self) -> Iterator[Problem]:
        if not self.on:
            usual = Augment()
            for name in type(self).model_fields:
                if getattr(self, name) != getattr(usual, name):
                    yield Problem(f"augment.{name}", "would be ignored: nothing is augmented.", "augmenters: [typos]")
            return
        known = registry.names("augmenter")
        for name in self.names:
            if name not in known:
                hint = registry.suggest(name, known) or "septet list augmenters"
                yield Problem("augment.augmenters", f"names {name!r}, which is no augmenter.", hint)
        for twice in sorted({name for name in self.names if self.names.count(name) > 1}):
            yield Problem("augment.augmenters", f"names {twice!r} twice.", "name each one once")
        if BACK in self.names and self.translators is None:
            yield Problem("augment.translators", f"is missing: {BACK} needs two models.", "translators: [THERE, BACK]")
        if BACK not in self.names and self.translators is not None:
            yield Problem("augment.translators", "would be ignored.", f"augmenters: [{BACK}]")
        for pattern in self.keep:
            try:
                re.compile(pattern)
            except re.error as error:
                yield Problem(
                    "augment.keep", f"holds {pattern!r}, which is no regular expression: {error}.", "keep: ['[A-Z]+']"
                )
