"""Runs in forked processes that can be killed, and what they must come to; see `zygote.py`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import septet
import small
from septet.run import Run

HERE = Path(__file__).parent
SOURCE = Path(septet.__file__).parents[1]  # the same code there as here
# trials of the tests that draw: as many as CI has time for, or the full size of `just faults`
FULL = os.environ.get("SEPTET_FAULTS") == "full"


class Zygote:
    """The process that the runs are forked from."""

    def __init__(self):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(HERE.parent), str(HERE)]),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.read(300) == {"ready": True}

    def read(self, wait_s: float = 300) -> Any:
        ready, _, _ = select.select([self.process.stdout], [], [], wait_s)
        assert ready, "the forked process does not end"
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        recipe: dict[str, Any],
        run: Path,
        *,
        resume: bool,
        die_at: int | None = None,
        number: int = 9,
        count_to: Path | None = None,
    ) -> int:
        command = {
            "recipe": recipe,
            "run": str(run),
            "resume": resume,
            "die_at": die_at,
            "number": number,
            "count_to": count_to and str(count_to),
        }
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.read()["pid"]

    def verb(self, *args: str, told: Path, at: str | None = None, number: int = 15) -> int:
        """Return how the command line ended; standard error is in `told`."""
        command = {"args": args, "at": at, "number": number, "told": str(told)}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        self.read()
        return self.ended()

    def train(self, recipe: dict[str, Any], run: Path, **options: Any) -> int:
        """Return how the process ended: its exit status, negative for the signal that killed it."""
        self.start(recipe, run, **options)
        return self.ended()

    def ended(self) -> int:
        return os.waitstatus_to_exitcode(self.read()["status"])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


def run_unbroken(zygote: Zygote, folder: Path, recipe: dict[str, Any]) -> int:
    """Make the run that nothing happens to, in `unbroken`, and return its number of file operations."""
    count, run = folder / "count", folder / "unbroken"
    assert zygote.train(recipe, run, resume=False, count_to=count) == 0, error(run)
    return int(count.read_text())


def error(run: Path) -> str:
    told = run / "error.txt"
    return told.read_text() if told.exists() else "no error was told"


def same(run: Path, other: Path) -> None:
    """Check that two finished runs have the same model, checkpoints, records and best."""
    assert not (run / "error.txt").exists(), error(run)
    assert (run / "DONE").exists()
    assert not (run / "FAILED.json").exists()
    assert (run / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()
    assert small.steps(run) == small.steps(other)
    assert Run(run).records("evaluations.jsonl") == Run(other).records("evaluations.jsonl")
    assert json.loads((run / "best.json").read_text()) == json.loads((other / "best.json").read_text())
    for name in ("masters", "optimizer"):
        mine, theirs = newest(run, name), newest(other, name)
        assert mine.parent.name == theirs.parent.name
        assert mine.read_bytes() == theirs.read_bytes(), f"{name} of {mine.parent.name}"
    left = [
        p.name
        for p in [*run.iterdir(), *(run / "checkpoints").iterdir()]
        if p.name.startswith(".") and p.name != ".lock"
    ]
    assert left == [], "a finished run leaves no temporary files"


def newest(run: Path, name: str) -> Path:
    return max(run.glob(f"checkpoints/step-*/{name}.safetensors"))


def lines(run: Path) -> list[str]:
    stream = run / "steps.jsonl"
    return stream.read_text().split("\n")[:-1] if stream.exists() else []


def wait_for(run: Path, count: int) -> None:
    """Wait until the run has done so many updates."""
    until = time.monotonic() + 120
    while len(lines(run)) < count and time.monotonic() < until:
        time.sleep(0.001)
