"""Batch statistics: what a batch norm knows of the pictures it has seen, frozen while the rest learns.

In training, a batch norm divides by the mean and variance of its micro-batch. Then a row's gradient depends on the rows beside it, no
splitting of a group gives the update of another, and a micro-batch of one row has no variance at all. So the engine keeps these modules in
`eval()`: they divide by the statistics they hold, which are constants of the run, while their scale and shift learn. The statistics
are the checkpoint's, or computed once from training rows before the first update (`recalibrate`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from septet.report import Finding

# rows that statistics are computed of, in batches that depend on nothing but their number
ROWS, AT_ONCE = 1024, 64


def live(model: nn.Module) -> dict[str, _NormBase]:
    """Return the modules, by name, that learn statistics of batches."""
    return {name: m for name, m in model.named_modules() if _is_live(m)}


def freeze(model: nn.Module) -> None:
    """Let no module of a model learn statistics of batches, whatever mode the model is in."""
    for module in live(model).values():
        module.eval()


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the statistics, by the names they have in the model."""
    return {
        f"{name}.{own}": b for name, module in live(model).items() for own, b in module.named_buffers(recurse=False)
    }


def parameters(model: nn.Module) -> set[str]:
    """Return the names of the scales and shifts: they are few, and computed with in fp32 as the statistics are."""
    return {
        f"{name}.{own}" for name, module in live(model).items() for own, _ in module.named_parameters(recurse=False)
    }


def refusal(model: nn.Module) -> Finding | None:
    """Return why a model cannot be trained nor asked: some of its modules hold no statistics, and know only those of a batch."""
    bare = [name for name, module in live(model).items() if module.running_mean is None]
    if not bare:
        return None
    return Finding(
        "statistics-live",
        "blocker",
        f"{len(bare)} batch norms of the model keep no statistics ({', '.join(bare[:3])}): an answer would depend on what is asked beside it.",
        "a checkpoint whose batch norms have running_mean and running_var",
        {"modules": bare},
    )


def told(model: nn.Module, policy: str) -> Finding:
    """Return what becomes of the statistics."""
    count = len(live(model))
    whose = "those of the checkpoint" if policy == "frozen" else "computed once from training rows"
    return Finding(
        "statistics-frozen",
        "note",
        f"The model has {count} batch norms. Their statistics are {whose} and stay as they are in training; scales and shifts learn. "
        "So micro-batches change no update, and no answer depends on what is asked beside it.",
        "train.batch_norm: recalibrated   computes them anew, where your pictures look unlike those of the checkpoint"
        if policy == "frozen"
        else "train.batch_norm: frozen   keeps those of the checkpoint",
        {"modules": count, "policy": policy},
    )


def recalibrate(model: nn.Module, batches: Iterable[dict[str, torch.Tensor]]) -> None:
    """Set the statistics to the mean over batches of inputs; deterministic, and nothing else of the model changes.

    Args:
        batches: inputs of the model, each of two rows at least.
    """
    modules = list(live(model).values())
    before = [(m, m.training) for m in model.modules()]
    momenta = [module.momentum for module in modules]
    model.eval()
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # the plain mean over batches
        module.training = True
    try:
        with torch.no_grad():
            for inputs in batches:
                model(**inputs)
    finally:
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum
        for module, training in before:
            module.training = training


def parts(rows: int) -> list[list[int]]:
    """Return the places of the rows that statistics are computed of, evenly spread, in batches of two at least."""
    count = min(rows, ROWS)
    places = [(2 * i + 1) * rows // (2 * count) for i in range(count)]
    found = [places[start : start + AT_ONCE] for start in range(0, count, AT_ONCE)]
    if len(found) > 1 and len(found[-1]) < 2:
        last = found.pop()
        found[-1] += last
    return [part for part in found if len(part) > 1]


def _is_live(module: Any) -> TypeGuard[_NormBase]:
    return isinstance(module, _BatchNorm) or (isinstance(module, _NormBase) and module.running_mean is not None)
