"""The forward and backward passes of one update: all micro-batches of a group, also where several processes share it or memory runs out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from septet.engine.dropout import DropoutClock
from septet.engine.guard import Fault, Guard
from septet.engine.optim import Optimizer
from septet.engine.plan import Planner
from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.engine.step import backward, group_weights
from septet.engine.timing import Timer
from septet.errors import out_of_memory
from septet.tasks import Batch


class Source(Protocol):
    """Yields what an update sees: its epoch and its micro-batches; `limit` says what one of these may hold from now on."""

    @property
    def planner(self) -> Planner: ...
    def group(self, step: int) -> tuple[int, list[Batch]]: ...
    def limit(self, micro_batch: int, token_budget: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Passes:
    """The forward and backward passes of a group: they leave its gradient in the masters, or nothing."""

    model: Any
    task: Any
    optimizer: Optimizer
    source: Source
    state: TrainState
    clock: DropoutClock
    guard: Guard
    timer: Timer

    def run(self, epoch: int, batches: list[Batch], scale: float) -> tuple[list[Batch], float]:
        """Return the micro-batches that were computed, smaller ones where memory ran out, and their loss on all ranks.

        Raises:
            Fault: one of them must not teach anything, on any rank.
            ResourceError: there is no memory for a micro-batch of one row.
        """
        while True:
            with self.timer("data"):
                totals = group_weights(self.task, real(batches))
            loss, fault, short = 0.0, None, False
            try:
                if self._admitted(batches, totals):
                    loss = self._once(epoch, batches, totals, scale)
            except Fault as found:
                fault = found
            except Exception as error:
                # in the middle of a pass that others make too, nobody can begin again
                if not out_of_memory(error) or self.divided:
                    raise
                short = True
            # what one rank cannot compute is left out, or computed again, by all
            told = here().gather([loss, fault and [fault.what, fault.kind], short])
            if faults := [each for _, each, _ in told if each]:
                raise fault or Fault(faults[0][0], [], faults[0][1])
            if not any(each for _, _, each in told):
                self.optimizer.masters.add_up_gradients(here())
                return real(batches), math.fsum(each for each, _, _ in told)
            # here, because the handler's traceback holds the tensors of the pass that failed
            self._drop()
            self.guard.split(batches, self.source.planner.token_budget)
            watch = self.state.watch
            self.source.limit(watch.micro_batch or 1, watch.token_budget or 1)
            epoch, batches = self.source.group(self.state.step)

    @property
    def divided(self) -> bool:
        """Whether a pass of one process is a pass of all."""
        return self.optimizer.masters.cut is not None

    def _admitted(self, batches: list[Batch], totals: dict[str, float]) -> bool:
        """Return whether the group may be computed; False where another process says no, and a pass is one of all.

        Raises:
            Fault: it may not.
        """
        fault = None
        try:
            self.guard.admit(real(batches), totals, self.task)
        except Fault as found:
            fault = found
        refused = here().any(fault is not None) if self.divided else fault is not None
        if fault is not None:
            raise fault
        return not refused

    def _once(self, epoch: int, batches: list[Batch], totals: dict[str, float], scale: float) -> float:
        taught, shares = real(batches), []
        for batch in batches:
            device = next(iter(batch.inputs.values())).device
            self.clock.set(batch.rows, epoch, device, step=self.state.step)
            scaled = 0.0 if batch.fills else scale
            with self.clock.layout(batch.layout), self.timer("backward"):
                share = backward(self.model, self.task, batch, totals, scale=scaled, timer=self.timer)
            if batch.fills:
                continue
            shares.append(share)
            # a GPU would be waited for, and in a divided model the others make the passes that are left, too
            if device.type == "cpu" and not self.divided:
                self.guard.see_loss(float(share), batch)
        with self.timer("backward"):
            told = torch.stack(shares).tolist() if shares else []
        for share, batch in zip(told, taught, strict=True):
            self.guard.see_loss(share, batch)
        return sum(told, 0.0)

    def _drop(self) -> None:
        """Drop every gradient, also one that a pass left half way to its master."""
        self.optimizer.zero()
        for p in self.model.parameters():
            p.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def real(batches: list[Batch]) -> list[Batch]:
    """Return the micro-batches that teach something."""
    return [batch for batch in batches if not batch.fills]
