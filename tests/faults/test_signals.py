"""A run that SIGINT, SIGTERM or SIGHUP comes to finishes its update, commits it, tells the truth, and goes on to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml
from lives import FULL, SOURCE, error, lines, run_unbroken, same, wait_for

import kinds
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
        ("predict RUN ROWS -o FRESH.csv", "predict", "task.json", signal.SIGTERM),
        ("monitor RUN --log ROWS", "monitor", "task.json", signal.SIGINT),
        ("run RECIPE --run RUN --resume", "evaluate", "task.json", signal.SIGTERM),
    ],
)
def test_a_stage_that_is_no_training_says_what_was_stopped_and_how_to_do_it_again(
    zygote, finished, tmp_path, verb, stage, at, number
):
    recipe, run = finished
    told, model = tmp_path / "told.txt", contents(run / "model")
    rows = recipe.parent / "validation.jsonl"
    places = {"RECIPE": str(recipe), "RUN": str(run), "FRESH": str(tmp_path / "fresh"), "ROWS": str(rows)}
    places["FRESH.csv"] = str(tmp_path / "fresh.csv")
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


def begin(*args, **options):
    """Start the command line in a process of its own."""
    paths = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "septet", *args]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, text=True, **options)


def end(process):
    """Stop a process, and return the two lines that say what was stopped and how to go on."""
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    *_, what, how = said.splitlines()
    septet, *again = shlex.split(how.removeprefix("  try: "))
    assert septet == "septet"
    return what, again


@pytest.fixture(scope="module")
def many(memory):
    """More rows than are answered before a signal comes, and their file."""
    file = memory / "many.csv"
    rows = [f"where is parcel {i}" for i in range(100_000)]
    file.write_text("text\n" + "".join(f"{row}\n" for row in rows))
    return file, rows


def wait_until(there, process):
    until = time.monotonic() + 120
    while not there():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[1]
        time.sleep(0.01)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_answers_that_a_stopped_predict_has_written_stay(zygote, finished, many, tmp_path, ending):
    from septet.data.read import read

    _, run = finished
    file, rows = many
    out = tmp_path / f"answers.{ending}"
    process = begin("predict", str(run), str(file), "-o", str(out), stderr=subprocess.PIPE)
    wait_until(lambda: any(p.stat().st_size > 1000 for p in tmp_path.glob(".answers*")), process)
    what, again = end(process)
    part = tmp_path / f"answers.part.{ending}"
    assert [path.name for path in tmp_path.iterdir()] == [part.name], "what is not whole has another name"
    answered = list(read(part).rows())
    count = len(answered)
    assert count % 1024 == 0 and 0 < count < len(rows)
    assert what == f"Interrupted: SIGTERM came during predict; {count:,} rows answered, kept in {part}."
    rest = tmp_path / f"answers.from-{count}.{ending}"
    assert again == ["predict", str(run), str(file), "--skip", str(count), "-o", str(rest)]
    # the rest of fewer rows, for the time it takes
    file_few = tmp_path / "few.csv"
    file_few.write_text("text\n" + "".join(f"{row}\n" for row in rows[: count + 100]))
    again[2] = str(file_few)
    assert zygote.verb(*again, told=tmp_path / "told.txt") == 0, (tmp_path / "told.txt").read_text()
    answered += list(read(rest).rows())
    assert [row["text"] for row in answered] == rows[: count + 100]
    assert all(row["label"] for row in answered)


def test_answers_that_a_stopped_predict_has_printed_are_whole_lines(finished, many, tmp_path):
    _, run = finished
    file, rows = many
    printed = tmp_path / "printed.jsonl"
    with printed.open("w") as stdout:
        process = begin("predict", str(run), str(file), stdout=stdout, stderr=subprocess.PIPE)
        wait_until(lambda: printed.stat().st_size > 0, process)
        what, again = end(process)
    answered = [json.loads(line) for line in printed.read_text().splitlines()]
    assert [row["text"] for row in answered] == rows[: len(answered)]
    assert what == f"Interrupted: SIGTERM came during predict; {len(answered):,} rows answered."
    assert again == ["predict", str(run), str(file), "--skip", str(len(answered))]


def test_a_chat_that_is_stopped_says_so(zygote, memory, tmp_path):
    folder = memory / "chat"
    folder.mkdir()
    source = kinds.texts(folder, "llama")
    source["train"] |= {"max_steps": 1}
    assert zygote.train(source, folder / "run", resume=False) == 0, error(folder / "run")
    process = begin("chat", str(folder / "run"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write("Where is parcel 7?\n")
    process.stdin.flush()
    assert process.stdout.readline(), process.communicate()[1]
    what, again = end(process)
    assert what.startswith("Interrupted: SIGTERM came during chat, which begins anew when it is run again")
    assert again == ["chat", str(folder / "run")]
