"""What of a model starts from random values, as a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.report import Finding

if TYPE_CHECKING:
    from septet.model.load import Loaded
    from septet.recipe import Recipe


def some_new(loaded: Loaded) -> Finding:
    """Return which tensors the checkpoint does not hold."""
    names = loaded.fresh
    return Finding(
        "tensors-new",
        "note",
        f"{len(names)} tensors are not in the checkpoint and start from random values: {', '.join(names)}."
        if names
        else "Every tensor comes from the checkpoint.",
        "expected for the head; nothing else may be new",
        {"fresh": names, "unused": loaded.unused},
    )


def new_everywhere(recipe: Recipe, model: Any) -> Finding:
    """Return that all weights are new, and what a method keeps of them."""
    numbers = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    told = f"All weights are new: {recipe.model.architecture} with {numbers:,} parameters, drawn from train.seed={recipe.train.seed}."
    if not frozen:
        return Finding("tensors-new", "note", told, "a checkpoint in model.name knows something already")
    return Finding(
        "tensors-new",
        "warning",
        f"{told} Method {recipe.method.name} keeps {frozen / numbers:.0%} of them as they were drawn.",
        "method: full",
        {"frozen": frozen},
    )
