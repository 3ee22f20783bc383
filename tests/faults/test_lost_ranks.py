"""A rank that is killed, hangs or fails ends all; started again, the run goes on by itself, to the bytes of one that was not broken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import small
from septet.run import Run

RESTARTED = {"TORCHELASTIC_RESTART_COUNT": "1"}


@pytest.fixture(scope="module")
def unbroken(crew, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    source = small.recipe(folder, count=43, epochs=2, eval_every=5)
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(folder / "unbroken")) == [0, 0]
    return folder, source


def after(run, step):
    """Wait until a run has made so many updates."""
    until = time.monotonic() + 200
    while (len((run / "steps.jsonl").read_text().splitlines()) if (run / "steps.jsonl").exists() else 0) < step:
        assert time.monotonic() < until
        time.sleep(0.002)


def same(run, reference):
    assert small.steps(run) == small.steps(reference)
    for path in (reference / "model").glob("*.safetensors"):
        assert path.read_bytes() == (run / "model" / path.name).read_bytes()


def test_a_killed_rank(crew, unbroken):
    """Rank 1 dies of signal 9: rank 0 says so and ends; started again, both go on from the last commit without being told to."""
    folder, source = unbroken
    run = folder / "killed"
    pids = crew.start(2, "rank_jobs:verb", source=source, run=str(run))
    after(run, 5)
    os.kill(pids[1], signal.SIGKILL)
    codes = crew.ended()
    assert codes[1] == -signal.SIGKILL and codes[0] == 1
    assert "Another process of this run has ended or does not answer." in (folder / "killed.0.txt").read_text()
    assert run.joinpath("FAILED.json").exists()
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(run), env=RESTARTED) == [0, 0]
    assert "resumed at step" in (folder / "killed.0.txt").read_text()
    same(run, folder / "unbroken")


@pytest.mark.slow
def test_a_hung_rank(crew, unbroken):
    """Rank 1 stops answering: rank 0 waits as long as it was told to, and ends."""
    folder, source = unbroken
    run = folder / "hung"
    pids = crew.start(2, "rank_jobs:verb", source=source, run=str(run), env={"SEPTET_RANK_TIMEOUT": "20s"})
    after(run, 3)
    os.kill(pids[1], signal.SIGSTOP)
    until = time.monotonic() + 100
    while not (run / "FAILED.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(pids[1], signal.SIGKILL)
    assert crew.ended()[0] == 1
    assert Run(run).read_json("FAILED.json")["error"] == "RankError"
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(run), env=RESTARTED) == [0, 0]
    same(run, folder / "unbroken")


def test_an_error_on_one_rank(crew, unbroken):
    """What rank 1 alone cannot do ends both, with the same code and one message; no weight was changed by it."""
    folder, source = unbroken
    run = folder / "failed"
    given = {"source": source, "run": str(run), "fail": [1, 4]}
    assert crew.run(2, "rank_jobs:failing", **given) == [1, 1]
    told = [(folder / f"failed.{rank}.txt").read_text() for rank in (0, 1)]
    assert sum("The loss is not a finite number at step 5" in text for text in told) == 1
    assert Run(run).read_json("FAILED.json")["error"] == "TrainingError"
    assert len(small.steps(run)) == 4


@pytest.mark.slow
def test_from_two_to_one_to_two(crew, unbroken):
    """The number of processes changes at each resume: the same rows in each update, the same curve within the tolerance."""
    folder, source = unbroken
    run = folder / "changing"
    for world, stop in ((2, 3), (1, 7), (2, None)):
        given = {"source": source, "run": str(run), "resume": stop != 3, "stop": stop}
        # the others are told, where the store they share outlives the one that was interrupted
        assert crew.run(world, "rank_jobs:verb", **given)[0] == (0 if stop is None else 130)
    found, expected = small.steps(run), small.steps(folder / "unbroken")
    for a, b in zip(found, expected, strict=True):
        assert (a["step"], a["rows"], a["tokens"], a["lr"]) == (b["step"], b["rows"], b["tokens"], b["lr"])
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


@pytest.mark.slow
def test_torchrun_starts_them_again(tmp_path):
    """The real `torchrun`: it may keep its store over a restart, with what the processes before have left there."""
    run = tmp_path / "run"
    (tmp_path / "recipe.json").write_text(json.dumps(small.recipe(tmp_path, count=43, epochs=2, eval_every=5)))
    started = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "-m"]
    asked = ["--", "septet", "train", str(tmp_path / "recipe.json"), "--run", str(run)]
    agent = subprocess.Popen([*started, *asked], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after(run, 5)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    ranks = [pid for pid in children if b"RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(int(ranks[0]), signal.SIGKILL)
    assert agent.wait(300) == 0
    assert [s["step"] for s in small.steps(run)] == list(range(1, 11))
    assert [event["event"] for event in Run(run).records("events.jsonl")].count("train") == 2
