"""What a run will take: everything it does is done once on part of the rows, timed, and thrown away.

Updates, a validation, a checkpoint, the artifact and its profile: each is timed as the run does it, and priced by how often or on how much
data the run does it. Memory is the peak of all this: the updates with the longest row and with the most tokens are among those that are taken, and the artifact's
own copy of the model is built. On a CPU it grows with every new size of a matrix product (`engine/products.py`): what the measured updates' new sizes took is
what those to come will take. Time varies with what else a machine does; nothing here corrects for that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil

from septet.course import Course
from septet.engine import products
from septet.engine import state as states
from septet.engine.loop import Source, Step, train_steps
from septet.engine.machine import gpu_peak_bytes, held_bytes, peak_memory_bytes
from septet.engine.plan import Planner
from septet.engine.state import TrainState
from septet.finish import profiled_rows, write_model
from septet.metrics import needs_texts
from septet.model.features import by_tokens
from septet.model.predictor import Predictor, tokens_of_batch
from septet.progress import Listen, quiet
from septet.run import Run
from septet.setup import Setup
from septet.tasks import Batch
from septet.train import disk_bytes

# updates that warm up (the first ones of a size are slow): the two that need most memory and one more; and updates that count
WARM_STEPS, LEAST_STEPS, MOST_STEPS = 3, 4, 40
# the measured updates go on for so long, or for this share of what the run's updates will take, but never longer than the last figure
ENOUGH_S, ENOUGH_SHARE, TOO_LONG_S = 5.0, 0.02, 20.0
# validation rows that are measured, and batches of answers that are written
MEASURED_ROWS, WRITTEN_BATCHES = 200, 2


class Chosen:
    """A source whose updates are those of another, in another order."""

    def __init__(self, source: Source, order: Sequence[int]):
        self.source = source
        self.order = order

    @property
    def planner(self) -> Planner:
        return self.source.planner

    def group(self, step: int) -> tuple[int, list[Batch]]:
        return self.source.group(self.order[step % len(self.order)])

    def limit(self, micro_batch: int, token_budget: int) -> None:
        self.source.limit(micro_batch, token_budget)


def rehearse(setup: Setup, run: Run, *, setup_s: float, listen: Listen = quiet) -> dict[str, Any]:
    """Return the estimate of a run: seconds of the whole training stage and of its parts, bytes of memory and disk.

    The model is changed by it; `setup` must not be trained afterwards.

    Args:
        setup: fresh.
        run: whose folder is written to and left as it was.
        setup_s: seconds that `set_up` took.
        listen: told of the progress.
    """
    optimizer, state = setup.optimizer(), TrainState()
    began = time.perf_counter()
    frozen_s, frozen_bytes = _frozen(setup)
    counted, warm_s, growing = _updates(setup, optimizer, state, listen)
    per_token = np.array([step.seconds / step.tokens for step in counted])
    tokens_per_s = 1 / _speed(counted)
    tokens = setup.planner.tokens_per_epoch
    train_s = tokens * setup.total / setup.planner.groups_per_epoch / tokens_per_s
    spread = float(np.quantile(per_token, 0.9) - np.quantile(per_token, 0.1)) * tokens_per_s
    scratch = Run(run.path / ".rehearsal.tmp")
    shutil.rmtree(scratch.path, ignore_errors=True)
    try:
        scratch.path.mkdir()
        course = Course(scratch, setup, state, optimizer)
        listen("progress", what="rehearse", done=1, total=3)
        validation_s = _validation_s(setup, course)
        saving_s = _saving(course)
        listen("progress", what="rehearse", done=2, total=3)
        moment_bytes = round(_moment_bytes(optimizer), 2)
        del optimizer
        course.release()
        finish_s, short = _finish(setup, scratch, state)
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)
    listen("progress", what="rehearse", done=3, total=3)
    validations = -(-setup.total // course.every)
    saves = validations + _saves_between(setup.recipe.train, setup.total, train_s)
    others = setup_s + frozen_s + warm_s + validations * validation_s + saves * saving_s + finish_s
    return {
        "steps": setup.total,
        "total_s": round(train_s + others, 1),
        "train_s": round(train_s + warm_s, 1),
        "setup_s": round(setup_s, 1),
        "frozen_s": round(frozen_s, 1),
        "validation_s": round(validations * validation_s, 1),
        "saving_s": round(saves * saving_s, 1),
        "finish_s": round(finish_s, 3),
        "validation_each_s": round(validation_s, 3),
        "saving_each_s": round(saving_s, 3),
        "low_s": round(train_s * (1 - min(0.5, spread / 2)) + others - warm_s, 1),
        "high_s": round(train_s * (1 + min(1.0, spread)) + others, 1),
        "rows_per_s": round(tokens_per_s * setup.planner.draws_per_epoch / tokens, 1),
        "tokens_per_s": round(tokens_per_s, 1),
        "memory_bytes": peak_memory_bytes() + short + growing,
        **({"gpu_memory_bytes": gpu_peak_bytes()} if setup.device.type == "cuda" else {}),
        "moment_bytes_each": moment_bytes,
        "disk_bytes": disk_bytes(setup) + frozen_bytes,
        "measured_s": round(time.perf_counter() - began, 1),
    }


def _moment_bytes(optimizer: Any) -> float:
    """Return the bytes that an optimizer keeps for each number that learns."""
    kept = sum(t.nbytes for t in optimizer.state().values())
    return kept / max(1, sum(t.numel() for t in optimizer.masters.tensors.values()))


def _saves_between(train: Any, steps: int, train_s: float) -> float:
    """Return the checkpoints that are saved besides those of validations."""
    if train.save_steps is not None:
        return steps // train.save_steps
    return 0 if train.save_every_s is None else train_s // train.save_every_s


def _frozen(setup: Setup) -> tuple[float, int]:
    """Let updates begin at states of the frozen part, for timing; return the seconds that computing them takes, and their bytes."""
    if setup.frozen is None:
        return 0.0, 0
    setup.states, seconds = setup.frozen.trial()
    return seconds, setup.frozen.bytes_in(setup.states.table.dtype)


def heaviest(planner: Planner) -> tuple[int, int]:
    """Return the updates of the first epoch with the longest row and with the most tokens."""
    sizes = np.asarray(planner.lengths)[planner.order(0) % len(planner.lengths)]
    return int(sizes.argmax()) // planner.batch, int(planner.tokens_by_group(0).argmax())


def _updates(setup: Setup, optimizer: Any, state: TrainState, listen: Listen) -> tuple[list[Step], float, int]:
    """Take some updates; return those that count, what the first ones took longer than they will later, and the bytes that more sizes will take."""
    planner = setup.planner
    drawn = np.linspace(0, planner.groups_per_epoch, MOST_STEPS + 1, endpoint=False).astype(int)
    order = [*heaviest(planner), *(int(i) for i in drawn)]
    most = WARM_STEPS + MOST_STEPS
    taken: list[Step] = []
    warm_bytes = 0
    for step in train_steps(
        setup.model,
        setup.task,
        optimizer,
        Chosen(setup.source(), order),
        state,
        # the rates are those of the run; its length is not, as a short run is measured by more updates than it has
        rates=replace(setup.rates(), total=most),
        clock=setup.clock,
        scaled=setup.recipe.train.precision == "fp16",
    ):
        taken.append(step)
        if len(taken) == WARM_STEPS:
            warm_bytes = held_bytes()
        listen("progress", what="measure", done=len(taken), total=most)
        counted = taken[WARM_STEPS:]
        seconds = sum(each.seconds for each in counted)
        share = ENOUGH_SHARE * seconds / max(1, len(counted)) * setup.total
        if len(counted) >= LEAST_STEPS and seconds > min(max(ENOUGH_S, share), TOO_LONG_S):
            break
    listen("progress", what="measure", done=most, total=most)
    counted = taken[WARM_STEPS:]
    warm = taken[:WARM_STEPS]
    later_s = sum(step.tokens for step in warm) * _speed(counted)
    growing = _growing(setup, order, len(taken), held_bytes() - warm_bytes)
    return counted, max(0.0, sum(step.seconds for step in warm) - later_s), growing


def _growing(setup: Setup, order: Sequence[int], taken: int, gained: int) -> int:
    """Return the bytes that the run's sizes of products will take beyond those of the rehearsed updates.

    Args:
        taken: updates.
        gained: bytes that the measured ones added, which the sizes did that were new in them.
    """
    if setup.device.type != "cpu" or setup.states is not None:  # states have one size
        return 0
    planner, known = setup.planner, {"unpadded": setup.unpadder is not None, "longest": setup.recipe.model.max_length}
    warm = products.sizes(planner, order[:WARM_STEPS], **known)
    seen = products.sizes(planner, order[:taken], **known)
    run = products.sizes(planner, products.spread(setup.total), **known)
    return products.growth(gained, warm=len(warm), seen=len(seen), run=len(run | seen), unpadded=known["unpadded"])


def _speed(steps: Sequence[Step]) -> float:
    """Return the seconds of a token over some updates; the slowest is left out, which another process may have disturbed."""
    ordered = sorted(steps, key=lambda step: step.seconds / step.tokens)[: max(1, len(steps) - 1)]
    return sum(step.seconds for step in ordered) / sum(step.tokens for step in ordered)


def _validation_s(setup: Setup, course: Course) -> float:
    """Return the seconds of one validation, measured on a part of its rows."""
    if not setup.validation:
        return 0.0
    sizes = np.array([sum(example.size for example in each) for each in setup.validation])
    if needs_texts(course.train.metric):
        part, share = _written(setup, setup.validation_rows)
    else:  # rows of every length, the longest among them
        places = np.linspace(0, len(sizes) - 1, min(MEASURED_ROWS, len(sizes))).astype(int)
        part = np.argsort(sizes, kind="stable")[places].tolist()
        share = float(sizes[part].sum() / sizes.sum())
    course.setup = replace(
        setup,
        validation=[setup.validation[i] for i in part],
        validation_rows=[setup.validation_rows[i] for i in part],
    )
    seconds = _timed(course.score)
    course.setup = setup
    return seconds / share


def _written(setup: Setup, rows: Sequence[Any]) -> tuple[list[int], float]:
    """Return the places of rows that make whole batches of answers, as they stand among all rows, and their share of the batches."""
    sizes = [sum(example.size for example in each) for each in setup.task.prompts(rows, setup.processor)]
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    batches = list(by_tokens(order, sizes, tokens_of_batch(setup.task, setup.device)))
    chosen = np.linspace(0, len(batches), WRITTEN_BATCHES + 2).astype(int)[1:-1]
    chosen = sorted({min(int(i), len(batches) - 1) for i in chosen})
    return [i for place in chosen for i in batches[place]], len(chosen) / len(batches)


def _saving(course: Course) -> float:
    """Commit a checkpoint and the best weights; return the seconds that training stands still for them."""
    course.state.best = {"step": course.state.step, "metric": course.train.metric, "value": 0.0}
    blocked_s = _timed(course.save)
    course.checkpoints.finish()
    return blocked_s


def _finish(setup: Setup, run: Run, state: TrainState) -> tuple[float, int]:
    """Write the artifact and its profile of some rows; return the seconds, and bytes that it would take besides where too few are free to try."""
    needed = 3 * sum(p.numel() * 4 for p in setup.model.parameters())
    weights = states.load_best(run.checkpoints, state.step)
    if weights is None or needed > psutil.virtual_memory().available:
        return 0.0, needed
    seconds = _timed(lambda: write_model(run, setup, weights, "rehearsal\n"))
    if not (rows := profiled_rows(setup)):
        return seconds, 0
    if setup.task.answers_with == "choices":
        part = np.linspace(0, len(rows) - 1, min(MEASURED_ROWS, len(rows))).astype(int).tolist()
        share = len(part) / len(rows)
    else:
        part, share = _written(setup, rows)
    began = time.perf_counter()
    predictor = Predictor.load(run.model, device=str(setup.device))
    seconds += time.perf_counter() - began
    return seconds + _timed(lambda: predictor.predict([rows[i] for i in part], embed=True)) / share, 0


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
