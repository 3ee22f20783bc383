"""`septet selftest`: kill small runs on this machine, resume them, and show that nothing is lost and nothing differs.

A tiny classifier and a tiny causal model with LoRA, both with dropout, are made in code and trained in processes of their own, in fp32; the
classifier also in bf16 with our own kernels, where the processor and a C++ compiler let a real run use them. Each is trained once unbroken, then killed with signal 9 at drawn updates and resumed; before the last resume a bit of the newest checkpoint is
flipped. Weights, moments and every logged field but the times must have the sha256 of the unbroken run. Nothing is read from a network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from septet.errors import ResourceError, UsageError
from septet.hasten import MODEL, PRECISION
from septet.progress import Listen, quiet
from septet.run import Run
from septet.testing import tiny

WORDS = [
    "parcel",
    "late",
    "invoice",
    "refund",
    "broken",
    "lamp",
    "order",
    "door",
    "price",
    "box",
    "help",
    "please",
    "where",
    "is",
    "my",
    "the",
    "and",
    "it",
]
TIMES = ("seconds",)
WAIT_S = 600.0
UPDATES = 24


@dataclass(frozen=True, slots=True)
class Trial:
    """One run that was killed and resumed, beside the unbroken one.

    Args:
        kind: of the model.
        computed: its updates by what, in words.
        killed: updates in the log when it was killed, one number for each kill.
        flipped: the file of the newest checkpoint in which a bit was flipped before the last resume, if one was.
        passed_over: whether the resume named that checkpoint and went on from the one before.
        differs: what is not as in the unbroken run; empty when all is.
    """

    kind: str
    computed: str
    killed: list[int]
    flipped: str | None
    passed_over: bool | None
    differs: list[str]

    @property
    def good(self) -> bool:
        return not self.differs and self.passed_over is not False

    def text(self) -> str:
        kills = ", ".join(map(str, self.killed))
        told = f"{self.kind:<14}{self.computed}; killed after update {kills}"
        if self.flipped is not None:
            told += (
                f"; a bit of {self.flipped} flipped: {'named and passed over' if self.passed_over else 'NOT NOTICED'}"
            )
        return f"{told}; {'identical' if not self.differs else 'DIFFERS: ' + ', '.join(self.differs)}"


@dataclass(frozen=True, slots=True)
class SelfTested:
    """What the test came to.

    Args:
        compared: sha256 of what the unbroken runs came to, by kind of model.
        not_tried: what a run of this machine cannot use, and why.
    """

    trials: list[Trial]
    compared: dict[str, dict[str, str]]
    seconds: float
    not_tried: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return all(trial.good for trial in self.trials)

    @property
    def exit_code(self) -> int:
        return 0 if self.good else 1

    def to_json(self) -> dict[str, Any]:
        return {
            "good": self.good,
            "kills": sum(len(trial.killed) for trial in self.trials),
            "trials": [{**asdict(trial), "good": trial.good} for trial in self.trials],
            "not_tried": self.not_tried,
            "sha256": self.compared,
            "seconds": round(self.seconds, 1),
        }

    def text(self) -> str:
        kills = sum(len(trial.killed) for trial in self.trials)
        compared = [
            f"{kind:<14}{what:<24}sha256 {digest[:16]}…"
            for kind, each in self.compared.items()
            for what, digest in each.items()
        ]
        good = sum(trial.good for trial in self.trials)
        return "\n".join(
            [
                *(trial.text() for trial in self.trials),
                *(f"not tried: {what}: {why}" for what, why in self.not_tried.items()),
                "",
                "of the unbroken runs",
                *compared,
                "",
                f"{kills} kills, {good} of {len(self.trials)} runs as if nothing had been, {self.seconds:.0f} s",
            ]
        )


def selftest(*, kills: int = 4, seed: int = 0, listen: Listen = quiet) -> SelfTested:
    """Train, kill and resume small runs in a temporary folder, and compare them with unbroken ones.

    Args:
        kills: in all, shared by the kinds of model; at least 2.
        seed: of the moments.

    Raises:
        UsageError: too few kills.
        ResourceError: a run ended by itself before its time; its message is told.
    """
    not_tried = lacking() if QUICK in KINDS else {}
    kinds = {kind: make for kind, make in KINDS.items() if kind != QUICK or "bf16" not in not_tried}
    if kills < len(kinds):
        raise UsageError(f"The kills are a whole number from {len(kinds)}, one for each kind of model.", received=kills)
    began, draw = time.perf_counter(), random.Random(seed)
    trials: list[Trial] = []
    compared = {}
    with tempfile.TemporaryDirectory(prefix="septet-selftest-") as name:
        for place, (kind, make) in enumerate(kinds.items()):
            folder = Path(name) / f"kind-{place}"
            folder.mkdir()
            recipe = folder / "recipe.yaml"
            recipe.write_text(json.dumps(make(folder)))
            listen("note", text=f"{kind}: the unbroken run, and beside it one that is killed")
            with _going(recipe, folder / "unbroken") as unbroken:
                share = kills // len(kinds) + (place < kills % len(kinds))
                killed, damaged, said = _killed(kind, recipe, folder / "killed", share, draw, listen)
                _end(unbroken, folder / "unbroken")
            compared[kind] = fingerprints(folder / "unbroken")
            found = fingerprints(folder / "killed")
            differs = [what for what, digest in compared[kind].items() if found[what] != digest]
            listen("note", text=f"{kind}: resumed, {'identical' if not differs else 'NOT identical'}")
            named = f"passed over a damaged checkpoint: {damaged.parent.name}" in said
            flipped = f"{damaged.parent.name}/{damaged.name}"
            trials.append(Trial(kind, _computed(folder / "killed"), killed, flipped, named, differs))
    return SelfTested(trials, compared, time.perf_counter() - began, not_tried)


def lacking() -> dict[str, str]:
    """Return what a run in bf16 with our kernels lacks here, and why; kernels that are there are compiled by it."""
    import torch

    from septet.engine.kernels import unfit
    from septet.engine.machine import cpu_flags

    if not any("bf16" in flag for flag in cpu_flags()):
        return {"bf16": "the processor has no instructions for it", "kernels": "they are of bf16"}
    why = unfit(torch.device("cpu"), "bf16")
    return {"kernels": why} if why else {}


def fingerprints(run: Path) -> dict[str, str]:
    """Return the sha256 of what a run came to: model, newest checkpoint, and its records without their times."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = {
        "model": run / "model" / "model.safetensors",
        "weights of checkpoint": newest / "masters.safetensors",
        "optimizer": newest / "optimizer.safetensors",
    }
    found = {what: hashlib.sha256(path.read_bytes()).hexdigest() for what, path in files.items()}
    for stream in ("steps.jsonl", "evaluations.jsonl"):
        records = [{k: v for k, v in r.items() if k not in TIMES} for r in Run(run).records(stream)]
        found[stream] = hashlib.sha256(json.dumps(records).encode()).hexdigest()
    return found


