"""An exact short cut: where the head reads one position only, the last layer need not compute the others.

A BERT- or RoBERTa-like classifier takes its answer from the first token. In its last layer every token is still needed as key and value, but the
output projection and the feed-forward block, five sixths of the layer, only at that first token. `first_token_only` cuts the input of the
last layer's output projection to it; gradients are the same, as nothing else ever reads the other positions. It is kept only
if a probe gives the same logits with and without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from septet.engine.dropout import AttentionSite, DropoutClock

TOLERANCE = 1e-5


class FirstTokenOnly:
    """The short cut on one model; `off` suspends it for a pass that wants every token."""

    def __init__(self, projection: nn.Module, clock: DropoutClock, site: AttentionSite | None = None):
        self.on = True
        self.clock = clock
        self._handle = projection.register_forward_pre_hook(self._cut)
        self._site = site
        self._tell()

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        before, self.on = self.on, False
        self._tell()
        try:
            yield
        finally:
            self.on = before
            self._tell()

    def remove(self) -> None:
        self._handle.remove()
        self.on = False
        self._tell()

    def _tell(self) -> None:
        if self._site is not None:
            self._site.first_only = self.on

    def _cut(self, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if not self.on:
            return None
        layout = self.clock.unpadded
        cut = (lambda x: x[:, :1]) if layout is None else (lambda x: x[0, layout.firsts_B][:, None])
        return tuple(cut(x) if isinstance(x, torch.Tensor) else x for x in args)


def first_token_only(model: Any, clock: DropoutClock, vocabulary: int) -> FirstTokenOnly | None:
    """Install the short cut and return it, or None where the model has not the shape or the probe differs.

    Args:
        model: a sequence classifier, before or after a method is attached.
        clock: of its dropout; knows whether rows are laid end to end.
        vocabulary: token ids of the probe are drawn below this.
    """
    found = _last_projection(model)
    if found is None:
        return None
    projection, site = found
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    vocabulary = min(vocabulary, getattr(model.get_input_embeddings(), "num_embeddings", vocabulary))
    ids_BT = torch.arange(2 * 12, device=device).view(2, 12) * 37 % max(2, vocabulary - 1) + 1
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 7:] = 0
    shortcut = FirstTokenOnly(projection, clock, site)
    try:
        with torch.inference_mode():
            cut = model(input_ids=ids_BT, attention_mask=mask_BT).logits.float()
            with shortcut.off():
                whole = model(input_ids=ids_BT, attention_mask=mask_BT).logits.float()
        same = cut.shape == whole.shape and bool(torch.allclose(cut, whole, atol=_tolerance(model), rtol=0))
    except Exception:  # whatever a model says that hands other things to that module
        same = False
    finally:
        model.train(was_training)
    if not same:
        shortcut.remove()
        return None
    return shortcut


def _last_projection(model: Any) -> tuple[nn.Module, AttentionSite | None] | None:
    """Return the module of the last layer that takes (attention output, residual), as BERT and its kin are built, and its attention's site."""
    found = [
        (name, m)
        for name, m in model.named_modules()
        if name.endswith("attention.output") and hasattr(m, "LayerNorm") and hasattr(m, "dense")
    ]
    if not found:
        return None
    name, projection = found[-1]
    attention = getattr(model.get_submodule(name.rpartition(".")[0]), "self", None)
    return projection, getattr(attention, "_septet_site", None)


def _tolerance(model: Any) -> float:
    return TOLERANCE if next(model.parameters()).dtype == torch.float32 else 3e-2
