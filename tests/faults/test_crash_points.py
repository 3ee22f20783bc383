"""Every point of the save path at which a process can die or the power can go: what is read afterwards is whole, and never older than the last commit.

A shim over the calls of `os` dies before, after, and (for a write) in the midst of each. For a loss of power it keeps a record of
the calls, and plays it back without some of what was not yet synced. `SEPTET_FAULTS=full` plays every subset, or 4,096 of them at a point.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from septet.engine.state import TrainState, load_best, load_latest
from septet.engine.writer import Checkpoints
from septet.run import Run

FULL = os.environ.get("SEPTET_FAULTS") == "full"
SUBSETS = 4096 if FULL else 6


class Died(BaseException):
    """The process is no more: nothing may catch this."""


@dataclass(frozen=True)
class Call:
    what: str
    path: Path
    value: Any = None  # the bytes of a write, the target of a rename


class Disk:
    """Counts the calls that change the disk; dies at one of them, after which no call changes anything."""

    def __init__(self, patch: pytest.MonkeyPatch, die_at: int | None = None, when: str = "before"):
        self.calls: list[Call] = []
        self.die_at, self.when, self.dead = die_at, when, False
        self.real = {
            n: getattr(os, n)
            for n in ["open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "ftruncate"]
        }
        patch.setattr(os, "open", self.open)
        patch.setattr(os, "write", lambda fd, raw: self.do(Call("write", path_of(fd), bytes(raw)), "write", fd, raw))
        patch.setattr(os, "fsync", lambda fd: self.do(Call("sync", path_of(fd)), "fsync", fd))
        patch.setattr(os, "mkdir", lambda p, *a, **k: self.do(Call("mkdir", Path(p)), "mkdir", p, *a, **k))
        for name in ("rename", "replace"):
            patch.setattr(os, name, self.renamer(name))
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, self.remover(name))

    def open(self, path, flags, *rest, dir_fd=None):
        if not flags & os.O_CREAT:
            return self.real["open"](path, flags, *rest, dir_fd=dir_fd)
        return self.do(Call("create", Path(path)), "open", path, flags, *rest)

    def renamer(self, name):
        return lambda a, b: self.do(Call("rename", Path(a), Path(b)), name, a, b)

    def remover(self, name):
        def remove(path, *, dir_fd=None):
            whole = Path(path) if dir_fd is None else path_of(dir_fd) / path
            return self.do(Call("remove", whole), name, path, dir_fd=dir_fd)

        return remove

    def do(self, call, name, *args, **options):
        if self.dead:
            raise Died
        here = len(self.calls) == self.die_at
        self.calls.append(call)
        if here and self.when == "half" and call.what == "write":
            self.real["write"](args[0], call.value[: len(call.value) // 2])
        if here and self.when != "after":
            self.dead = True
            raise Died
        try:
            return self.real[name](*args, **options)
        finally:
            if here:
                self.dead = True
                raise Died


def path_of(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}").readlink()


class Weights:
    """What `Checkpoints.save` takes of an optimizer: values that tell which step they are of."""

    cut = None

    def __init__(self, step: int):
        self.step = step
        self.masters = self

    def snapshot(self, into):
        into.update(a=torch.full((3, 2), float(self.step)), b=torch.arange(4.0) + self.step)
        return into

    def state(self):
        return {"exp_avg.b": torch.full((4,), self.step / 3)}


def save(run: Run, step: int, *, best: int, rows: int = 0) -> None:
    run.append("steps.jsonl", {"step": step})
    checkpoints = Checkpoints(run, keep=2)
    checkpoints.save(
        TrainState(step=step, rows=rows, best={"step": best, "metric": "f1", "value": 0.5}),
        Weights(step),  # pyright: ignore[reportArgumentType]
    )
    checkpoints.finish()


def is_whole(run: Run) -> TrainState | None:
    """Return the state that a resume would go on from, after comparing all that it would load."""
    found = load_latest(run.checkpoints)
    if found is None or not found.masters:
        return None
    expected = Weights(found.state.step)
    assert all(torch.equal(found.masters[n], v) for n, v in expected.snapshot({}).items())
    assert all(torch.equal(found.optimizer[n], v) for n, v in expected.state().items())
    assert not [p for p in found.passed_over if "being written" not in p], "nothing damaged under a final name"
    best = load_best(run.checkpoints, found.state.best["step"])
    assert best is not None, "a checkpoint names a best that is not there"
    assert torch.equal(best["b"], Weights(found.state.best["step"]).snapshot({})["b"])
    return found.state


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# what is there, and what is then saved: steps with the step of their best
SAVES = {
    "the first": ([], (1, 1)),
    "a better one": ([(1, 1), (2, 1)], (3, 3)),
    "no better one": ([(1, 1), (2, 1)], (3, 1)),
    "the same step again": ([(1, 1), (2, 2)], (2, 2)),
}


@pytest.fixture(params=SAVES)
def before(request, tmp_path):
    """A run with its checkpoints, in memory where there is such a place; and what is saved next."""
    memory = Path("/dev/shm")
    place = tmp_path
    if os.access(memory, os.W_OK):
        place = memory / f"septet-{os.getpid()}-{request.param.replace(' ', '-')}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    run = Run(place / "before").create()
    there, coming = SAVES[request.param]
    for step, best in there:
        save(run, step, best=best)
    yield run, coming
    if place is not tmp_path:
        shutil.rmtree(place)


def fresh(before: Run) -> Run:
    copy = before.path.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(before.path, copy)
    return Run(copy)


def recorded(before: Run, coming: tuple[int, int]) -> list[Call]:
    run = fresh(before)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        save(run, coming[0], best=coming[1], rows=7)
    return disk.calls


def committed_at(calls: list[Call], step: int) -> int:
    """Return the place of the call after which the new checkpoint must be there: the sync of its parent after its rename."""
    named = next(i for i, c in enumerate(calls) if c.what == "rename" and c.value.name == f"step-{step:06d}")
    return next(i for i, c in enumerate(calls) if i > named and c.what == "sync" and c.path.name == "checkpoints")


def test_dead_at_every_call(before):
    source, (step, best) = before
    calls = recorded(source, (step, best))
    assert len(calls) >= 25
    old, whole = is_whole(source), tree(Run(source.path.with_name("copy")).checkpoints)
    must = committed_at(calls, step)
    for at, when in itertools.product(range(len(calls)), ("before", "half", "after")):
        if when == "half" and calls[at].what != "write":
            continue
        run = fresh(source)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Died):
            disk = Disk(patch, at, when)
            save(run, step, best=best, rows=7)
        assert disk.dead
        found = is_whole(run)
        is_new = found is not None and (found.step, found.rows) == (step, 7)
        assert is_new or found == old, (calls[at], when)
        if at > must or (at == must and when == "after"):
            assert is_new, (calls[at], when)
        save(run, step, best=best, rows=7)
        assert tree(run.checkpoints) == whole, (calls[at], when)


def test_the_power_goes_at_every_call(before):
    source, (step, best) = before
    calls = recorded(source, (step, best))
    old, must, draw, tried = is_whole(source), committed_at(calls, step), random.Random(step), 0
    for at in range(len(calls) + 1):
        made = calls[:at]
        loose = [i for i, call in enumerate(made) if not is_synced(i, made)]
        for kept in subsets(loose, draw):
            run = fresh(source)
            for i, call in enumerate(made):
                if i not in loose or i in kept:
                    replay(call, kept.get(i, "whole"))
            found = is_whole(run)
            is_new = found is not None and (found.step, found.rows) == (step, 7)
            assert is_new or found == old, (at, kept)
            if at > must:
                assert is_new, (at, kept)
            tried += 1
    assert tried > len(calls)


def is_synced(index: int, calls: list[Call]) -> bool:
    """Whether a later call made this one durable: a write by its file's sync, a name by its folder's."""
    call = calls[index]
    if call.what == "sync":
        return True
    needed = {call.path} if call.what == "write" else {call.path.parent}
    if call.what == "rename":
        needed.add(call.value.parent)
    return needed <= {c.path for c in calls[index + 1 :] if c.what == "sync"}


def subsets(loose: list[int], draw: random.Random):
    """Yield what is kept of the calls that nothing made durable: how, by their place. A write can also leave zeros, or half."""
    ways = ("whole", "zeros", "half", None)
    if len(ways) ** len(loose) <= SUBSETS:
        for chosen in itertools.product(ways, repeat=len(loose)):
            yield {i: way for i, way in zip(loose, chosen, strict=True) if way}
        return
    yield {}
    yield dict.fromkeys(loose, "whole")
    for _ in range(SUBSETS - 2):
        yield {i: way for i in loose if (way := draw.choice(ways))}


def replay(call: Call, way: str) -> None:
    """Do a recorded call again, as far as what it builds on is there."""
    with contextlib.suppress(OSError):
        if call.what == "create":
            call.path.touch()
        elif call.what == "write":
            raw = {"whole": call.value, "zeros": bytes(len(call.value)), "half": call.value[: len(call.value) // 2]}[
                way
            ]
            if call.path.exists():
                with call.path.open("ab") as file:
                    file.write(raw)
        elif call.what == "mkdir":
            call.path.mkdir()
        elif call.what == "rename":
            call.path.replace(call.value)
        elif call.what == "remove":
            call.path.rmdir() if call.path.is_dir() else call.path.unlink()
