"""A run killed with signal 9, anywhere, goes on to the bytes of the run that was not killed.

Twenty kills: at the n-th file operation of the run folder (in the middle of a checkpoint, an artifact, a stream) and just
after the n-th update, n drawn from a fixed seed. Every run is tiny; the processes are forked from one that has imported torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import small
from septet.run import Run

HERE = Path(__file__).parent


class Zygote:
    def __init__(self):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            # the code under test is the one that runs these tests, wherever it lies
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, sys.path)]),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.read() == {"ready": True}

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
        count_to: Path | None = None,
    ) -> int:
        command = {
            "recipe": recipe,
            "run": str(run),
            "resume": resume,
            "die_at": die_at,
            "count_to": count_to and str(count_to),
        }
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.read()["pid"]

    def train(self, recipe: dict[str, Any], run: Path, **options: Any) -> int:
        """Return how the process ended: its exit status, negative for the signal that killed it."""
        self.start(recipe, run, **options)
        return os.waitstatus_to_exitcode(self.read()["status"])


@pytest.fixture(scope="module")
def zygote():
    made = Zygote()
    yield made
    made.process.stdin.close()
    made.process.wait(10)


@pytest.fixture(scope="module")
def unbroken(zygote):
    """The run that nothing happens to: its folder, its recipe, and its number of file operations."""
    memory = Path("/dev/shm")  # noqa: S108  (syncing files costs nothing there)
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield from run_unbroken(zygote, Path(folder))


def run_unbroken(zygote, folder):
    recipe = small.recipe(folder, epochs=2)
    count = folder / "count"
    assert zygote.train(recipe, folder / "unbroken", resume=False, count_to=count) == 0
    assert len(small.steps(folder / "unbroken")) == 14
    yield folder, recipe, int(count.read_text())


def same(run: Path, other: Path) -> None:
    assert not (run / "error.txt").exists(), (run / "error.txt").read_text()
    assert (run / "DONE").exists()
    assert not (run / "FAILED.json").exists()
    assert (run / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()
    assert small.steps(run) == small.steps(other)
    assert Run(run).records("evaluations.jsonl") == Run(other).records("evaluations.jsonl")
    assert json.loads((run / "best.json").read_text()) == json.loads((other / "best.json").read_text())
    left = [
        p.name
        for p in [*run.iterdir(), *(run / "checkpoints").iterdir()]
        if p.name.startswith(".") and p.name != ".lock"
    ]
    assert left == [], "a finished run leaves no temporary files"


def test_the_same_again_is_the_same(zygote, unbroken):
    """Without this the comparisons below would say nothing."""
    folder, recipe, _ = unbroken
    assert zygote.train(recipe, folder / "again", resume=False) == 0
    same(folder / "again", folder / "unbroken")


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_a_file_operation(zygote, unbroken, seed):
    """Seven kills; a life that ends before its point is no kill, so its run is compared and the next one begun."""
    folder, recipe, count = unbroken
    draw = random.Random(seed)
    killed, runs = 0, 0
    run = folder / f"files-{seed}-0"
    while killed < 7:
        status = zygote.train(recipe, run, resume=True, die_at=draw.randrange(12, count))
        assert status in (-signal.SIGKILL, 0), (run / "error.txt").read_text()
        if status == 0:
            same(run, folder / "unbroken")
            runs += 1
            run = folder / f"files-{seed}-{runs}"
        else:
            killed += 1
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")


@pytest.mark.parametrize("points", [(1, 5, 10), (2, 8, 13)])
def test_killed_after_an_update(zygote, unbroken, points):
    folder, recipe, _ = unbroken
    run = folder / f"steps-{points[0]}"
    for point in points:
        pid = zygote.start(recipe, run, resume=True)
        until = time.monotonic() + 300
        while len(lines(run)) < point and time.monotonic() < until:
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(zygote.read()["status"])
        assert status == -signal.SIGKILL, (
            (run / "error.txt").read_text() if (run / "error.txt").exists() else "the run was over before it was killed"
        )
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")


def lines(run: Path) -> list[str]:
    stream = run / "steps.jsonl"
    return stream.read_text().split("\n")[:-1] if stream.exists() else []


def test_interrupted_by_hand(zygote, unbroken):
    """Ctrl-C: the run says so in FAILED.json, is resumable, and ends as if nothing had been."""
    folder, recipe, _ = unbroken
    run = folder / "sigint"
    pid = zygote.start(recipe, run, resume=False)
    until = time.monotonic() + 300
    while len(lines(run)) < 5 and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(zygote.read()["status"]) == 130
    assert json.loads((run / "FAILED.json").read_text())["error"] == "KeyboardInterrupt"
    assert not (run / "DONE").exists()
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")


def test_killed_after_it_had_stopped_early(zygote, unbroken):
    """A run that early stopping ended does not train on when it was killed before its model was written."""
    folder, recipe, _ = unbroken
    tmp_path = folder / "early"
    tmp_path.mkdir()
    # an lr of nearly nothing: no validation is better by 0.5, so the second one ends the run at step 4
    stopping = {"early_stopping": {"patience": 1, "min_delta": 0.5}, "eval_every": 2, "lr": 1e-9}
    recipe = {**recipe, "train": {**recipe["train"], **stopping}}
    assert zygote.train(recipe, tmp_path / "whole", resume=False, count_to=tmp_path / "count") == 0
    assert len(small.steps(tmp_path / "whole")) == 4
    at = int((tmp_path / "count").read_text()) - 12
    assert zygote.train(recipe, tmp_path / "broken", resume=False, die_at=at) == -signal.SIGKILL
    assert zygote.train(recipe, tmp_path / "broken", resume=True) == 0
    same(tmp_path / "broken", tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over(zygote, unbroken):
    """The newest checkpoint has a flipped bit: the run goes on from the one before it, to the same end."""
    folder, recipe, _ = unbroken
    run = folder / "flipped"
    pid = zygote.start(recipe, run, resume=False)
    until = time.monotonic() + 300
    while len(lines(run)) < 9 and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    zygote.read()
    newest = max(run.glob("checkpoints/step-*")) / "masters.safetensors"
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 4
    newest.write_bytes(raw)
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")