def _killed(
    kind: str, recipe: Path, run: Path, kills: int, draw: random.Random, listen: Listen
) -> tuple[list[int], Path, str]:
    """Kill one run so many times, resume it each time, and flip a bit before the last time.

    Returns:
        The updates it had made at each kill, the file in which a bit was flipped, and what the last resume said.
    """
    # the last kill is late enough for two checkpoints to be there; one is damaged then
    points = sorted(draw.sample(range(2, UPDATES - 2), kills - 1)) if kills > 1 else []
    points.append(draw.randrange(max([5, *points]) + 1, UPDATES))
    killed = []
    for point in points:
        before = _inode(run)
        with _going(recipe, run) as process:
            _wait(process, run, point, before)
            time.sleep(draw.random() * 0.01)
        killed.append(len(_lines(run)))
        listen("note", text=f"{kind}: killed after update {killed[-1]}")
    damaged = max((run / "checkpoints").glob("step-*")) / "masters.safetensors"
    flip(damaged, draw)
    with _going(recipe, run) as process:
        return killed, damaged, _end(process, run)


def _computed(run: Path) -> str:
    """Return what the updates of a run were computed by, as it has recorded it."""
    told = Run(run).read_json("begun.json")["computed"]
    return f"{told[PRECISION]} by {told[MODEL]}"


