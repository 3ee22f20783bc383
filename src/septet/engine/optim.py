"""The optimizer over fp32 masters: whatever dtype the model computes in, updates are exact in fp32.

`Optimizer` puts any optimizer of PyTorch's interface over the masters; `AdamW` is the one that `engine/muon.py` and `engine/one_pass.py` build on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from septet.engine.masters import Masters
from septet.errors import RunError

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class Optimizer:
    """An optimizer of PyTorch's interface over the masters.

    Args:
        masters: the tensors to update.
        groups: parameter names with their weight decay, from the method.
        make: returns the inner optimizer over groups of masters.
        kept: what the inner one keeps for a tensor, by its own names.
        divides: the inner one's kernel divides gradients by `grad_scale` as it reads them, which saves clipping a pass over memory.
        decays: weight decay is applied here, before the update, because the inner one's is not decoupled.
        counts: what of `kept` the inner one wants as a Python number.

    Attributes:
        by: what computes the pass over masters: torch, compiled or kernels.
    """

    by = "torch"

    def __init__(
        self,
        masters: Masters,
        groups: list[dict[str, Any]],
        *,
        make: Make,
        kept: tuple[str, ...],
        divides: bool = False,
        decays: bool = False,
        counts: tuple[str, ...] = (),
    ):
        self.masters = masters
        self.groups = groups
        self.names = [name for group in groups for name in group["names"]]
        self.inners: list[torch.optim.Optimizer] = []
        self.kept, self.counts = kept, counts
        self.divides, self.decays = divides, decays
        if tensors := self._of(groups):
            self.inners.append(make(tensors))

    def gradient_norm(self) -> torch.Tensor:
        """Return the 2-norm of all gradients together, a scalar."""
        grads = [t.grad.reshape(-1) for t in self._tensors() if t.grad is not None]
        if grads[0].device.type != "cpu":
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        else:  # products take half the time of norms on a CPU
            norm = torch.stack([torch.dot(grad, grad) for grad in grads]).sum().sqrt()
        return self.masters.norm_of_all(norm)

    def step(self, lr: float, factor: float = 1.0) -> None:
        """Update masters and parameters with `factor` times the gradients that are there, then drop the gradients."""
        # `full` writes it there; a copy from the host would wait for a GPU
        divisor = None if factor == 1.0 else torch.full((), 1.0 / factor, device=next(self._tensors()).device)
        if self.decays:
            self._decay(lr)
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
        """Return what is kept for each tensor by `<what>.<parameter name>`."""
        found = {}
        for name in self.names:
            master = self.masters.tensors[name]
            for what, value in self._inner_of(master).state[master].items():
                if what in self._kept_of(master) and value is not None:
                    found[f"{what}.{name}"] = torch.as_tensor(value)
        return found

    def load_state(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Take the values that `state` gave; nothing saved means before the first step.

        Raises:
            RunError: another optimizer saved them.
        """
        self._refuse_others(saved)
        for name in self.names:
            master = self.masters.tensors[name]
            state: dict[str, Any] = {
                what: self.masters.own(saved, f"{what}.{name}", name).to(master.device)
                for what in self._kept_of(master)
                if f"{what}.{name}" in saved
            }
            state |= {what: int(state[what]) for what in self.counts if what in state}
            if state:
                self._inner_of(master).state[master] = state
            else:
                self._inner_of(master).state.pop(master, None)

    def _refuse_others(self, saved: Mapping[str, torch.Tensor]) -> None:
        mine = {f"{what}.{name}" for name in self.names for what in self._kept_of(self.masters.tensors[name])}
        if foreign := sorted(set(saved) - mine):
            raise RunError(
                "The checkpoint holds the state of another optimizer.",
                where=foreign[0],
                hint="resume with the optimizer of the run's recipe.yaml, or begin anew in another folder: --run DIR",
            )

    def _tensors(self) -> Iterator[torch.Tensor]:
        return (self.masters.tensors[name] for name in self.names)

    def _of(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the groups as PyTorch's optimizers take them, without empty ones."""
        return [
            {"params": [self.masters.tensors[n] for n in g["names"]], "weight_decay": g["weight_decay"]}
            for g in groups
            if g["names"]
        ]

    def _inner_of(self, _master: torch.Tensor) -> torch.optim.Optimizer:
        return self.inners[0]

    def _kept_of(self, _master: torch.Tensor) -> tuple[str, ...]:
        return self.kept

    def _decay(self, lr: float) -> None:
        with torch.no_grad():
            for group in self.groups:
                tensors = [self.masters.tensors[n] for n in group["names"]]
                learning = [t.data for t in tensors if t.grad is not None]
                if group["weight_decay"] and learning:
                    torch._foreach_mul_(learning, 1.0 - lr * group["weight_decay"])

    def _scale(self, inner: torch.optim.Optimizer, factor: float, divisor: torch.Tensor | None) -> None:
        """Let the next step of an inner optimizer see scaled gradients."""
        if self.divides:
            setattr(inner, "grad_scale", divisor)  # noqa: B010  (an attribute that the fused step reads, declared nowhere)
        elif factor != 1.0:
            grads = [p.grad for group in inner.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(grads, factor)


class AdamW(Optimizer):
    """Decoupled weight decay (Loshchilov & Hutter 2019) over the masters, by PyTorch's fused kernel.

    Args:
        masters: the tensors to update.
        groups: parameter names with their weight decay, from the method.
        betas, eps: of Adam.
    """

    def __init__(self, masters: Masters, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float):
        def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return torch.optim.AdamW(params, lr=1.0, betas=betas, eps=eps, fused=True)

        super().__init__(masters, groups, make=make, kept=("step", "exp_avg", "exp_avg_sq"), divides=True)
