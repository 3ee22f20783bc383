"""What a run must remember to go on exactly: the state its caller owns, and checkpoints that are whole or absent.

A checkpoint is a folder of safetensors and JSON, written under a temporary name, synced, listed with sha256 in
`manifest.json`, and renamed. A reader takes the newest one whose files all match; a damaged one is named and passed over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from septet.run import sync_folder

FORMAT = 1


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
        best: {"step", "metric", "value"} of the best validation, or None.
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
    masters: dict[str, Any]
    optimizer: dict[str, Any]
    passed_over: list[str] = field(default_factory=list)


def save(folder: Path, state: TrainState, masters: dict[str, Any], optimizer: dict[str, Any]) -> Path:
    """Commit a checkpoint and return its folder."""
    final = folder / f"step-{state.step:06d}"

    def write(temporary: Path) -> None:
        _save_tensors(masters, temporary / "masters.safetensors")
        _save_tensors(optimizer, temporary / "optimizer.safetensors")
        (temporary / "state.json").write_text(json.dumps({"format": FORMAT, **asdict(state)}, indent=2))

    commit_folder(final, write)
    return final


def save_best(folder: Path, masters: dict[str, Any], facts: dict[str, Any]) -> None:
    """Commit the weights of the best validation so far; `keep_best` deletes the earlier ones once a checkpoint knows of it."""

    def write(temporary: Path) -> None:
        _save_tensors(masters, temporary / "masters.safetensors")
        (temporary / "state.json").write_text(json.dumps({"format": FORMAT, **facts}, indent=2))

    commit_folder(folder / f"best-{facts['step']:06d}", write)


def keep_best(folder: Path, *steps: int) -> None:
    """Delete the best weights of other steps."""
    for other in folder.glob("best-*"):
        if other.name not in {f"best-{step:06d}" for step in steps}:
            shutil.rmtree(other, ignore_errors=True)


def bests(folder: Path) -> list[int]:
    """Return the steps of the best weights that the kept checkpoints know of."""
    found = [_state(path).best for path in _newest_first(folder) if damage(path) is None]
    return [best["step"] for best in found if best is not None]


def forget_after(folder: Path, step: int, *, rollbacks: int | None = None) -> None:
    """Delete checkpoints and best weights of later steps.

    Args:
        rollbacks: checkpoints that know of so many stay, and the best weights they know of; None: none stay.
    """
    later = [path for path in _newest_first(folder) if int(path.name[5:]) > step]
    stay = [
        path
        for path in later
        if rollbacks is not None and damage(path) is None and _state(path).watch.rollbacks >= rollbacks
    ]
    for path in later:
        if path not in stay:
            shutil.rmtree(path, ignore_errors=True)
    if not stay:
        for path in folder.glob("best-*"):
            if int(path.name[5:]) > step:
                shutil.rmtree(path, ignore_errors=True)


def load_latest(folder: Path, most: int | None = None) -> Checkpoint | None:
    """Return the newest whole checkpoint, or None; what had to be passed over is named in it.

    Args:
        most: updates that it may hold; None: any number.
    """
    passed = []
    for path in _newest_first(folder):
        if most is not None and int(path.name[5:]) > most:
            continue
        fault = damage(path)
        if fault is None:
            return Checkpoint(
                path,
                _state(path),
                _load_tensors(path / "masters.safetensors"),
                _load_tensors(path / "optimizer.safetensors"),
                passed,
            )
        passed.append(f"{path.name}: {fault}")
    if passed:
        return Checkpoint(folder, TrainState(), {}, {}, passed)
    return None


def newest_step(folder: Path) -> int:
    """Return the update of the newest committed checkpoint, or 0; no file is opened."""
    return max((int(path.name[5:]) for path in _newest_first(folder)), default=0)


def load_best(folder: Path, step: int) -> dict[str, Any] | None:
    """Return the weights of the best validation, or None when they are absent or damaged."""
    path = folder / f"best-{step:06d}"
    return _load_tensors(path / "masters.safetensors") if damage(path) is None else None


def keep_last(folder: Path, count: int) -> None:
    """Delete all but the newest `count` checkpoints."""
    for path in _newest_first(folder)[count:]:
        shutil.rmtree(path, ignore_errors=True)


def damage(path: Path) -> str | None:
    """Return what is wrong with a committed folder, or None."""
    from septet.model.artifact import sha256

    try:
        files = dict(json.loads((path / "manifest.json").read_text())["files"]).items()
    except (OSError, ValueError, KeyError, TypeError):
        return "no readable manifest"
    if not files:
        return "its manifest lists no files"
    for name, wanted in files:
        if not (path / name).is_file():
            return f"{name} is missing"
        if sha256(path / name) != wanted:
            return f"{name} has changed since it was saved"
    return None


def commit_folder(final: Path, write: Callable[[Path], None]) -> None:
    """Make a folder appear whole under its final name: temporary folder, fsync of each file, manifest, rename."""
    from septet.model.artifact import sha256

    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    for left in final.parent.glob(f".{final.name.split('-')[0]}-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir()
    try:
        write(temporary)
        files = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": files}, indent=2))
        for path in temporary.iterdir():
            _sync_file(path)
        sync_folder(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _state(path: Path) -> TrainState:
    raw = json.loads((path / "state.json").read_text())
    raw.pop("format")
    return TrainState(**raw)


def _newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints by step; as texts, step-1000000 would come before step-999999."""
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def _save_tensors(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, str(path))


def _load_tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(str(path))


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
