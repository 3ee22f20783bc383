"""Faults planted into a run of `small.py`, by the number of the update, the same whenever that update is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch

from septet.engine import loop, passes
from septet.engine.optim import AdamW
from septet.tasks.classify import Classify


class Updates:
    """Which update is under way, counted from 1; told by the dropout clock, so that a replayed update has its old number."""

    def __init__(self, patch: pytest.MonkeyPatch):
        from septet.engine.dropout import DropoutClock

        real = DropoutClock.set
        self.now = 0

        def told(clock: Any, rows: list[int], epoch: int, device: Any = "cpu", *, step: int = 0) -> None:
            self.now = step + 1
            real(clock, rows, epoch, device, step=step)

        patch.setattr(DropoutClock, "set", told)


def loss(patch: pytest.MonkeyPatch, change: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
    """Change the losses (B,) of training by the number of the update."""
    updates, real = Updates(patch), Classify.loss

    def planted(self: Any, model: Any, batch: Any) -> dict[str, torch.Tensor]:
        losses_B = real(self, model, batch)["label"]
        return {"label": change(updates.now, losses_B) if model.training else losses_B}

    patch.setattr(Classify, "loss", planted)


def gradient(patch: pytest.MonkeyPatch, at: Collection[int], value: float) -> None:
    updates, real = Updates(patch), passes.backward

    def planted(model: Any, *args: Any, **options: Any) -> torch.Tensor:
        found = real(model, *args, **options)
        if updates.now in at:
            for p in model.parameters():
                if p.requires_grad:
                    p.grad = torch.full_like(p, value) if p.grad is None else p.grad.fill_(value)
                    for hook in (getattr(p, "_post_accumulate_grad_hooks", None) or {}).values():
                        hook(p)
        return found

    patch.setattr(passes, "backward", planted)


def batches(patch: pytest.MonkeyPatch, at: Collection[int], change: Callable[[Any], None]) -> None:
    """Change what is collated for an update, before it is looked at."""
    real, now = loop.Examples.group, [0]
    collate = Classify.collate

    def group(self: Any, step: int) -> Any:
        now[0] = step + 1
        return real(self, step)

    def collated(self: Any, *args: Any, **options: Any) -> Any:
        batch = collate(self, *args, **options)
        if now[0] in at:
            change(batch)
        return batch

    patch.setattr(loop.Examples, "group", group)
    patch.setattr(Classify, "collate", collated)


def weights(patch: pytest.MonkeyPatch, at: Collection[int], value: float) -> None:
    """Let the weight of an update's last row be no number."""
    real, now, group = Classify.weights, [0], loop.Examples.group

    def told(self: Any, step: int) -> Any:
        now[0] = step + 1
        return group(self, step)

    def planted(self: Any, batch: Any) -> dict[str, torch.Tensor]:
        weights_B = real(self, batch)["label"].float().clone()
        if now[0] in at:
            weights_B[-1] = value
        return {"label": weights_B}

    patch.setattr(loop.Examples, "group", told)
    patch.setattr(Classify, "weights", planted)


def model_weight(patch: pytest.MonkeyPatch, after: int, value: float) -> None:
    """Let an optimizer's step, the n-th of the process, leave a weight that is no number."""
    real, done = AdamW.step, [0]

    def planted(self: Any, lr: float, factor: float = 1.0) -> None:
        real(self, lr, factor)
        done[0] += 1
        if done[0] == after:
            self.masters.tensors[self.names[-1]].data.view(-1)[0] = value
            self.masters.update_parameters()

    patch.setattr(AdamW, "step", planted)
