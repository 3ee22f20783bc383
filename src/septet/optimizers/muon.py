"""Muon: orthogonalised momentum for the matrices between embedding and head, AdamW for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.recipe.block import Block, Pair, Positive, Share, key

if TYPE_CHECKING:
    from septet.engine import muon
    from septet.engine.masters import Masters


class Options(Block):
    """The numbers of Muon, and of AdamW for what Muon leaves."""

    momentum: Share = key(0.95, "Decay rate of the momentum.", why="Muon's own", example=0.95)
    betas: Pair[Share] = key((0.9, 0.999), "Decay rates of AdamW's averages.", why="AdamW's own", example=[0.9, 0.95])
    eps: Positive = key(1e-8, "AdamW's epsilon.", why="AdamW's own")


class Muon:
    """PyTorch's Muon, scaled so that its updates are as large as AdamW's."""

    lr_scale = 1.0
    why = "its updates are scaled to the size of AdamW's"
    by_row = True  # embeddings are AdamW's
    by_number = False

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> muon.Muon:
        from septet.engine import muon

        options, matrices = self.options, muon.hidden_matrices(model)
        return muon.Muon(
            masters, groups, betas=options.betas, eps=options.eps, matrices=matrices, momentum=options.momentum
        )
