"""The training loop as a generator: it yields after each update, when the state is consistent.

Logging, validation, saving and stopping live in the caller, in plain Python (`septet/train.py`); the caller owns the
`TrainState`. A loss or gradient that is not a number stops the loop before the optimiser sees it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from septet.engine import schedule
from septet.engine.dropout import DropoutClock
from septet.engine.mixture import again
from septet.engine.optim import AdamW
from septet.engine.plan import Planner
from septet.engine.state import TrainState
from septet.engine.step import backward, group_weights
from septet.engine.timing import Timer
from septet.engine.unpad import Unpadder
from septet.errors import SeptetError
from septet.model.sizes import width
from septet.tasks import Batch, Example

GROW_AFTER = 2000


class TrainingError(SeptetError):
    """Training cannot go on: the loss or the gradient is not a number."""


@dataclass(frozen=True, slots=True)
class Step:
    """One update, as `steps.jsonl` records it; `seconds` is its wall time."""

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    rows: int
    tokens: int
    seconds: float
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """How the learning rate and the gradient's size are ruled over a run."""

    lr: float
    kind: str
    warmup: int
    total: int
    clip: float | None

    def at(self, step: int) -> float:
        return self.lr * schedule.factor(self.kind, step, self.total, self.warmup)


class Source(Protocol):
    """Yields what an update sees: its epoch and its micro-batches."""

    def group(self, step: int) -> tuple[int, list[Batch]]: ...


class Examples:
    """A source from encoded examples and a planner.

    Args:
        unpadder: takes the padding out; without one, rows are padded to few widths (`model/sizes.py`).
        longest: tokens that no row is padded beyond; None pads to the longest of a micro-batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        planner: Planner,
        task: Any,
        processor: Any,
        device: torch.device,
        unpadder: Unpadder | None = None,
        longest: int | None = None,
    ):
        self.examples = examples
        self.planner = planner
        self.task = task
        self.processor = processor
        self.device = device
        self.unpadder = unpadder
        self.longest = longest

    def group(self, step: int) -> tuple[int, list[Batch]]:
        epoch, draws = self.planner.group(step)
        return epoch, [self._batch(micro, epoch) for micro in self.planner.micro_batches(draws)]

    def _batch(self, micro: np.ndarray, epoch: int) -> Batch:
        times, places = np.divmod(micro, len(self.examples))
        rows = [self.examples[i].row for i in places]
        # what an epoch shows again is dropped and hidden in another way, as in another epoch
        chosen = [
            self.examples[i] if time == 0 else replace(self.examples[i], row=again(row, int(time)))
            for i, row, time in zip(places, rows, times, strict=True)
        ]
        if self.task.draws:
            chosen = [self.task.draw(e, self._rng(epoch, e.row), self.processor) for e in chosen]
        batch = self.task.collate(chosen, self.processor, self.planner.length or self._width(chosen))
        batch.meta = [{"size": e.size, "row": row} for e, row in zip(chosen, rows, strict=True)]
        batch.inputs = {key: value.to(self.device) for key, value in batch.inputs.items()}
        return batch if self.unpadder is None else self.unpadder(batch)

    def _width(self, chosen: Sequence[Example]) -> int | None:
        sizes = [len(e.inputs.get("input_ids", ())) for e in chosen]
        return None if self.unpadder is not None or not all(sizes) else width(max(sizes), self.longest)

    def _rng(self, epoch: int, row: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.planner.seed, epoch, row & 0xFFFFFFFFFFFFFFFF]))


def train_steps(
    model: Any,
    task: Any,
    optimizer: AdamW,
    source: Source,
    state: TrainState,
    *,
    rates: Rates,
    clock: DropoutClock,
    scaled: bool = False,
    timer: Timer | None = None,
) -> Iterator[Step]:
    """Yield one `Step` for each update from `state.step` to `rates.total`.

    Args:
        model: in its compute dtype, frozen parts in eval(); put into train() again at each re-entry.
        task: gives weights and losses.
        optimizer: over the masters.
        source: of groups.
        state: advanced in place before each yield.
        rates: learning rate, schedule and clipping.
        clock: of the dropout.
        scaled: whether fp16's dynamic loss scaling is on.
        timer: told of the parts of each step.

    Raises:
        TrainingError: the loss or the gradient norm is not finite (in fp16: of the loss).
    """
    modes = learn_modes(model)
    timer = timer or Timer()
    while state.step < rates.total:
        began = time.perf_counter()
        for module, learns in modes:
            module.training = learns
        with timer("data"):
            epoch, batches = source.group(state.step)
            totals = group_weights(task, batches)
        scale = state.loss_scale if scaled else 1.0
        loss = torch.zeros((), dtype=torch.float64)
        lr = rates.at(state.step)
        try:
            for batch in batches:
                clock.set(batch.rows, epoch, next(iter(batch.inputs.values())).device, step=state.step)
                with clock.layout(batch.layout), timer("backward"):
                    loss += backward(model, task, batch, totals, scale=scale, timer=timer).cpu()
            value = float(loss)
            if not math.isfinite(value):
                raise _not_a_number("loss", state.step, batches)
            with timer("optimizer"):
                norm = float(optimizer.gradient_norm()) / scale
                skipped = _update(optimizer, state, rates, lr, norm, scale, scaled, batches)
        except BaseException:
            optimizer.zero()  # a later run over the same objects must not begin with half a gradient
            raise
        seconds = time.perf_counter() - began
        rows, tokens = _advance(state, batches, seconds)
        yield Step(state.step, epoch, value, lr, norm, rows, tokens, seconds, skipped)


def _advance(state: TrainState, batches: list[Batch], seconds: float) -> tuple[int, int]:
    """Count an update that is done; return its rows and its tokens."""
    rows = sum(len(batch) for batch in batches)
    tokens = sum(meta["size"] for batch in batches for meta in batch.meta)
    state.step += 1
    state.rows += rows
    state.tokens += tokens
    state.seconds += seconds
    return rows, tokens


def learn_modes(model: Any) -> list[tuple[Any, bool]]:
    """Return every module and whether it is to be in train(): what is frozen must not drop anything, nor what lies within it."""
    modes = dict.fromkeys(model.modules(), True)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            modes.update(dict.fromkeys(module.modules(), False))
    return list(modes.items())


def _update(
    optimizer: AdamW,
    state: TrainState,
    rates: Rates,
    lr: float,
    norm: float,
    scale: float,
    scaled: bool,
    batches: list[Batch],
) -> bool:
    """Clip and apply the gradients; return whether fp16 overflow made it skip them."""
    if not math.isfinite(norm):
        if not scaled:
            raise _not_a_number("gradient", state.step, batches)
        optimizer.zero()
        state.loss_scale = max(1.0, state.loss_scale / 2)
        state.good_steps = 0
        state.skipped += 1
        return True
    factor = 1.0 if rates.clip is None else min(1.0, rates.clip / (norm + 1e-6))
    optimizer.step(lr, factor / scale)
    if scaled:
        state.good_steps += 1
        if state.good_steps >= GROW_AFTER:
            state.loss_scale *= 2
            state.good_steps = 0
    return False


def _not_a_number(what: str, step: int, batches: list[Batch]) -> TrainingError:
    rows = [meta["row"] for batch in batches for meta in batch.meta][:8]
    return TrainingError(
        f"The {what} is not a finite number at step {step + 1}; no weight was changed by it.",
        where=f"rows {', '.join(f'{row & 0xFFFFFFFFFFFFFFFF:016x}' for row in rows)}{' …' if len(rows) == 8 else ''}",
        hint="a lower train.lr, train.precision=fp32, or look at these rows",
    )
