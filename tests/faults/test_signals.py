"""A run that SIGINT, SIGTERM or SIGHUP comes to finishes its update, commits it, tells the truth, and goes on to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time

import pytest
import yaml
from lives import FULL, error, lines, run_unbroken, same, wait_for

import small
from septet.engine.state import newest_step
from septet.run import Run

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TRIALS = 50 if FULL else 4


@pytest.fixture(scope="module")
def unbroken(zygote, memory):
    """The run that nothing happens to: checkpoints of its own come at every other update only."""
    folder = memory / "signals"
    folder.mkdir()
    recipe = small.recipe(folder, epochs=2, method="lora")
    count = run_unbroken(zygote, folder, recipe)
    return folder, recipe, count


def told(run, number):
    """Check that a run that was stopped says so, and that no update it did is lost."""
    failed = json.loads((run / "FAILED.json").read_text())
    assert failed["error"] == "Interrupted"
    assert failed["signal"] == number.name
    assert failed["resumable"]
    assert not failed["at_once"]
    assert failed["step"] == len(lines(run)) == newest_step(run / "checkpoints")
    event = Run(run).records("events.jsonl")[-1]
    assert (event["event"], event["signal"], event["step"]) == ("interrupted", number.name, failed["step"])


@pytest.mark.parametrize("trial", range(TRIALS))
def test_stopped_at_a_file_operation(zygote, unbroken, trial):
    """At any moment: while the data are prepared, in an update, in the middle of a checkpoint, while the model is written."""
    folder, recipe, count = unbroken
    draw = random.Random(trial)
    run = folder / f"signal-{trial}"
    number = SIGNALS[trial % len(SIGNALS)]
    status = zygote.train(recipe, run, resume=False, die_at=draw.randrange(12, count), number=number)
    assert status in (128 + number, 0), error(run)
    if status and not (run / "DONE").exists():
        told(run, number)
        assert zygote.train(recipe, run, resume=True) == 0, error(run)
    same(run, folder / "unbroken")


@pytest.mark.parametrize("trial", range(TRIALS // 4))
def test_stopped_several_times_in_its_updates(zygote, unbroken, trial):
    folder, recipe, _ = unbroken
    draw = random.Random(trial)
    run = folder / f"signals-{trial}"
    for point in sorted(draw.sample(range(1, 9), 2)):
        number = draw.choice(SIGNALS)
        # an update more than the last life made: before it, the process may not hear signals yet
        point = max(point, len(lines(run)) + 1)
        pid = zygote.start(recipe, run, resume=True)
        wait_for(run, point)
        time.sleep(draw.random() * 0.01)
        os.kill(pid, number)
        status = zygote.ended()
        if status == 0 and (run / "DONE").exists():
            break  # on a busy machine the run may end before the signal is sent
        assert status == 128 + number, error(run)
        told(run, number)
    else:
        assert zygote.train(recipe, run, resume=True) == 0, error(run)
    same(run, folder / "unbroken")


@pytest.fixture(scope="module")
def finished(zygote, memory):
    """A finished run and its recipe, as the command line makes them."""
    folder = memory / "stages"
    folder.mkdir()
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small.recipe(folder, epochs=1) | {"evaluate": {"bootstrap": 100}}))
    run = folder / "run"
    status = zygote.verb("train", str(recipe), "--run", str(run), told=folder / "told.txt")
    assert status == 0, (folder / "told.txt").read_text()
    return recipe, run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("verb", "stage", "at", "number"),
    [
        ("prepare RECIPE --run FRESH", "prepare", "train.jsonl", signal.SIGTERM),
        ("evaluate RUN", "evaluate", "task.json", signal.SIGTERM),
        ("evaluate RUN", "evaluate", "task.json", signal.SIGINT),
        ("deploy RUN", "deploy", "task.json", signal.SIGHUP),
        ("run RECIPE --run RUN --resume", "evaluate", "task.json", signal.SIGTERM),
    ],
)
def test_a_stage_that_is_no_training_says_what_was_stopped_and_how_to_do_it_again(
    zygote, finished, tmp_path, verb, stage, at, number
):
    recipe, run = finished
    told, model = tmp_path / "told.txt", contents(run / "model")
    places = {"RECIPE": str(recipe), "RUN": str(run), "FRESH": str(tmp_path / "fresh")}
    args = [places.get(each, each) for each in verb.split()]
    status = zygote.verb(*args, told=told, at=at, number=number)
    *_, what, how = told.read_text().splitlines()
    assert status == 128 + number
    assert what == (
        f"Interrupted: {number.name} came during {stage}, which begins anew when it is run again; what was finished before is kept."
    )
    assert "update" not in told.read_text()
    assert contents(run / "model") == model
    assert (run / "DONE").exists()
    assert not (run / "FAILED.json").exists()
    septet, *again = shlex.split(how.removeprefix("  try: "))
    assert (septet, again) == ("septet", args)
    assert zygote.verb(*again, told=told) == 0, told.read_text()


def test_a_run_that_is_stopped_before_it_trains_says_so(zygote, finished, tmp_path):
    recipe, _ = finished
    status = zygote.verb(
        "train", str(recipe), "--run", str(tmp_path / "run"), told=tmp_path / "told.txt", at="train.jsonl"
    )
    assert status == 143
    assert "SIGTERM came before an update was made; nothing is lost." in (tmp_path / "told.txt").read_text()
