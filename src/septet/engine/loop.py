"""The training loop as a generator: it yields after each update, when the state is consistent.

Logging, validation, saving and stopping live in the caller, in plain Python (`septet/train.py`); the caller owns the
`TrainState`. A loss or gradient that is not a number never reaches the optimizer (`guard.py`). Where memory runs out in a forward or
backward pass, the same group is computed again in smaller micro-batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from septet.engine import schedule, statistics
from septet.engine.dropout import DropoutClock
from septet.engine.guard import Fault, Guard, unfit
from septet.engine.mixture import again
from septet.engine.optim import Optimizer
from septet.engine.passes import Passes, Source, real
from septet.engine.plan import Planner
from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.engine.timing import Timer
from septet.engine.unpad import Unpadder, onto
from septet.errors import out_of_memory
from septet.model.sizes import width
from septet.recipe.train import Guarding
from septet.tasks import Batch, Example

GROW_AFTER = 2000


@dataclass(frozen=True, slots=True)
class Step:
    """One update, as `steps.jsonl` records it.

    Args:
        loss, grad_norm: None where they are no numbers, or were not computed.
        seconds: its wall time.
        skipped: whether it was left out.
        reason: why the guard left it out; None where fp16 overflowed.
        faulty: ids of the rows that the reason names.
    """

    step: int
    epoch: int
    loss: float | None
    lr: float
    grad_norm: float | None
    rows: int
    tokens: int
    seconds: float
    skipped: bool = False
    reason: str | None = None
    faulty: list[int] = field(default_factory=list)


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


class States(Protocol):
    """What the frozen part of a model gave each example."""

    def beside(self, inputs: dict[str, torch.Tensor], places: np.ndarray) -> dict[str, torch.Tensor]: ...


class Examples:
    """A source from encoded examples and a planner.

    Args:
        unpadder: takes the padding out; without one, rows are padded to few widths (`model/sizes.py`).
        longest: tokens that no row is padded beyond; None pads to the longest of a micro-batch.
        states: gives the rows of a batch what the frozen part of the model gave them (`engine/frozen.py`).
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
        states: States | None = None,
    ):
        self.examples = examples
        self.planner = planner
        self.task = task
        self.processor = processor
        self.device = device
        self.unpadder = unpadder
        self.longest = longest
        self.states = states

    def group(self, step: int) -> tuple[int, list[Batch]]:
        epoch, draws = self.planner.group(step)
        return epoch, [
            self.batch(micro, epoch) if len(micro) else replace(self.batch(draws[:1], epoch), fills=True)
            for micro in self.planner.micro_batches(draws)
        ]

    def limit(self, micro_batch: int, token_budget: int) -> None:
        self.planner = replace(self.planner, micro_batch=micro_batch, token_budget=token_budget)

    def batch(self, micro: np.ndarray, epoch: int = 0) -> Batch:
        """Return a micro-batch of an epoch's draws."""
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
        for place, name in unfit(batch).items():  # here, because looking at a device would wait for it
            batch.meta[place]["unfit"] = name
        # states and layout are found out on the host: a GPU would be waited for
        if self.states is not None:
            batch.inputs = self.states.beside(batch.inputs, places)
        return onto(batch if self.unpadder is None else self.unpadder(batch), self.device)

    def _width(self, chosen: Sequence[Example]) -> int | None:
        sizes = [len(e.inputs.get("input_ids", ())) for e in chosen]
        return None if self.unpadder is not None or not all(sizes) else width(max(sizes), self.longest)

    def _rng(self, epoch: int, row: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.planner.seed, epoch, row & 0xFFFFFFFFFFFFFFFF]))


