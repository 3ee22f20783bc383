"""Activation checkpointing: a layer keeps its input alone, and computes the rest again when its gradient is asked for.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Memory for activations falls from all that every layer leaves behind to one
layer's; the forward pass is done twice. What is dropped is known from the rows (`engine/dropout.py`), so the second pass drops the same, and
the gradient is the same to the last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from septet.engine.dropout import DropoutClock
from septet.report import Finding


def recompute_layers(model: nn.Module, clock: DropoutClock) -> Finding:
    """Let each of a model's repeated layers be computed again in the backward pass, where it learns, and say how many."""
    layers = recomputable(model)
    if not layers:
        return Finding(
            "nothing-recomputed",
            "warning",
            f"train.activation_checkpointing does nothing here: transformers marks no layer of {type(model).__name__} for it.",
            "a smaller train.token_budget",
        )
    layer: Any
    for layer in layers:
        layer.forward = _again(layer, layer.forward, clock)
    return Finding("layers-recomputed", "note", f"Computed again in the backward pass: {len(layers)} layers.")


def recomputable(model: nn.Module) -> list[nn.Module]:
    """Return the layers that transformers marks as ones that can be computed again."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _again(layer: nn.Module, once: Callable[..., Any], clock: DropoutClock) -> Callable[..., Any]:
    """Return a layer's forward pass that is computed again for its gradient."""
    from transformers import Cache

    # a cache of keys would be filled twice; one pass over whole rows needs none
    def without(value: Any) -> Any:
        return None if isinstance(value, Cache) else value

    def forward(*args: Any, **options: Any) -> Any:
        if not (layer.training and is_grad_enabled()):
            return once(*args, **options)
        args = tuple(map(without, args))
        options = {name: without(value) for name, value in options.items()}
        passes = (contextlib.nullcontext(), clock.calling(clock.calls))
        return checkpoint(once, *args, use_reentrant=False, context_fn=lambda: passes, **options)

    return forward
