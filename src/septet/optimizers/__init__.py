"""Optimizers: how gradients move the weights. One file is one optimizer.

An optimizer is a class with the options of its file. `over` returns it at work over fp32 masters (`engine/optim.py`). Weight decay is
`train.weight_decay` and decoupled for all of them; rate, schedule and clipping are the loop's. `derived_rate` is the rate where a recipe names none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from septet.optimizers._rate import derived_rate, widths

if TYPE_CHECKING:
    from septet.engine.masters import Masters
    from septet.engine.optim import Optimizer

__all__ = ["OptimizerPart", "derived_rate", "widths"]


class OptimizerPart(Protocol):
    """The contract of an optimizer.

    Attributes:
        lr_scale: what a method's learning rate, found with AdamW, is multiplied with, where the recipe names none.
        why: the reason for `lr_scale`.
        by_number: whether each number moves by its own gradients alone, so that processes can share a tensor.
        by_row: whether a row of a matrix that gets no gradient changes by weight decay alone, and changes no other row.
    """

    lr_scale: float
    why: str
    by_row: bool
    by_number: bool

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> Optimizer:
        """Return the optimizer at work.

        Args:
            groups: parameter names with their weight decay, from the method.
            model: what is trained, for an optimizer that treats some of its parameters apart.
            by: "torch"; or "compiled" or "kernels", where an update in one pass is wanted and possible in that way.
        """
        ...
