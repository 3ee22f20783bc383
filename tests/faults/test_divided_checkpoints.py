"""Checkpoints that several processes write together: read by any number of them, and whole or absent whoever fails."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import small
from septet import durable
from septet.engine import state as states
from septet.engine.parts import Cut, Share, Stored, rows_of, shape_of
from septet.engine.state import TrainState
from septet.run import Run

RESTARTED = {"TORCHELASTIC_RESTART_COUNT": "1"}


@pytest.fixture(scope="module")
def unbroken(crew, tmp_path_factory):
    """Return a folder, a recipe that divides the model over two processes, and its curve where nothing breaks."""
    folder = tmp_path_factory.mktemp("divided")
    source = small.recipe(folder, count=43, epochs=2, eval_every=5, shard=True)
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(folder / "unbroken")) == [0, 0]
    return folder, source


def same_curve(run, reference):
    found, expected = small.steps(run), small.steps(reference)
    for a, b in zip(found, expected, strict=True):
        assert (a["step"], a["rows"], a["tokens"], a["lr"]) == (b["step"], b["rows"], b["tokens"], b["lr"])
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def same_bytes(run, reference):
    assert small.steps(run) == small.steps(reference)
    for path in (reference / "model").glob("*.safetensors"):
        assert path.read_bytes() == (run / "model" / path.name).read_bytes()


# ---- the format ----

WHOLE = {
    "a.weight": torch.arange(21.0).view(7, 3),
    "b.bias": torch.arange(3.0),
    "c": torch.arange(2.0).to(torch.bfloat16),
}
MOMENTS = {**{f"exp_avg.{name}": -value for name, value in WHOLE.items()}, "step.a.weight": torch.tensor(4.0)}


def written(folder, world):
    """Commit what so many processes would write of a checkpoint, each in turn."""
    final = states.checkpoint_folder(folder, 3)
    durable.begin(final)
    facts = {}
    for rank in range(world):
        share = Share(rank, world)
        cut = Cut(share, {name: len(value) for name, value in WHOLE.items()})
        mine = [
            {name: t[slice(*share.rows(len(t)))] if t.dim() else t for name, t in kind.items()}
            for kind in (WHOLE, MOMENTS)
        ]
        for name, content in states.checkpoint_files(TrainState(step=3), *mine, cut).items():
            facts[name] = durable.write_file(durable.temporary(final) / name, content)
    durable.publish(final, facts)
    return final


@pytest.mark.parametrize("world", [1, 2, 3, 5, 8])
def test_any_number_reads_what_any_number_wrote(tmp_path, world):
    folder = written(tmp_path, world)
    assert durable.damage(folder) is None
    for kind, expected in (("masters", WHOLE), ("optimizer", MOMENTS)):
        stored = Stored(folder, kind)
        assert set(stored) == set(expected) and len(stored) == len(expected)
        for name, value in expected.items():
            assert shape_of(stored, name) == tuple(value.shape)
            assert torch.equal(stored[name], value) and stored[name].dtype == value.dtype
            for readers in (1, 2, 3, 4, 9) if value.dim() else ():
                parts = [rows_of(stored, name, *Share(r, readers).rows(len(value))) for r in range(readers)]
                assert torch.equal(torch.cat(parts), value)


def test_a_reader_opens_only_the_files_of_its_rows(tmp_path):
    stored = Stored(written(tmp_path, 7), "masters")
    stored.rows("a.weight", 2, 4)
    assert sorted(stored._files) == [Share(rank, 7).file("masters") for rank in (2, 3)]


def test_whole_files_are_read_the_same_way(tmp_path):
    save_file(WHOLE, tmp_path / "masters.safetensors")
    stored = Stored(tmp_path, "masters")
    assert torch.equal(stored.rows("a.weight", 2, 5), WHOLE["a.weight"][2:5])
    assert torch.equal(stored["b.bias"], WHOLE["b.bias"])


# ---- runs ----


def test_from_two_to_three_to_one(crew, unbroken):
    """The number of processes changes at each resume; one process holds the model whole, with a compact embedding."""
    folder, source = unbroken
    run = folder / "changing"
    for world, stop in ((2, 3), (3, 5), (1, 7), (2, None)):
        given = {"source": source, "run": str(run), "resume": stop != 3, "stop": stop}
        assert crew.run(world, "rank_jobs:verb", **given)[0] == (0 if stop is None else 130)
        if stop is not None:
            newest = durable.committed(run / "checkpoints", "step")[0]
            assert len(list(newest.glob("masters*.safetensors"))) == world
    same_curve(run, folder / "unbroken")


@pytest.mark.slow
def test_whole_and_divided_in_turn(crew, unbroken):
    """Two processes with whole models go on where two with halves stopped, and the other way round."""
    folder, source = unbroken
    whole = {**source, "train": {**source["train"], "shard": False}}
    run = folder / "in-turn"
    for given, stop in ((whole, 3), (source, 5), (whole, 7), (source, None)):
        command = {"source": given, "run": str(run), "resume": stop != 3, "stop": stop}
        assert crew.run(2, "rank_jobs:verb", **command)[0] == (0 if stop is None else 130)
    same_curve(run, folder / "unbroken")


def test_a_killed_rank(crew, unbroken):
    """Rank 1 dies of signal 9; started again, both go on from the last commit, to the same bytes."""
    folder, source = unbroken
    run = folder / "killed"
    pids = crew.start(2, "rank_jobs:verb", source=source, run=str(run))
    until = time.monotonic() + 200
    while not (run / "steps.jsonl").exists() or len((run / "steps.jsonl").read_text().splitlines()) < 5:
        assert time.monotonic() < until
        time.sleep(0.002)
    os.kill(pids[1], signal.SIGKILL)
    assert crew.ended() == [1, -signal.SIGKILL]
    assert Run(run).read_json("FAILED.json")["error"] == "RankError"
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(run), env=RESTARTED) == [0, 0]
    assert "resumed at step" in (folder / "killed.0.txt").read_text()
    same_bytes(run, folder / "unbroken")


def change(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("file", "harm", "told"),
    [
        ("masters-00002-of-00002.safetensors", change, "has changed"),
        pytest.param("optimizer-00001-of-00002.safetensors", Path.unlink, "is missing", marks=pytest.mark.slow),
        pytest.param("index.json", change, "has changed", marks=pytest.mark.slow),
    ],
    ids=["changed", "missing", "index"],
)
def test_a_damaged_part(crew, unbroken, file, harm, told):
    """The checkpoint is named and passed over; the one before is gone on from, by another number of processes."""
    folder, source = unbroken
    run = folder / f"damaged-{harm.__name__}-{file}"
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(run), stop=7)[0] == 130
    newest, before = durable.committed(run / "checkpoints", "step")
    harm(newest / file)
    assert crew.run(1, "rank_jobs:verb", source=source, run=str(run), resume=True) == [0]
    text = Path(f"{run}.0.txt").read_text()
    assert f"passed over a damaged checkpoint: {newest.name}: {file} {told}" in text
    assert f"resumed at step {durable.number(before)}" in text
    same_curve(run, folder / "unbroken")


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_full_disk_of_one_rank(crew, unbroken, rank):
    """Both end with the reason, no half checkpoint is left, and the run goes on from the last whole one."""
    folder, source = unbroken
    run = folder / f"full-{rank}"
    assert crew.run(2, "rank_jobs:full", source=source, run=str(run), rank=rank, saves=2) == [1, 1]
    failed = Run(run).read_json("FAILED.json")
    assert failed["error"] == "ResourceError" and "The disk is full" in failed["message"]
    assert [durable.number(path) for path in durable.committed(run / "checkpoints", "step")] == [4, 2]
    assert not list((run / "checkpoints").glob(".*.tmp"))
    assert crew.run(2, "rank_jobs:verb", source=source, run=str(run), resume=True) == [0, 0]
    same_bytes(run, folder / "unbroken")


def test_an_error_on_one_rank(crew, unbroken):
    """A loss that is no number on rank 1 in the middle of a pass that both make ends both with one message, and hangs neither."""
    folder, source = unbroken
    run = folder / "failed"
    given = {"source": source, "run": str(run), "fail": [1, 4]}
    assert crew.run(2, "rank_jobs:failing", **given) == [1, 1]
    told = [(folder / f"failed.{rank}.txt").read_text() for rank in (0, 1)]
    assert sum("The loss is not a finite number at step 5" in text for text in told) == 1
    assert len(small.steps(run)) == 4


@pytest.mark.slow
def test_back_to_a_checkpoint(crew, unbroken):
    """A rollback reads each process's rows again; the update that failed is left out on both."""
    folder, source = unbroken
    run = folder / "back"
    guarded = {**source, "train": {**source["train"], "guard": {"not_finite": "rollback"}}}
    assert crew.run(2, "rank_jobs:failing", source=guarded, run=str(run), fail=[1, 4]) == [0, 0]
    assert json.loads((run / "rollbacks.json").read_text())[0]["at"] == 5
    assert [step["step"] for step in small.steps(run)] == list(range(1, 11))
    assert small.steps(run)[4]["skipped"]
