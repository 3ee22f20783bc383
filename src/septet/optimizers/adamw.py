"""AdamW: what pre-trained models were trained with; two fp32 averages for each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.recipe.block import Block, Pair, Positive, Share, key

if TYPE_CHECKING:
    from septet.engine.masters import Masters
    from septet.engine.optim import AdamW


class Options(Block):
    """AdamW's own numbers."""

    betas: Pair[Share] = key(
        (0.9, 0.999), "Decay rates of the averages of gradient and square.", why="AdamW's own", example=[0.9, 0.999]
    )
    eps: Positive = key(1e-8, "Added to the root of the squares.", why="AdamW's own")


class Adamw:
    """Decoupled weight decay (Loshchilov & Hutter 2019), by PyTorch's fused kernel or in one pass of ours."""

    lr_scale = 1.0
    why = "methods name rates for AdamW"
    by_row = True
    by_number = True

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> AdamW:
        from septet.engine.one_pass import OnePassAdamW
        from septet.engine.optim import AdamW

        numbers = {"betas": self.options.betas, "eps": self.options.eps}
        if by == "torch":
            return AdamW(masters, groups, **numbers)
        return OnePassAdamW(masters, groups, **numbers, kernels=by == "kernels")
