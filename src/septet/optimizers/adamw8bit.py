"""AdamW with its averages in 8 bits: a quarter of AdamW's memory for state; needs the extra `8bit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.errors import MissingExtraError
from septet.recipe.block import Block, Pair, Positive, Share, key

if TYPE_CHECKING:
    from septet.engine.masters import Masters
    from septet.engine.optim import Optimizer

KEPT = ("step", "state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2", "unorm_vec")


class Options(Block):
    """AdamW's own numbers."""

    betas: Pair[Share] = key(
        (0.9, 0.999), "Decay rates of the averages of gradient and square.", why="AdamW's own", example=[0.9, 0.999]
    )
    eps: Positive = key(1e-8, "Added to the root of the squares.", why="AdamW's own")


class Adamw8bit:
    """bitsandbytes' block-wise 8-bit AdamW (Dettmers et al. 2022); tensors below 4,096 numbers keep fp32 averages."""

    lr_scale = 1.0
    why = "it follows AdamW"
    by_row = True
    by_number = False  # averages share a scale in blocks of 256 numbers

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> Optimizer:
        """Return the optimizer at work.

        Raises:
            MissingExtraError: bitsandbytes is not installed.
        """
        from septet.engine.optim import Optimizer

        try:
            from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError("bitsandbytes", "8bit", "optimizer: adamw8bit") from error
        options = self.options

        def make(params: list[dict[str, Any]]) -> Any:
            return AdamW8bit(params, lr=1.0, betas=options.betas, eps=options.eps)

        return Optimizer(masters, groups, make=make, kept=KEPT, counts=("step",))
