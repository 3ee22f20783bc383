"""Saving while training goes on: the training thread copies, another thread commits.

`Checkpoints.save` copies masters, moments and state into memory that is kept for it, and returns; a thread hashes, writes and syncs. At
most one commit is under way: the next save waits for it. What goes wrong there is raised in the training thread, at its next
`check`, `save` or `finish`, and never lost. Where a model is divided over processes, the writers of all of them make one folder together.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from septet import durable
from septet.engine import state as states
from septet.engine.masters import PENDING, keep
from septet.engine.optim import Optimizer
from septet.engine.ranks import Ranks, here
from septet.engine.state import TrainState
from septet.run import Run

Files = dict[str, durable.Content]


class Writer:
    """Does one thing at a time in a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, work: Callable[[], None]) -> None:
        """Begin with `work`, after what was submitted before has ended.

        Raises:
            Exception: what the work before this one ended with.
        """
        self.finish()
        # not a daemon: a process that ends in the meantime waits for the commit
        self._thread = threading.Thread(target=self._do, args=(work,), name="septet-writer")
        self._thread.start()

    def check(self) -> None:
        """Raise what a work that has ended failed with; do not wait."""
        if self._error is not None:
            self.finish()

    def finish(self) -> None:
        """Wait for the work under way, and raise what it failed with, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error


@dataclass(slots=True)
class Cost:
    """What saving has cost this process: `blocked_s` is what training stood still for, `commit_s` what the writer took beside it."""

    saves: int = 0
    bytes: int = 0
    blocked_s: float = 0.0
    commit_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 4) for name, value in asdict(self).items()}


class Checkpoints:
    """The checkpoints of a run under way.

    Args:
        run: whose folder they go to.
        keep: checkpoints kept; older ones are deleted after the new one is durable.
        keep_bests: the best weights that older checkpoints know of stay as well: a return to one of them needs its best.
    """

    def __init__(self, run: Run, keep: int, *, keep_bests: bool = False):
        self.run = run
        self.keep = keep
        self.keep_bests = keep_bests
        self.cost = Cost()
        self._ranks = here()
        self._writer = Writer()
        self._masters: dict[str, torch.Tensor] = {}
        self._moments: dict[str, torch.Tensor] = {}

    def save(self, state: TrainState, optimizer: Optimizer) -> None:
        """Begin to commit a checkpoint; where these weights are the best so far, theirs first, so that no checkpoint names a best that is not there.

        Raises:
            DiskFull: there is no space for it, nothing was begun; or the save before ran out of it.
        """
        began = time.perf_counter()
        self.finish()
        moments = optimizer.state()
        for name in self._moments.keys() - moments.keys():
            del self._moments[name]
        for name, value in moments.items():
            keep(self._moments, name, value.detach())
        optimizer.masters.snapshot(self._masters)
        held = replace(state, best=None if state.best is None else dict(state.best))
        best = None
        if held.best and held.best["step"] == held.step:
            whole = {name: value for name, value in self._masters.items() if not name.startswith(PENDING)}
            best = states.best_files(whole, held.best, optimizer.masters.cut)
        last = states.checkpoint_files(held, self._masters, self._moments, optimizer.masters.cut)
        need = sum(content.size for content in (*last.values(), *(best or {}).values()))
        durable.need_room(self.run.checkpoints, need)
        commit = durable.commit if optimizer.masters.cut is None else self._commit_together
        self._writer.submit(lambda: self._commit_all(held, last, best, need, commit))
        self.cost.blocked_s += time.perf_counter() - began

    def check(self) -> None:
        """Raise what the last save failed with; do not wait for one under way."""
        self._writer.check()

    def finish(self) -> None:
        """Wait until what was saved is durable.

        Raises:
            DiskFull: the last save ran out of space.
        """
        self._writer.finish()

    def release(self) -> None:
        """Give back the memory that saves are copied into, once the last one is durable."""
        self.finish()
        self._masters.clear()
        self._moments.clear()

    def _commit_together(self, final: Path, files: Files) -> None:
        commit_together(self._ranks, final, files)

    def _commit_all(
        self, state: TrainState, last: Files, best: Files | None, need: int, commit: Callable[[Path, Files], object]
    ) -> None:
        began = time.perf_counter()
        folder = self.run.checkpoints
        # a checkpoint counts on the lines up to its step, also when the power goes
        self.run.sync("steps.jsonl", "evaluations.jsonl")
        with durable.full_disk(folder, need):
            if best is not None:
                commit(states.best_folder(folder, state.step), best)
                self.run.write_json("best.json", state.best)
            commit(states.checkpoint_folder(folder, state.step), last)
        if self._ranks.lead:
            self._forget(state)
        self.cost.saves += 1
        self.cost.bytes += need
        self.cost.commit_s += time.perf_counter() - began

    def _forget(self, state: TrainState) -> None:
        """Delete what the checkpoint that is durable now makes superfluous."""
        folder = self.run.checkpoints
        states.keep_last(folder, self.keep, newest=state.step)
        if state.best is not None:
            known = states.bests(folder) if self.keep_bests else []
            states.keep_best(folder, state.best["step"], *known)


def commit_together(ranks: Ranks, final: Path, files: Files) -> None:
    """Commit a folder that every process writes files of its own into; it is durable on all of them when this returns.

    Raises:
        SeptetError: what any of them failed with; what was there before is as it was.
        RankError: one of them has ended.
    """
    turn = f"commit {ranks.turn('commit')}"
    try:
        with ranks.in_turn(f"{turn} begun"):
            if ranks.lead:
                durable.begin(final)
        with ranks.in_turn(f"{turn} written"):
            written = {name: durable.write_file(durable.temporary(final) / name, file) for name, file in files.items()}
            ranks.tell(f"{turn} files of rank {ranks.rank}", written)
        with ranks.in_turn(f"{turn} published"):
            if ranks.lead:
                told = [ranks.hear(f"{turn} files of rank {rank}") for rank in range(ranks.world)]
                durable.publish(final, {name: facts for each in told for name, facts in each.items()})
    finally:
        if ranks.lead:
            shutil.rmtree(durable.temporary(final), ignore_errors=True)
