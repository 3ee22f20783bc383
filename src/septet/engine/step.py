"""One update's gradients, and the one division.

A task returns per-example sums and weights for each part of its loss. The loss of a group is
`sum over parts of coefficient * (sum of losses / sum of weights)`, with the weights of the whole group known before the first backward pass; so
a micro-batch of 5 rows weighs 5 rows, however the group is split, also over several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from septet.engine.ranks import here
from septet.engine.timing import Timer
from septet.tasks import Batch


def group_weights(task: Any, batches: Sequence[Batch]) -> dict[str, float]:
    """Return the weight of each part over the whole group, on all ranks."""
    totals: dict[str, float] = dict.fromkeys(task.coefficients, 0.0)
    for batch in batches:
        for part, weights_B in task.weights(batch).items():
            totals[part] += float(weights_B.double().sum())
    return dict(zip(totals, here().sum(list(totals.values())), strict=True))


def backward(
    model: Any,
    task: Any,
    batch: Batch,
    totals: dict[str, float],
    *,
    scale: float = 1.0,
    timer: Timer | None = None,
) -> torch.Tensor:
    """Add a micro-batch's share of the group's gradient and return its share of the group's loss, a float64 scalar.

    Args:
        totals: the group's weights, from `group_weights`; a part without weight adds nothing.
        scale: of the loss in the backward pass, for fp16.
        timer: told when the forward pass runs; the rest counts as what it is at.
    """
    share = torch.zeros((), dtype=torch.float32, device=next(model.parameters()).device)
    with nullcontext() if timer is None else timer("forward"):
        for part, losses_B in task.loss(model, batch).items():
            if totals[part] > 0:
                share = share + task.coefficients[part] * (losses_B.sum() / totals[part])
    if share.requires_grad:
        (share * scale if scale != 1.0 else share).backward()
    return share.detach().double()
