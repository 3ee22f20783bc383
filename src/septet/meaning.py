"""What texts mean, as the recipe's model has it: vectors of its frozen states, for what compares rows (`data.near.semantic`, `data.doubtful`).

`finder(recipe)` gives the search for rows that say nearly the same; `features_of(recipe)` what embeds texts, and keeps the vectors for the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from septet.data.meaning import near_in_meaning
from septet.data.near import Near
from septet.errors import RecipeError
from septet.progress import Listen, quiet

MAX_LENGTH = 128  # tokens of a text that are embedded, where the recipe says nothing


def finder(recipe: Any, listen: Listen = quiet, *, features: Any = None) -> Callable[[Sequence[str]], Near] | None:
    """Return what finds texts that say nearly the same; None where `data.near.semantic` does not ask for it.

    Args:
        features: anything with `encode(texts, listen) -> (N, H)`; the recipe's model when None.

    Raises:
        RecipeError: the recipe's model cannot embed.
        UsageError: it is not on this machine.
    """
    threshold = recipe.data.near.semantic
    if threshold is None:
        return None
    if features is None:
        if recipe.model.architecture is not None:
            raise RecipeError(
                "data.near.semantic needs a model that has learned to read; model.architecture begins with none.",
                hint="remove data.near.semantic, or prepare with model: starter",
            )
        features = features_of(recipe)
        if features is None:
            raise RecipeError(
                "data.near.semantic needs a model that only reads or only writes.",
                received=recipe.model.name,
                hint="remove data.near.semantic, or prepare with model: starter",
            )

    def find(texts: Sequence[str]) -> Near:
        listen("note", text=f"data: comparing the meaning of {len(texts):,} texts")
        if not texts:
            return near_in_meaning(np.zeros((0, 1)), threshold)
        return near_in_meaning(features.encode(list(texts), listen=listen), threshold)

    return find


def features_of(recipe: Any) -> Any:
    """Return what embeds texts by the recipe's model; None where it is an encoder with a decoder."""
    from septet.engine.device import choose_device
    from septet.model.kept import KeptFeatures
    from septet.model.length import most_tokens
    from septet.model.load import base_folder, check_folder

    folder = base_folder(recipe)
    config = check_folder(folder)
    if config.get("is_encoder_decoder"):
        return None
    length = min(recipe.model.max_length or MAX_LENGTH, most_tokens(config) or MAX_LENGTH)
    return KeptFeatures(folder, max_length=length, device=str(choose_device(recipe.train.device)))
