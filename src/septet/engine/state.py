"""What a run must remember to go on exactly: the state its caller owns, and checkpoints that are whole or absent.

A checkpoint is a folder of safetensors and JSON, committed as `septet/durable.py` says. A reader takes the newest one, by its
number, whose files all match; a damaged or unfinished one is named and passed over. `engine/writer.py` saves while training goes on. Where a model is
divided over processes, each writes files of its own, and `engine/parts.py` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from septet import durable
from septet.durable import Bytes, Content, damage
from septet.engine.parts import INDEX, Cut, Stored

FORMAT = 2


@dataclass(slots=True)
class Watch:
    """What the guard (`engine/guard.py`) remembers.

    Args:
        losses: the last ones, where spikes are watched for.
        high: high losses in a row.
        left_out, in_a_row: updates that the guard left out, in all and since the last one that was made.
        rollbacks: returns to an earlier checkpoint.
        lr_scale: of the learning rate since then.
        avoided: updates that are not tried again.
        micro_batch, token_budget: what a micro-batch may hold since memory ran out; None: as the recipe says.
        splits: times that memory ran out in a forward or backward pass.
        answers_halved: times that the batches of validation were halved for the same reason.
    """

    losses: list[float] = field(default_factory=list)
    high: int = 0
    left_out: int = 0
    in_a_row: int = 0
    rollbacks: int = 0
    lr_scale: float = 1.0
    avoided: list[int] = field(default_factory=list)
    micro_batch: int | None = None
    token_budget: int | None = None
    splits: int = 0
    answers_halved: int = 0


@dataclass(slots=True)
class TrainState:
    """The caller's state between two steps.

    Args:
        step: updates done.
        rows, tokens: seen so far, padding not counted.
        seconds: spent in steps.
        spent: seconds by part of the run (`engine/timing.py`).
        best: {"step", "metric", "value", "loss"} of the best validation, or None.
        waits: validations since the best one.
        evaluations: validations done.
        owes: the validation that is due after this step is still to be done.
        loss_scale, good_steps: of fp16's dynamic loss scaling.
        skipped: updates left out because an fp16 gradient overflowed.
        watch: of the guard.
    """

    step: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    waits: int = 0
    evaluations: int = 0
    owes: bool = False
    loss_scale: float = 65536.0
    good_steps: int = 0
    skipped: int = 0
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        if isinstance(self.watch, dict):  # as JSON holds it
            self.watch = Watch(**self.watch)


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint as read back."""

    path: Path
    state: TrainState
    masters: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    passed_over: list[str] = field(default_factory=list)


def checkpoint_files(
    state: TrainState, masters: Mapping[str, Any], optimizer: Mapping[str, Any], cut: Cut | None = None
) -> dict[str, Content]:
    """Return what a checkpoint's files will hold; the state as it is now, the tensors as they are when they are written.

    Args:
        cut: of a model that is divided over processes; what is returned is this process's part.
    """
    files = _tensor_files({"masters": masters, "optimizer": optimizer}, cut)
    return files | _led({"state.json": _json({"format": FORMAT, **asdict(state)})}, cut)


def best_files(masters: Mapping[str, Any], facts: dict[str, Any], cut: Cut | None = None) -> dict[str, Content]:
    """Return what the files of the best weights will hold."""
    return _tensor_files({"masters": masters}, cut) | _led({"state.json": _json({"format": FORMAT, **facts})}, cut)


def _tensor_files(kinds: Mapping[str, Mapping[str, Any]], cut: Cut | None) -> dict[str, Content]:
    from septet.engine.tensors import Tensors

    if cut is None:
        return {f"{kind}.safetensors": Tensors(tensors) for kind, tensors in kinds.items()}
    files: dict[str, Content] = {cut.share.file(kind): Tensors(cut.share.own(t)) for kind, t in kinds.items()}
    return files | _led({INDEX: Bytes(cut.index(kinds))}, cut)


def _led(files: dict[str, Content], cut: Cut | None) -> dict[str, Content]:
    """Return the files that the leading process writes, if this is the one."""
    return files if cut is None or cut.share.rank == 0 else {}


def checkpoint_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}"


def best_folder(folder: Path, step: int) -> Path:
    return folder / f"best-{step:06d}"


def keep_best(folder: Path, *steps: int) -> None:
    """Delete the best weights of other steps."""
    for other in durable.committed(folder, "best"):
        if durable.number(other) not in steps:
            durable.discard(other)


def bests(folder: Path) -> list[int]:
    """Return the steps of the best weights that the kept checkpoints know of."""
    found = [_state(path).best for path in durable.committed(folder, "step") if damage(path) is None]
    return [best["step"] for best in found if best is not None]


def forget_after(folder: Path, step: int, *, rollbacks: int | None = None) -> None:
    """Delete checkpoints and best weights of later steps.

    Args:
        rollbacks: checkpoints that know of so many stay, and the best weights they know of; None: none stay.
    """
    later = [path for path in durable.committed(folder, "step") if durable.number(path) > step]
    stay = [
        path
        for path in later
        if rollbacks is not None and damage(path) is None and _state(path).watch.rollbacks >= rollbacks
    ]
    for path in later:
        if path not in stay:
            durable.discard(path)
    if not stay:
        for path in durable.committed(folder, "best"):
            if durable.number(path) > step:
                durable.discard(path)


def load_latest(folder: Path, most: int | None = None) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None; what had to be passed over is named in it.

    Args:
        most: updates that it may hold; None: any number.
    """
    passed = [f"{name}: it was being written when the run ended" for name in durable.unfinished(folder, "step")]
    for path in durable.committed(folder, "step"):
        if most is not None and durable.number(path) > most:
            continue
        fault = damage(path)
        if fault is None:
            return Checkpoint(
                path,
                _state(path),
                Stored(path, "masters"),
                Stored(path, "optimizer"),
                passed,
            )
        passed.append(f"{path.name}: {fault}")
    if passed:
        return Checkpoint(folder, TrainState(), {}, {}, passed)
    return None


def newest_step(folder: Path) -> int:
    """Return the update of the newest committed checkpoint, or 0; no file is opened."""
    return max(map(durable.number, durable.committed(folder, "step")), default=0)


def load_best(folder: Path, step: int) -> Mapping[str, Any] | None:
    """Return the weights of the best validation, or None when they are absent or damaged."""
    for path in durable.committed(folder, "best"):
        if durable.number(path) == step and damage(path) is None:
            return Stored(path, "masters")
    return None


def keep_last(folder: Path, count: int, *, newest: int | None = None) -> None:
    """Delete all but the newest `count` checkpoints.

    Args:
        newest: the step that was saved last. What has a higher number was damaged, or is of a course that a roll-back gave up: it goes,
            or it would crowd out the good ones.
    """
    found = durable.committed(folder, "step")
    given_up = [path for path in found if newest is not None and durable.number(path) > newest]
    kept = [path for path in found if path not in given_up]
    for path in (*given_up, *kept[count:]):
        durable.discard(path)


def held_bytes(folder: Path) -> int:
    """Return the bytes of the checkpoints that are there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _state(path: Path) -> TrainState:
    raw = json.loads((path / "state.json").read_text())
    raw.pop("format")
    return TrainState(**raw)


def _json(value: dict[str, Any]) -> Bytes:
    return Bytes(json.dumps(value, indent=2).encode())
