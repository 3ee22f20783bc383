"""What stands before the optimizer: numbers that are none, losses that leap, and memory that runs out.

The loop shows a `Guard` what it has on the host anyway (losses, norms, weights of rows), so that watching asks the device nothing. What is
wrong is a `Fault`; by the recipe's policy (`train.guard`) the guard ends the run with a `TrainingError`, lets the update be left out, or
sends the caller back to an earlier checkpoint with a `GoBack` (`engine/rollback.py`). All it remembers is in `TrainState.watch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.errors import ResourceError, SeptetError
from septet.recipe.train import Guarding
from septet.report import Finding
from septet.tasks import Batch

# updates in a row that may be left out, and returns to a checkpoint, before a run is given up
MOST_SKIPS, MOST_ROLLBACKS = 5, 3
# losses that a mean needs before it judges
LEAST_LOSSES = 20
# of the learning rate after a rollback: the same course again would end in the same place
SLOWER = 0.5


class TrainingError(SeptetError):
    """Training cannot go on: the loss or the gradient is not a number, or the loss diverges."""


class Fault(Exception):  # noqa: N818  (never leaves the loop)
    """Why an update must not be made.

    Args:
        what: one clause: what is wrong with which number.
        rows: ids of the rows it comes from.
        kind: `data` where no weight had a part in it, `numbers`, `spike`, or `known` where the update was given up before.
    """

    def __init__(self, what: str, rows: Sequence[int], kind: str = "numbers"):
        super().__init__(what)
        self.what = what
        self.rows = list(rows)
        self.kind = kind


class GoBack(SeptetError):  # noqa: N818  (an instruction to the caller)
    """The run is to go on from an earlier checkpoint.

    Args:
        failure: what ends the run where there is none.
        step: the update that was not made, counted from 1.
        reason: why not.
        rows: ids of the rows it comes from.
        good: updates after which the weights were still good.
        diverged: whether the course is to change, so that it does not end in the same place.
        avoid: whether the update is not to be tried again.
    """

    def __init__(
        self,
        failure: SeptetError,
        *,
        step: int,
        reason: str,
        rows: Sequence[int],
        good: int,
        diverged: bool,
        avoid: bool,
    ):
        super().__init__(failure.what, where=failure.where, hint=failure.hint)
        self.failure = failure
        self.step = step
        self.reason = reason
        self.rows = list(rows)
        self.good = good
        self.diverged = diverged
        self.avoid = avoid


class Guard:
    """Judges an update before it is made.

    Args:
        settings: `train.guard` of the recipe.
        state: whose `watch` it keeps.
    """

    def __init__(self, settings: Guarding, state: TrainState):
        self.settings = settings
        self.state = state

    @property
    def goes_back(self) -> bool:
        """Whether a checkpoint from before the first update may be needed."""
        return "rollback" in (self.settings.not_finite, self.settings.spike)

    @property
    def doubts(self) -> bool:
        """Whether the weights are not to be saved now: the last losses were high, or updates were left out."""
        return self.state.watch.high > 0 or self.state.watch.in_a_row > 0

    def admit(self, batches: Sequence[Batch], totals: Mapping[str, float], task: Any) -> None:
        """Look at a group before its forward pass.

        Raises:
            Fault: an input, a target or a row's weight is not a finite number, or the update was given up before.
        """
        if self.state.step + 1 in self.state.watch.avoided:
            raise Fault("it was given up by a rollback", _rows(batches), "known")
        unfit = [meta for batch in batches for meta in batch.meta if "unfit" in meta]
        if unfit:
            names = " and ".join(sorted({meta["unfit"] for meta in unfit}))
            raise Fault(f"{names} is not a finite number", [meta["row"] for meta in unfit], "data")
        if not all(map(math.isfinite, totals.values())):
            rows = [
                row
                for batch in batches
                for weights_B in task.weights(batch).values()
                for row, finite in zip(_rows([batch]), weights_B.isfinite().tolist(), strict=True)
                if not finite
            ]
            raise Fault("the weight of a row is not a finite number", rows, "data")

    def see_loss(self, share: float, batch: Batch) -> None:
        """Look at a micro-batch's share of the loss.

        Raises:
            Fault: it is not a finite number.
        """
        if not math.isfinite(share):
            raise Fault("the loss is not a finite number", _rows([batch]))

    def see_norm(self, norm: float, batches: Sequence[Batch]) -> None:
        """Look at the norm of the gradient.

        Raises:
            Fault: it is not a finite number.
        """
        if not math.isfinite(norm):
            raise Fault("the gradient is not a finite number", _rows(batches))

    def see_course(self, loss: float, batches: Sequence[Batch]) -> None:
        """Hold the loss of a group against the last ones (the rule of LLM Foundry's `kill_loss_spike_callback.py`).

        Raises:
            Fault: it is high for the `patience`-th time in a row.
        """
        settings, watch = self.settings, self.state.watch
        if settings.spike == "off":
            return
        mean = math.fsum(watch.losses) / max(len(watch.losses), 1)
        # a mean below 0 has no multiple that would be higher
        judges = len(watch.losses) >= min(settings.window, LEAST_LOSSES) and mean > 0
        watch.high = watch.high + 1 if judges and loss >= settings.factor * mean else 0
        watch.losses = [*watch.losses, loss][-settings.window :]
        if watch.high >= settings.patience:
            raise Fault(
                f"the loss was {loss:.4g}, at least {settings.factor:g} times the mean of the last ones ({mean:.4g}), "
                f"in {watch.high} updates in a row",
                _rows(batches),
                "spike",
            )

    def judge(self, fault: Fault) -> None:
        """Return where the update is to be left out.

        Raises:
            TrainingError: the run ends.
            GoBack: it goes on from a checkpoint.
        """
        fault.rows = [row for rows in here().gather(fault.rows) for row in rows]
        watch = self.state.watch
        policy = self.settings.spike if fault.kind == "spike" else self.settings.not_finite
        if fault.kind != "known":
            if policy == "stop":
                raise self._error(fault)
            # no weight had a part in bad data, so there is nothing to go back for
            if policy == "rollback" and fault.kind != "data":
                if watch.rollbacks >= MOST_ROLLBACKS:
                    raise self._error(fault, f"after {MOST_ROLLBACKS} rollbacks, ")
                raise self._back(fault)
            watch.in_a_row += 1
            if watch.in_a_row > MOST_SKIPS:
                raise self._error(fault, f"after {MOST_SKIPS} updates in a row that had to be left out, ")
        watch.left_out += 1

    def passed(self) -> None:
        """Note that an update was made."""
        self.state.watch.in_a_row = 0

    def see_weights(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Look at what is to be saved: masters, moments.

        Raises:
            TrainingError: a number in it is not finite; nothing of it may be saved.
            GoBack: the same, where the policy is to go back.
        """
        # of a divided model each process sees its rows
        names = sorted({name for each in here().gather(not_finite(tensors)) for name in each})
        if not names:
            return
        step = self.state.step
        error = TrainingError(
            f"The weights are not finite numbers after update {step}: {', '.join(names[:3])}; nothing of them was saved.",
            hint=_HINT,
        )
        if self.settings.not_finite != "rollback" or self.state.watch.rollbacks >= MOST_ROLLBACKS:
            raise error
        raise GoBack(
            error,
            step=step,
            reason=f"the weights are not finite numbers: {', '.join(names[:3])}",
            rows=[],
            good=step - 1,
            diverged=True,
            avoid=False,
        )

    def split(self, batches: Sequence[Batch], token_budget: int) -> None:
        """Halve what a micro-batch may hold, after memory ran out in one of these, on any rank.

        Raises:
            ResourceError: none of them has more than one row.
        """
        rows, watch = max(here().gather(max(map(len, batches), default=0))), self.state.watch
        if rows == 1:
            raise ResourceError(
                f"The machine ran out of memory at update {self.state.step + 1}, with micro-batches of one row.",
                where=f"rows {_shown(_rows(batches))}",
                hint="train.activation_checkpointing=true, a smaller model.max_length, method: lora, or precision: bf16",
            )
        watch.micro_batch = rows // 2
        watch.token_budget = max(1, token_budget // 2)
        watch.splits += 1

    def half_moved(self) -> GoBack:
        """Return what to raise where memory ran out while the optimizer moved the weights, some of them or all."""
        step = self.state.step
        error = ResourceError(
            f"The machine ran out of memory within the optimizer's step of update {step + 1}; what was saved before is kept.",
            hint="optimizer=adafactor or method=lora, in another folder: --run DIR",
        )
        if self.state.watch.rollbacks >= MOST_ROLLBACKS:
            raise error
        reason = "memory ran out within the optimizer's step"
        return GoBack(error, step=step + 1, reason=reason, rows=[], good=step, diverged=False, avoid=False)

    def _error(self, fault: Fault, after: str = "") -> TrainingError:
        what = after + fault.what
        return TrainingError(
            f"{what[0].upper()}{what[1:]} at step {self.state.step + 1}; no weight was changed by it.",
            where=f"rows {_shown(fault.rows)}",
            hint=_HINT,
        )

    def _back(self, fault: Fault) -> GoBack:
        step = self.state.step + 1
        # where losses are high, the first of them was computed with the weights of the update before it
        high = self.state.watch.high - (fault.kind == "spike")
        return GoBack(
            self._error(fault),
            step=step,
            reason=fault.what,
            rows=fault.rows,
            good=max(0, step - high - 2),
            diverged=True,
            avoid=fault.kind == "numbers",
        )


_HINT = "a lower train.lr, train.precision=fp32, or look at these rows"


def unfit(batch: Batch) -> dict[int, str]:
    """Return place in the batch -> which of its floating inputs or targets is not a finite number; cheap while it is on the host."""
    found: dict[int, str] = {}
    for name, value in {**batch.inputs, "target": batch.targets}.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            continue
        # masks that are added to scores hold minus infinity by design
        bad = value.isnan() if "mask" in name else ~value.isfinite()
        if bad.any():
            by_row = bad.flatten(1).any(1) if bad.dim() > 1 else bad
            places = by_row.nonzero().flatten().tolist() if len(value) == len(batch) else range(len(batch))
            found |= dict.fromkeys(places, "the target" if name == "target" else f"the input {name}")
    return found


def damaged(model: torch.nn.Module) -> Finding | None:
    """Return which tensors of a model hold NaN or an infinity before anything is learned."""
    tensors = dict(model.named_parameters())
    bad = not_finite(tensors)
    if not bad:
        return None
    return Finding(
        "weights-not-finite",
        "blocker",
        f"{len(bad)} of {len(tensors)} tensors of the model hold numbers that are not finite: {', '.join(bad[:3])}{' …' if len(bad) > 3 else ''}.",
        "another checkpoint, or this one saved again: it is damaged, or its training diverged",
        {"tensors": bad},
    )


def not_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or an infinity: one pass over each."""
    # NaN or an infinity stays in a sum. One in fp32 takes a tenth of the time of one in fp64, and may overflow, which that of any smaller format never does
    return [
        name
        for name, t in tensors.items()
        if t.is_floating_point()
        and not any(math.isfinite(float(t.detach().sum(dtype=dtype))) for dtype in (torch.float32, torch.float64))
    ]


def _rows(batches: Sequence[Batch]) -> list[int]:
    return [meta["row"] for batch in batches for meta in batch.meta]


def row_name(row: int) -> str:
    """Return a row's id as the prepared files (`_row`) and the report have it."""
    return str(row)


def _shown(rows: Sequence[int]) -> str:
    return ", ".join(map(row_name, rows[:8])) + (" …" if len(rows) > 8 else "")
