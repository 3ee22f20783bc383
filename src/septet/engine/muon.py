"""Muon: orthogonalised momentum for the matrices between embedding and head, AdamW for everything else.

Each step moves a matrix by its momentum made orthogonal, which strengthens the directions that gradients seldom take; language models from
scratch are reported to need fewer tokens for the same loss. PyTorch's own Muon computes it, with updates as large as AdamW's, so rates
mean the same for both. Sources: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from septet.engine.masters import Masters
from septet.engine.optim import AdamW


class Muon(AdamW):
    """Muon over the masters of hidden matrices, AdamW over the others.

    Args:
        masters: the tensors to update.
        groups: parameter names with their weight decay, from the method.
        betas, eps: of AdamW.
        matrices: names of the parameters that Muon updates, from `hidden_matrices`.
        momentum: of Muon.
    """

    def __init__(
        self,
        masters: Masters,
        groups: list[dict[str, Any]],
        *,
        betas: tuple[float, float],
        eps: float,
        matrices: set[str],
        momentum: float = 0.95,
    ):
        others = [{**g, "names": [n for n in g["names"] if n not in matrices]} for g in groups]
        super().__init__(masters, others, betas=betas, eps=eps)
        self.groups = groups
        self.names = [name for group in groups for name in group["names"]]
        self._matrices = {id(masters.tensors[n]) for n in self.names if n in matrices}
        chosen = self._of([{**g, "names": [n for n in g["names"] if n in matrices]} for g in groups])
        if chosen:
            self.inners.append(torch.optim.Muon(chosen, lr=1.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"))

    def _inner_of(self, master: torch.Tensor) -> torch.optim.Optimizer:
        return self.inners[-1] if id(master) in self._matrices else self.inners[0]

    def _kept_of(self, master: torch.Tensor) -> tuple[str, ...]:
        return ("momentum_buffer",) if id(master) in self._matrices else self.kept

    def _scale(self, inner: torch.optim.Optimizer, factor: float, divisor: torch.Tensor | None) -> None:
        self.divides = not isinstance(inner, torch.optim.Muon)
        super()._scale(inner, factor, divisor)


def hidden_matrices(model: Any) -> set[str]:
    """Return the names of the matrices between embedding and head: 2-D, of no embedding, and not the output's."""
    head = model.get_output_embeddings()
    apart = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    if head is not None:
        apart.add(id(head.weight))
    return {name for name, p in model.named_parameters() if p.dim() == 2 and id(p) not in apart}
