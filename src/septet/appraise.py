"""What a run says of its prepared data beyond what is kept with them: how many tokens its model makes of them.

`appraise(recipe, run, prepared)` gives JSON for the run's `data.json`. It rests on a few thousand rows, and on what is on this machine already: no
model is fetched for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from septet.data.profile import spread
from septet.data.store import Prepared
from septet.recipe import Recipe

TOKENIZED = 2000  # rows of a split; a histogram of more looks the same


def tokens(recipe: Recipe, prepared: Prepared, known: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Return how many tokens rows of train and validation have; None where the model's tokenizer is not at hand.

    Args:
        known: what was said before, used again where it is of the same rows and model.
    """
    from septet.model import tokens as counting

    folder = counting.local_folder(recipe)
    if folder is None:
        return None
    whose, limit = "model.max_length", recipe.model.max_length
    if limit is None:
        whose, limit = "what the model reads", counting.limit_of(folder)
    about = {"model": recipe.model.title, "whose": whose, "limit": limit, "hash": prepared.manifest["hash"]}
    if known is not None and {name: known.get(name) for name in about} == about:
        return known
    splits = [split for split in ("train", "validation") if split in prepared.splits]
    texts = prepared.schema.texts + (() if prepared.schema.classes else (prepared.schema.label,))
    found = {}
    for split in splits:
        rows = prepared.drawn(split, TOKENIZED)
        found[split] = counting.count_tokens(folder, [tuple(row[name] or "" for name in texts if name) for row in rows])
    return {
        **about,
        "rows": {split: len(counts) for split, counts in found.items()},
        "of": {split: prepared.splits[split]["rows"] for split in splits},
        "over": {split: int((counts > (limit or np.inf)).sum()) for split, counts in found.items()},
        "splits": {split: spread(counts) for split, counts in found.items()},
    }
