"""Adafactor: AdamW's second average kept as one number a row and a column, and no first; nearly no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.recipe.block import Block, Positive, key

if TYPE_CHECKING:
    from septet.engine.masters import Masters
    from septet.engine.optim import Optimizer

KEPT = ("step", "row_var", "col_var", "variance")


class Options(Block):
    """Adafactor's own numbers, as PyTorch names them."""

    beta2_decay: float = key(
        -0.8, "Exponent of the step in the decay rate of the squares.", why="Adafactor's own", lt=0, example=-0.8
    )
    min_scale: Positive = key(
        1e-3, "Smallest size of a tensor that its update is scaled by.", why="Adafactor's own", example=1e-3
    )
    threshold: float = key(
        1.0, "Largest root mean square of an update before it is scaled.", why="Adafactor's own", ge=1
    )


class Adafactor:
    """PyTorch's Adafactor (Shazeer & Stern 2018): the rate is a share of the size of each tensor."""

    lr_scale = 25.0
    why = "Adafactor multiplies the rate with the size of each tensor, in pre-trained matrices about 1/25"
    by_row = False  # squares are shared by columns, and the size is the whole tensor's
    by_number = False

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> Optimizer:
        import torch

        from septet.engine.optim import Optimizer

        def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
            options = self.options
            return torch.optim.Adafactor(
                params, lr=1.0, beta2_decay=options.beta2_decay, eps=(None, options.min_scale), d=options.threshold
            )

        return Optimizer(masters, groups, make=make, kept=KEPT)
