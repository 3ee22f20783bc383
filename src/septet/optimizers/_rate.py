"""The learning rate that a method, an optimizer and a model's width ask for: derived here, and compared with in the diagnosis."""

from __future__ import annotations

from typing import Any

from septet import registry
from septet.recipe import Recipe

WIDTH = 768  # at which the methods' own rates were found
MOST = 2.0


def widths(config: dict[str, Any]) -> tuple[int, int]:
    """Return the hidden and the feed-forward width that a model's config names."""
    text = config.get("text_config", config)
    hidden = int(text.get("hidden_size") or text.get("n_embd") or text.get("dim") or WIDTH)
    return hidden, int(text.get("intermediate_size") or text.get("n_inner") or text.get("hidden_dim") or 4 * hidden)


def derived_rate(recipe: Recipe, config: dict[str, Any]) -> tuple[float, str]:
    """Return the peak rate of a recipe that names none, and why: smaller networks bear and need a higher one.

    Args:
        config: of the model that is tuned.
    """
    method, optimizer = (registry.part(kind, getattr(recipe, kind).name) for kind in ("method", "optimizer"))
    hidden, _ = widths(config)
    scale = min(MOST, WIDTH / hidden)
    told = f"{method.why}; hidden size {hidden}: {scale:.2g} x {method.lr:g}"
    if optimizer.lr_scale != 1.0:
        told += f"; {recipe.optimizer.name}: {optimizer.lr_scale:g} x, because {optimizer.why}"
    return float(f"{method.lr * scale * optimizer.lr_scale:.2g}"), told
