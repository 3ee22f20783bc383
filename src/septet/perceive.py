"""What setting up a model that reads pictures or recordings needs besides: whether it takes them, and what becomes of its batch norms and of the silence it hears."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from septet.data.store import Prepared, fingerprint
from septet.engine import statistics
from septet.errors import ModelError, RecipeError
from septet.inputs.arrays import FILE
from septet.inputs.audio import LOOKED_AT, TOKEN_S, Audio, own_seconds
from septet.inputs.image import Image
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.tasks import Example


def processor_of(recipe: Recipe, prepared: Prepared, architecture: str) -> Path:
    """Return the folder of a new model's image processor or feature extractor, made once."""
    if prepared.schema.media == "picture":
        side = getattr(recipe.task, "size", None)
        folder = prepared.path / f"pixels-{side}"
        if not (folder / FILE).is_file():
            Image(side).make(folder)
        return folder
    seconds, config = _seconds(recipe, prepared)[0], recipe.model.config or {}
    folder = prepared.path / f"sound-{fingerprint('sound', architecture, seconds, config)}"
    if not (folder / FILE).is_file():
        (column,) = prepared.schema.texts
        some = [row[column] for row in prepared.drawn("train", LOOKED_AT)]
        Audio(seconds).make(folder, architecture, config, some)
    return folder


def timed(recipe: Recipe, prepared: Prepared, folder: Path) -> Recipe:
    """Return the recipe with the seconds that a recording is cut or filled to."""
    if prepared.schema.media != "recording":
        return recipe
    own = None if recipe.model.architecture else own_seconds(str(folder))
    told = _seconds(recipe, prepared) if own is None else (own, "what the model's folder says")
    return recipe.filled({"task.seconds": told})


def _seconds(recipe: Recipe, prepared: Prepared) -> tuple[float, str]:
    """Return the recipe's seconds, or those that the lengths of the training recordings say, and why."""
    given = getattr(recipe.task, "seconds", None)
    if given is not None:
        return given, "given"
    sizes = prepared.manifest["profile"]["train"]["recordings"]["sizes"]["milliseconds"]
    most, p99 = sizes["max"], sizes["p99"]
    wanted = most if most <= 2 * p99 else p99
    told = f"the longest training recording has {most / 1000:g} s, 99 % have at most {p99 / 1000:.3g} s"
    return min(600.0, max(0.1, math.ceil(wanted / 100) / 10)), told


def cut(rows: int, lost: int, count: int, recipe: Recipe) -> list[Finding]:
    """Return how many recordings of train are cut, and by how much; pictures never are.

    Args:
        rows: recordings that are cut.
        lost: the pieces of 20 ms that they lose together.
        count: recordings of train.
    """
    if not rows:
        return []
    share = rows / count
    return [
        Finding(
            "recordings-cut",
            "warning" if share > 0.01 else "note",
            f"{rows:,} of {count:,} training recordings ({share:.1%}) are longer than task.seconds={getattr(recipe.task, 'seconds', None):g}; their ends are cut, {lost * TOKEN_S:,.1f} s together.",
            "raise task.seconds if the ends matter, where the model's folder does not fix it; or cut long recordings into several rows",
            {"rows": rows, "seconds": round(lost * TOKEN_S, 2)},
        )
    ]


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
    why = "a new model has seen nothing yet" if new else "the checkpoint's were computed of far more rows"
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


def flops_per_token(model: Any, task: Any, train: Sequence[Example], processor: Any) -> float:
    """Return the operations that a patch of a picture, or 20 ms of a recording, cost in training, counted in a forward pass: a convolution costs by places."""
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


def told(task: Any, model: Any, processor: Any) -> list[Finding]:
    """Return what is to be told of a model that hears: what of its training draws from a global stream, and whether it hears the silence that fills a recording."""
    if task.schema.media != "recording":
        return []
    found = []
    if hasattr(model.config, "apply_spec_augment"):
        found.append(
            Finding(
                "masking-off",
                "note",
                "Stretches of sound are not masked and layers not skipped in training (SpecAugment, layer drop): both draw from a global stream, which a resume cannot repeat.",
                "nothing; model.dropout still drops by row",
            )
        )
    if processor.hears_silence:
        call = ", ".join(f"{name}={value!r}" for name, value in processor.filled.items())
        found.append(
            Finding(
                "silence-heard",
                "note",
                f"The model takes no mask, so it hears the silence that fills a recording to {processor.seconds:g} s. Elsewhere it must be filled alike: feature_extractor(samples, {call}).",
                "septet predict does so; transformers' pipeline does not",
                {"seconds": processor.seconds},
            )
        )
    return found


def check_takes(model: Any, inputs: dict[str, torch.Tensor], folder: Path, task: Any) -> None:
    """Refuse a model that does not take pictures or recordings as its processor makes them."""
    try:
        with torch.inference_mode():
            model(**inputs)
    except Exception as error:  # each architecture says it in its own way
        size = " x ".join(str(side) for side in next(iter(inputs.values())).shape[1:])
        hears = task.schema.media == "recording"
        raise ModelError(
            f"The model does not take {task.schema.thing}s of {size}: {' '.join(str(error).split())[:200]}",
            where=str(folder),
            hint=f"task.{'seconds: the length' if hears else 'size: the side'} that the model was made for",
        ) from error
