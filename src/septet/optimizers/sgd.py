"""SGD: gradients as they are, with momentum; one average for each weight, or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from septet.recipe.block import Block, Problem, Share, key

if TYPE_CHECKING:
    from septet.engine.masters import Masters
    from septet.engine.optim import Optimizer


class Options(Block):
    """Momentum, plain or Nesterov's."""

    momentum: Share = key(
        0.9,
        "Decay rate of the sum of gradients that moves the weights; 0 keeps none, and no state.",
        why="the usual choice",
        example=0.9,
    )
    nesterov: bool = key(False, "Look one step of momentum ahead.", why="plain momentum", example=True)

    def problems(self) -> Iterator[Problem]:
        if self.nesterov and not self.momentum:
            yield Problem("nesterov", "needs momentum, which is 0.", "momentum: 0.9")


class Sgd:
    """PyTorch's fused SGD; weight decay is decoupled here, so that it has a closed form where no gradient comes."""

    lr_scale = 100.0
    why = "SGD does not divide by the gradient's size: rates that move weights as fast are far larger"
    by_row = True
    by_number = True

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def over(self, masters: Masters, groups: list[dict[str, Any]], *, model: Any, by: str) -> Optimizer:
        import torch

        from septet.engine.optim import Optimizer

        def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
            plain = [{**each, "weight_decay": 0.0} for each in params]
            return torch.optim.SGD(
                plain, lr=1.0, momentum=self.options.momentum, nesterov=self.options.nesterov, fused=True
            )

        return Optimizer(masters, groups, make=make, kept=("momentum_buffer",), divides=True, decays=True)