def train_steps(
    model: Any,
    task: Any,
    optimizer: Optimizer,
    source: Source,
    state: TrainState,
    *,
    rates: Rates,
    clock: DropoutClock,
    guard: Guard | None = None,
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
        guard: judges each update before it is made, over the same state; None stops at what is not finite.
        scaled: whether fp16's dynamic loss scaling is on.
        timer: told of the parts of each step.

    Raises:
        TrainingError: the guard stops at this update.
        GoBack: the guard wants the caller to go on from an earlier checkpoint, with a new generator.
        ResourceError: there is no memory for a micro-batch of one row.
    """
    guard = guard or Guard(Guarding(), state)
    timer = timer or Timer()
    passes = Passes(model, task, optimizer, source, state, clock, guard, timer)
    modes = learn_modes(model)
    if state.watch.micro_batch is not None and state.watch.token_budget is not None:
        source.limit(state.watch.micro_batch, state.watch.token_budget)
    while state.step < rates.total:
        began = time.perf_counter()
        for module, learns in modes:
            module.training = learns
        with timer("data"):
            epoch, batches = source.group(state.step)
        lr = rates.at(state.step) * state.watch.lr_scale
        made = _Made()
        try:
            batches, made.loss = passes.run(epoch, batches, state.loss_scale if scaled else 1.0)
            with timer("optimizer"):
                _update(optimizer, state, rates, lr, made, guard, scaled, batches)
        except Fault as fault:
            optimizer.zero()
            guard.judge(fault)
            made.skipped, made.fault, batches = True, fault, real(batches)
        except BaseException:
            optimizer.zero()  # a later run over the same objects must not begin with half a gradient
            raise
        seconds = time.perf_counter() - began
        rows, tokens = _advance(state, batches, seconds)
        yield made.step(state.step, epoch, lr, rows, tokens, seconds)


def _advance(state: TrainState, batches: list[Batch], seconds: float) -> tuple[int, int]:
    """Count an update that is done; return its rows and its tokens, those of all ranks."""
    rows = sum(len(batch) for batch in batches)
    tokens = sum(meta["size"] for batch in batches for meta in batch.meta)
    rows, tokens = map(int, here().sum([rows, tokens]))
    state.step += 1
    state.rows += rows
    state.tokens += tokens
    state.seconds += seconds
    return rows, tokens


def learn_modes(model: Any) -> list[tuple[Any, bool]]:
    """Return every module and whether it is to be in train(): what is frozen must not drop anything, nor what lies within it; no statistics move."""
    modes = dict.fromkeys(model.modules(), True)
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            modes.update(dict.fromkeys(module.modules(), False))
    modes.update(dict.fromkeys(statistics.live(model).values(), False))
    return list(modes.items())


@dataclass(slots=True)
class _Made:
    """What has become of an update so far."""

    loss: float | None = None
    norm: float | None = None
    skipped: bool = False
    fault: Fault | None = None

    def step(self, step: int, epoch: int, lr: float, rows: int, tokens: int, seconds: float) -> Step:
        fault = self.fault
        return Step(
            step,
            epoch,
            self.loss,
            lr,
            self.norm,
            rows,
            tokens,
            seconds,
            self.skipped,
            None if fault is None else fault.what,
            [] if fault is None else fault.rows,
        )


def _update(
    optimizer: Optimizer,
    state: TrainState,
    rates: Rates,
    lr: float,
    made: _Made,
    guard: Guard,
    scaled: bool,
    batches: list[Batch],
) -> None:
    """Clip and apply the gradients, unless fp16 overflowed or the guard finds fault with them."""
    scale = state.loss_scale if scaled else 1.0
    norm = float(optimizer.gradient_norm()) / scale
    if scaled and not math.isfinite(norm):
        optimizer.zero()
        state.loss_scale = max(1.0, state.loss_scale / 2)
        state.good_steps = 0
        state.skipped += 1
        made.skipped = True
        return
    guard.see_norm(norm, batches)
    made.norm = norm
    guard.see_course(made.loss or 0.0, batches)
    factor = 1.0 if rates.clip is None else min(1.0, rates.clip / (norm + 1e-6))
    _move(optimizer, lr, factor / scale, guard)
    guard.passed()
    if scaled:
        state.good_steps += 1
        if state.good_steps >= GROW_AFTER:
            state.loss_scale *= 2
            state.good_steps = 0


def _move(optimizer: Optimizer, lr: float, factor: float, guard: Guard) -> None:
    try:
        optimizer.step(lr, factor)
        return
    except Exception as error:
        # one rank cannot go back alone: all end, and are started again
        if not out_of_memory(error) or here().world > 1:
            raise
    raise guard.half_moved()
