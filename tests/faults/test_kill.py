"""A run killed with signal 9, anywhere, goes on to the bytes of the run that was not killed.

Of four kinds of task, with dropout and augmentation: at the n-th file operation of the run folder (in the middle of a checkpoint, an artifact, a
stream), at any moment, and just after the n-th update. Every run is tiny; the processes are forked from one that has imported torch.
`SEPTET_FAULTS=full` kills 200 times.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from lives import FULL, error, run_unbroken, same, wait_for

import kinds
import small

KINDS = {"classify, full": kinds.augmented, **kinds.TEXTS}
KILLS = 50 if FULL else 3


def test_the_same_again_is_the_same(zygote, unbroken):
    """Without this the comparisons below would say nothing."""
    folder, recipe, _ = unbroken
    assert zygote.train(recipe, folder / "again", resume=False) == 0
    same(folder / "again", folder / "unbroken")


@pytest.mark.parametrize("kind", KINDS)
def test_killed_anywhere(zygote, memory, kind):
    """At a file operation of the run folder, or at any moment; a run that is finished is compared, and the next one begun."""
    folder = memory / kind.replace(", ", "-").replace(" ", "-")
    folder.mkdir()
    recipe = KINDS[kind](folder)
    recipe["train"] |= {"save_every": 2, "eval_every": 4}
    began = time.monotonic()
    count = run_unbroken(zygote, folder, recipe)
    life_s = time.monotonic() - began
    assert len(small.steps(folder / "unbroken")) >= 12
    draw = random.Random(kind)
    killed, runs = 0, 0
    while killed < KILLS:
        run = folder / f"broken-{runs}"
        if draw.random() < 0.5:
            status = zygote.train(recipe, run, resume=True, die_at=draw.randrange(12, count))
        else:
            pid = zygote.start(recipe, run, resume=True)
            time.sleep(draw.uniform(0, life_s))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status = zygote.ended()
        assert status in (-signal.SIGKILL, 0), error(run)
        killed += status != 0
        if (run / "DONE").exists():  # a process may be killed after its last file, too
            same(run, folder / "unbroken")
            runs += 1
    run = folder / f"broken-{runs}"
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")


@pytest.mark.parametrize("points", [(1, 5, 10), (2, 8, 13)])
def test_killed_after_an_update(zygote, unbroken, points):
    folder, recipe, _ = unbroken
    run = folder / f"steps-{points[0]}"
    for point in points:
        pid = zygote.start(recipe, run, resume=True)
        wait_for(run, point)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = zygote.ended()
        assert status == -signal.SIGKILL, error(run)
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
    wait_for(run, 9)
    os.kill(pid, signal.SIGKILL)
    zygote.read()
    newest = max(run.glob("checkpoints/step-*")) / "masters.safetensors"
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 4
    newest.write_bytes(raw)
    assert zygote.train(recipe, run, resume=True) == 0
    same(run, folder / "unbroken")
