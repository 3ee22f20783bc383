"""The optimiser over fp32 masters: exact AdamW, whatever dtype the model computes in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from septet.engine.masters import Masters


class AdamW:
    """Decoupled weight decay (Loshchilov & Hutter 2019) over the masters, by PyTorch's fused kernel.

    Args:
        masters: the tensors to update.
        groups: parameter names with their weight decay, from the method.
        betas, eps: of Adam.
    """

    def __init__(self, masters: Masters, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float):
        self.masters = masters
        self.groups = groups
        self.names = [name for group in groups for name in group["names"]]
        self.inners: list[torch.optim.Optimizer] = []
        if tensors := self._of(groups):
            self.inners.append(torch.optim.AdamW(tensors, lr=1.0, betas=betas, eps=eps, fused=True))

    def gradient_norm(self) -> torch.Tensor:
        """Return the 2-norm of all gradients together, a scalar."""
        grads = [t.grad.reshape(-1) for t in self._tensors() if t.grad is not None]
        if grads[0].device.type != "cpu":
            return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        # products take half the time of norms on a CPU
        return torch.stack([torch.dot(grad, grad) for grad in grads]).sum().sqrt()

    def step(self, lr: float, factor: float = 1.0) -> None:
        """Update masters and parameters with `factor` times the gradients that are there, then drop the gradients."""
        # the fused kernel divides each gradient as it reads it, which saves clipping a pass over memory
        divisor = None if factor == 1.0 else torch.tensor(1.0 / factor, device=next(self._tensors()).device)
        for inner in self.inners:
            for group in inner.param_groups:
                group["lr"] = lr
            self._scale(inner, factor, divisor)
            inner.step()
        for group in self.groups:
            for name in group["names"]:
                if name in self.masters.used_rows:
                    self.masters.decay_unused(name, 1.0 - lr * group["weight_decay"])
        self.zero()
        self.masters.update_parameters()

    def zero(self) -> None:
        self.masters.drop_gradients()

    def state(self) -> dict[str, torch.Tensor]:
        """Return the moments and step counts by `<what>.<parameter name>`."""
        found = {}
        for name in self.names:
            master = self.masters.tensors[name]
            for what, value in self._inner_of(master).state[master].items():
                found[f"{what}.{name}"] = value
        return found

    def load_state(self, saved: dict[str, torch.Tensor]) -> None:
        """Take the values that `state` gave; nothing saved means before the first step."""
        for name in self.names:
            master = self.masters.tensors[name]
            state = {
                what: saved[f"{what}.{name}"].to(master.device)
                for what in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                if f"{what}.{name}" in saved
            }
            if state:
                self._inner_of(master).state[master] = state
            else:
                self._inner_of(master).state.pop(master, None)

    def _tensors(self) -> Iterator[torch.Tensor]:
        return (self.masters.tensors[name] for name in self.names)

    def _of(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups as PyTorch's optimisers take them, without empty ones."""
        return [
            {"params": [self.masters.tensors[n] for n in g["names"]], "weight_decay": g["weight_decay"]}
            for g in groups
            if g["names"]
        ]

    def _inner_of(self, _master: torch.Tensor) -> torch.optim.Optimizer:
        return self.inners[0]

    def _scale(self, inner: torch.optim.Optimizer, _factor: float, divisor: torch.Tensor | None) -> None:
        """Let the next step of an inner optimiser see scaled gradients."""
        setattr(inner, "grad_scale", divisor)  # noqa: B010  (an attribute that the fused step reads, declared nowhere)