def flip(path: Path, draw: random.Random) -> None:
    """Flip one drawn bit of a file."""
    raw = bytearray(path.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    path.write_bytes(raw)


def _begin(recipe: Path, run: Path) -> subprocess.Popen[str]:
    """Start or go on with a run in a process of its own."""
    more = ["--resume"] if (run / "steps.jsonl").exists() else []
    source = str(Path(__file__).parents[1])
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(  # noqa: S603  (our own verb, on files we wrote)
        [sys.executable, "-m", "septet", "train", str(recipe), "--run", str(run), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
    )


@contextlib.contextmanager
def _going(recipe: Path, run: Path) -> Iterator[subprocess.Popen[str]]:
    """Start or go on with a run in a process of its own, which is killed with signal 9 where it is still there at the end."""
    process = _begin(recipe, run)
    try:
        yield process
    finally:
        process.kill()  # one that has ended is left alone
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _end(process: subprocess.Popen[str], run: Path) -> str:
    """Wait for a run to finish, and return what it said."""
    _, said = process.communicate(timeout=WAIT_S)
    if process.returncode != 0:
        raise _ended(run, said)
    return said


def _wait(process: subprocess.Popen[str], run: Path, point: int, before: int) -> None:
    """Wait until this process, which writes its records anew when it begins, has come to an update."""
    until = time.monotonic() + WAIT_S
    while _inode(run) == before or len(_lines(run)) < point:
        if process.poll() is not None:
            raise _ended(run, process.communicate()[1])
        if time.monotonic() > until:
            process.kill()
            raise ResourceError(f"A run of the self-test did not come to update {point} in {WAIT_S:.0f} s.")
        time.sleep(0.001)


def _ended(run: Path, said: str) -> ResourceError:
    return ResourceError(
        "A run of the self-test ended by itself.", where=" | ".join(said.strip().splitlines()[-4:]) or run.name
    )


def _inode(run: Path) -> int:
    stream = run / "steps.jsonl"
    return stream.stat().st_ino if stream.exists() else 0


def _lines(run: Path) -> list[str]:
    stream = run / "steps.jsonl"
    return stream.read_text().split("\n")[:-1] if stream.exists() else []


def _recipe(
    folder: Path, kind: str, task: dict[str, Any], method: str, rows: list[dict[str, str]], **train: Any
) -> dict[str, Any]:
    texts = [" ".join(row.values()) for row in rows]
    base = tiny.checkpoint(folder / "base", [*texts, " ".join(WORDS)], kind=kind, dropout=0.1)
    for name, part in (("train", rows[:96]), ("validation", rows[96:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return {
        "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl")},
        "task": task,
        "model": {"name": str(base), "dropout": 0.1},
        "method": method,
        "train": {
            "epochs": 2,
            "batch": 8,
            "lr": 2e-3,
            "save_every": 2,
            "eval_every": 6,
            "keep": 2,
            "device": "cpu",
            "precision": "fp32",
            **train,
        },
    }


def _classifier(folder: Path, **train: Any) -> dict[str, Any]:
    draw = random.Random(1)
    rows = {}
    while len(rows) < 112:
        words = draw.choices(WORDS, k=draw.randint(3, 9))
        rows[" ".join(words)] = "post" if words[0] < "m" else "shop"
    made = [{"text": text, "label": label} for text, label in rows.items()]
    task = {"name": "classify", "text": "text", "label": "label"}
    return _recipe(folder, "bert", task, "full", made, **train)


def _quick(folder: Path) -> dict[str, Any]:
    """Return the classifier in bf16, with the kernels and a head as wide as that of attention wants it."""
    source = _classifier(folder, precision="bf16", kernels=True)
    config = folder / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 1}))
    return source


def _writer(folder: Path) -> dict[str, Any]:
    draw = random.Random(2)
    rows = {}
    while len(rows) < 112:
        words = draw.choices(WORDS, k=draw.randint(3, 6))
        rows[" ".join(words)] = " ".join(reversed(words[:2]))
    made = [{"question": question, "answer": answer} for question, answer in rows.items()]
    task = {"name": "generate", "prompt": "question", "answer": "answer"}
    return _recipe(folder, "causal", task, "lora", made)


# cheap kinds, and the paths of the engine: a head that is new, an adapter on a model that writes, and what a machine is quickest by
QUICK = "classify bf16"
KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {"classify": _classifier, "causal LoRA": _writer, QUICK: _quick}
