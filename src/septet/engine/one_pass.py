"""AdamW in one pass over memory, by our own kernel or compiled, for models that compute in bf16 or fp16 on a CPU.

PyTorch's fused kernel wants gradients in fp32 and leaves rounding to others, so an update goes four times through memory: gradients are copied to
fp32, their norm is taken, masters and moments move, parameters are rounded from them. Here gradients stay as the backward pass left them, as
long as one micro-batch made them, and one compiled loop reads them, moves masters and moments and writes the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from septet.engine import native
from septet.engine.compiled import or_plain
from septet.engine.masters import Masters
from septet.engine.optim import AdamW
from septet.engine.ranks import here


class OnePassAdamW(AdamW):
    """What `AdamW` computes, to the rounding of fp32; its state is the same, so either goes on where the other stopped.

    Args:
        masters: none of them its own parameter.
        groups: parameter names with their weight decay, from the method.
        betas, eps: of Adam.
        kernels: by our own (`engine/native`), where a tensor lies in one piece; else by torch.compile.
    """

    def __init__(
        self,
        masters: Masters,
        groups: list[dict[str, Any]],
        *,
        betas: tuple[float, float],
        eps: float,
        kernels: bool = False,
    ):
        super().__init__(masters, groups, betas=betas, eps=eps)
        masters.holds = True
        self.by = "kernels" if kernels else "compiled"
        self.betas, self.eps = betas, eps
        decays = [(name, group["weight_decay"]) for group in groups for name in group["names"]]
        # the first call decides whether a compiled loop uses more than one core: the largest comes first
        self._decays = dict(sorted(decays, key=lambda pair: -masters.tensors[pair[0]].numel()))
        # what one process computed otherwise, its masters would keep
        must = here().world > 1
        self._move: Callable[..., None] = _native_move if kernels else or_plain(_move, "The optimizer", must=must)
        self._square_sum: Callable[..., torch.Tensor] = (
            _native_square_sum if kernels else or_plain(_square_sum, "The gradient's norm", must=must)
        )

    def gradient_norm(self) -> torch.Tensor:
        """Return the 2-norm of all gradients together, a scalar."""
        grads = [self.masters.gradient(name) for name in self._decays]
        with torch.no_grad():
            return torch.stack([self._square_sum(*_flat(g)) for g in grads if g is not None]).sum().sqrt()

    def step(self, lr: float, factor: float = 1.0) -> None:
        """Update masters and parameters with `factor` times the gradients that are there, then drop the gradients."""
        numbers: dict[tuple[float, float], torch.Tensor] = {}
        with torch.no_grad():
            for name, decay in self._decays.items():
                if name in self.masters.used_rows:
                    self.masters.decay_unused(name, 1.0 - lr * decay)
                grad = self.masters.gradient(name)
                if grad is None:
                    continue
                master = self.masters.tensors[name]
                state = self._state_of(master)
                state["step"] += 1
                at = float(state["step"])
                if (decay, at) not in numbers:
                    numbers[decay, at] = self._numbers(lr, decay, at, factor)
                with self.masters.written(name) as rounded:
                    moved = (master, state["exp_avg"], state["exp_avg_sq"], grad, rounded)
                    self._move(*_flat(*moved), numbers[decay, at])
        self.zero()

    def _state_of(self, master: torch.Tensor) -> dict[str, torch.Tensor]:
        state = self._inner_of(master).state[master]
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(master)}
            state["exp_avg_sq"] = torch.zeros_like(master)
        return state

    def _numbers(self, lr: float, decay: float, at: float, factor: float) -> torch.Tensor:
        """Return what `_move` multiplies with, as a tensor, because it would be compiled anew for other numbers."""
        one, two = self.betas
        rate = lr / (1.0 - one**at)
        return torch.tensor(
            [factor, 1.0 - one, two, 1.0 - two, (1.0 - two**at) ** -0.5, self.eps, 1.0 - lr * decay, rate]
        )


def _flat(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return tensors of one shape with one axis, so that what is compiled once serves them all; strided ones as they are."""
    # `data`, because a view would be compiled anew for each rank of what it views
    return tuple(x.view(-1).data for x in tensors) if all(x.is_contiguous() for x in tensors) else tensors


def _move(
    master: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    grad: torch.Tensor,
    rounded: torch.Tensor,
    numbers: torch.Tensor,
) -> None:
    factor, new, two, new_square, corrected, eps, kept, rate = numbers.unbind()
    grad = grad.float() * factor
    mean.add_((grad - mean) * new)
    square.mul_(two).add_(grad * grad * new_square)
    master.mul_(kept).sub_(rate * mean / (square.sqrt() * corrected + eps))
    rounded.copy_(master)


def _native_move(*moved: torch.Tensor) -> None:
    """What `_move` does, which says what it takes."""
    master, mean, square, grad, rounded, numbers = moved
    moved_are_wide = master.dtype == mean.dtype == square.dtype == torch.float32
    if _in_one_piece(*moved[:-1]) and moved_are_wide and rounded.dtype == torch.bfloat16:
        native.call("septet_adamw", *moved, master.numel(), grad.dtype == torch.float32)
    else:
        _move(master, mean, square, grad, rounded, numbers)


def _native_square_sum(grad: torch.Tensor) -> torch.Tensor:
    if not _in_one_piece(grad):
        return _square_sum(grad)
    return torch.tensor(native.call("septet_square_sum", grad, grad.numel(), grad.dtype == torch.float32))


def _in_one_piece(*tensors: torch.Tensor) -> bool:
    return all(x.is_contiguous() and x.dtype in (torch.float32, torch.bfloat16) for x in tensors)


def _square_sum(grad: torch.Tensor) -> torch.Tensor:
    return grad.float().square().sum()
