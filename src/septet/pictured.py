"""What setting up a model that reads pictures needs besides: whether it takes them, and what becomes of its batch norms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from septet.engine import statistics
from septet.errors import ModelError, RecipeError
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.tasks import Example


def settle_statistics(
    recipe: Recipe, model: Any, task: Any, train: Sequence[Example], processor: Any
) -> tuple[Recipe, list[Finding]]:
    """Decide what becomes of the statistics of batch norms, compute them anew where that is asked for, and tell.

    Raises:
        RecipeError: the recipe says what becomes of them, and the model has none.
        CheckError: there are some without statistics, or adapters that would be stored without them.
    """
    wanted = recipe.train.batch_norm
    if not statistics.live(model):
        if wanted is not None:
            raise RecipeError(
                "train.batch_norm would be ignored: the model has no batch norm.", received=wanted, hint="remove it"
            )
        return recipe, []
    found = Report()
    found.add(statistics.refusal(model))
    found.stop_on_blockers()
    new = recipe.model.architecture is not None
    why = "a new model has seen no picture" if new else "the checkpoint's were computed of far more pictures"
    recipe = recipe.filled({"train.batch_norm": ("recalibrated" if new else "frozen", why)})
    policy = str(recipe.train.batch_norm)
    if policy == "recalibrated":
        if hasattr(model, "peft_config"):
            found.add(
                Finding(
                    "statistics-apart",
                    "blocker",
                    "Adapters alone would be stored without the statistics of batch norms that were computed anew.",
                    "train.batch_norm: frozen, or method: layers",
                )
            )
            found.stop_on_blockers()
        device = next(model.parameters()).device
        parts = statistics.parts(len(train))
        batches = (_moved(task.collate([train[i] for i in part], processor).inputs, device) for part in parts)
        statistics.recalibrate(model, batches)
    return recipe, [statistics.told(model, policy)]


def asked(task: Any, train: Sequence[Example], processor: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the inputs of two rows, to ask a model with that reads no tokens."""
    return _moved(task.collate([train[0], train[-1]], processor).inputs, device)


def _moved(inputs: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in inputs.items()}


def flops_per_patch(model: Any, task: Any, train: Sequence[Example], processor: Any) -> float:
    """Return the operations that a patch of a picture costs in training, counted in a forward pass: a convolution costs by places."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    batch = task.collate(train[:1], processor)
    batch.inputs = _moved(batch.inputs, device)
    counter = FlopCounterMode(display=False)
    was_training = model.training
    model.eval()
    with torch.no_grad(), counter:
        task.loss(model, batch)
    model.train(was_training)
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # as `flops_per_token` counts: twice as much again for what learns
    return counter.get_total_flops() / train[0].size * (1 + 2 * learns / sum(p.numel() for p in model.parameters()))


def check_takes(model: Any, inputs: dict[str, torch.Tensor], folder: Path) -> None:
    """Refuse a model that does not take pictures as its processor makes them."""
    try:
        with torch.inference_mode():
            model(**inputs)
    except Exception as error:  # each architecture says it in its own way
        size = " x ".join(str(side) for side in next(iter(inputs.values())).shape[1:])
        raise ModelError(
            f"The model does not take pictures of {size}: {' '.join(str(error).split())[:200]}",
            where=str(folder),
            hint="task.size: the side that the model was made for",
        ) from error
