"""Checkpoints are whole or absent; a damaged one is named and the one before it is used."""

import json
import os
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file

from saving import save, save_best
from septet import durable
from septet.durable import Bytes, damage
from septet.engine import state as states
from septet.engine.state import TrainState, keep_best, keep_last, load_best, load_latest
from septet.engine.tensors import Tensors
from septet.engine.writer import Checkpoints, Writer
from septet.errors import DiskFull
from septet.run import Run
from tiny import bench


def masters(value):
    return {"a.weight": torch.full((3, 2), float(value)), "b": torch.arange(4.0) + value}


def optimizer(value):
    return {"exp_avg.b": torch.full((4,), value / 3), "step.b": torch.tensor(float(value))}


@pytest.fixture
def folder(tmp_path):
    for step in (5, 10):
        save(
            tmp_path,
            TrainState(
                step=step, rows=step * 8, best={"step": 5, "metric": "f1", "value": 0.1 + 0.2}, loss_scale=2.0**20
            ),
            masters(step),
            optimizer(step),
        )
    return tmp_path


def test_goes_round_exactly(folder):
    found = load_latest(folder)
    assert found.path.name == "step-000010"
    assert found.state == TrainState(
        step=10, rows=80, best={"step": 5, "metric": "f1", "value": 0.1 + 0.2}, loss_scale=2.0**20
    )
    assert all(torch.equal(v, masters(10)[k]) for k, v in found.masters.items())
    assert all(torch.equal(v, optimizer(10)[k]) for k, v in found.optimizer.items())
    assert found.passed_over == []
    assert not list(folder.glob(".*"))


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


DAMAGE = {
    "flipped bit": (lambda p: flip(p / "masters.safetensors"), "masters.safetensors has changed"),
    "flipped bit in the moments": (lambda p: flip(p / "optimizer.safetensors"), "optimizer.safetensors has changed"),
    "truncated": (
        lambda p: (p / "optimizer.safetensors").write_bytes((p / "optimizer.safetensors").read_bytes()[:-9]),
        "optimizer.safetensors has ",
    ),
    "of another step": (
        lambda p: shutil.copy(p.with_name("step-000005") / "state.json", p),
        "state.json has ",
    ),
    "the whole of another step": (
        lambda p: shutil.copytree(p.with_name("step-000005"), p, dirs_exist_ok=True),
        "it was saved as step-000005",
    ),
    "a manifest with other spaces": (
        lambda p: (p / "manifest.json").write_bytes((p / "manifest.json").read_bytes() + b" "),
        "manifest.json has changed",
    ),
    "missing file": (lambda p: (p / "state.json").unlink(), "state.json is missing"),
    "missing manifest": (lambda p: (p / "manifest.json").unlink(), "never committed"),
    "half a manifest": (
        lambda p: (p / "manifest.json").write_text((p / "manifest.json").read_text()[:20]),
        "manifest.json cannot be read",
    ),
    "a manifest of another shape": (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    "an empty folder": (lambda p: [f.unlink() for f in p.iterdir()], "never committed"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(folder, kind):
    harm, told = DAMAGE[kind]
    harm(folder / "step-000010")
    found = load_latest(folder)
    assert found.state.step == 5
    assert torch.equal(found.masters["b"], masters(5)["b"])
    assert len(found.passed_over) == 1
    assert found.passed_over[0].startswith("step-000010: ")
    assert told in found.passed_over[0]


def test_with_none_left_training_begins_anew_and_says_what_was_passed_over(folder):
    for path in folder.glob("step-*"):
        flip(path / "masters.safetensors")
    found = load_latest(folder)
    assert found.state == TrainState()
    assert found.masters == {}
    assert [p.split(":")[0] for p in found.passed_over] == ["step-000010", "step-000005"]
    assert load_latest(folder / "nothing") is None


def test_a_half_written_temporary_folder_is_never_read_and_goes_with_the_next_save(folder):
    half = folder / ".step-000015.tmp"
    half.mkdir()
    (half / "masters.safetensors").write_bytes(b"half")
    found = load_latest(folder)
    assert found.state.step == 10
    assert found.passed_over == ["step-000015: it was being written when the run ended"]
    save(folder, TrainState(step=20), masters(20), optimizer(20))
    assert not half.exists()
    assert load_latest(folder).state.step == 20


class Broken(Bytes):
    def chunks(self):
        yield b"half"
        raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_what_was_there(folder):
    with pytest.raises(DiskFull, match="No space"):
        durable.commit(folder / "step-000010", {"masters.safetensors": Broken(b"0123456789")})
    assert load_latest(folder).state.step == 10
    assert not list(folder.glob(".*"))


def test_the_order_of_a_commit(tmp_path, monkeypatch):
    """Every file is synced before the rename, and the parent after it: the rename is what makes it a checkpoint."""
    from pathlib import Path

    events = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: (events.append(("sync", Path(f"/proc/self/fd/{handle}").resolve().name)), fsync(handle)),
    )
    monkeypatch.setattr(
        Path, "rename", lambda self, target: (events.append(("rename", Path(target).name)), rename(self, target))[1]
    )
    save(tmp_path, TrainState(step=1), masters(1), optimizer(1))
    place = events.index(("rename", "step-000001"))
    synced = {name for what, name in events[:place] if what == "sync"}
    assert {"masters.safetensors", "optimizer.safetensors", "state.json", "manifest.json"} <= synced
    assert any(name.endswith(".tmp") for name in synced)
    assert events[place + 1 :] == [("sync", tmp_path.name)]


def test_the_newest_is_the_one_of_the_highest_step_whatever_the_clock_says(tmp_path):
    for step in (9, 99, 100):
        save(tmp_path, TrainState(step=step), masters(step), optimizer(step))
    for path, when in zip(sorted(tmp_path.iterdir()), (300, 100, 200), strict=True):
        os.utime(path, (when, when))
    assert load_latest(tmp_path).state.step == 100
    keep_last(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000099", "step-000100"]


def test_what_is_above_the_newest_save_does_not_crowd_it_out(folder):
    """Step 10 is damaged: the run goes on from 5 and saves 7. With one kept, 7 is it."""
    flip(folder / "step-000010" / "masters.safetensors")
    save(folder, TrainState(step=7), masters(7), optimizer(7))
    keep_last(folder, 1, newest=7)
    assert [p.name for p in folder.iterdir()] == ["step-000007"]


def test_a_step_saved_again_is_never_away(folder, monkeypatch):
    """It is replaced by one of the same name: the old one can be read until the new one can."""
    from pathlib import Path

    seen, rename = [], Path.rename

    def look(self, target):
        seen.append(load_latest(folder).state)
        result = rename(self, target)
        seen.append(load_latest(folder).state)
        return result

    monkeypatch.setattr(Path, "rename", look)
    save(folder, TrainState(step=10, rows=99), masters(11), optimizer(11))
    assert [state.step for state in seen] == [10] * 4
    assert [state.rows for state in seen] == [80, 80, 80, 99]
    assert not list(folder.glob(".*"))


def test_safetensors_reads_what_is_written(tmp_path):
    tensors = {
        "a": torch.randn(3, 5),
        "bf16": torch.randn(7).to(torch.bfloat16),
        "half": torch.randn(1).half(),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "none": torch.empty(0, 4),
        "long": torch.arange(9).reshape(3, 3).T,
        "flags": torch.tensor([True, False, True]),
        "bytes": torch.arange(3, dtype=torch.uint8),
    }
    content = Tensors(tensors)
    told = durable.write_file(tmp_path / "t.safetensors", content)
    assert told["bytes"] == content.size == (tmp_path / "t.safetensors").stat().st_size
    found = load_file(tmp_path / "t.safetensors")
    assert {name: value.dtype for name, value in found.items()} == {n: t.dtype for n, t in tensors.items()}
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_several_processes_can_write_one_checkpoint(tmp_path):
    final = tmp_path / "step-000003"
    durable.begin(final)
    told = {}
    for rank in range(2):
        name = f"masters-{rank}.safetensors"
        told[name] = durable.write_file(durable.temporary(final) / name, Tensors(masters(rank)))
    assert durable.committed(tmp_path, "step") == []
    durable.publish(final, told)
    assert damage(final) is None
    flip(final / "masters-1.safetensors")
    assert damage(final) == "masters-1.safetensors has changed since it was saved"


class Waits:
    """A run's checkpoints whose commits wait to be let go."""

    def __init__(self, folder, monkeypatch):
        self.go = threading.Semaphore(0)
        self.commits = []
        real = durable.commit

        def commit(final, files):
            self.go.acquire()
            self.commits.append(final.name)
            real(final, files)

        monkeypatch.setattr(durable, "commit", commit)
        self.checkpoints = Checkpoints(Run(folder).create(), keep=2)


def test_training_goes_on_while_a_checkpoint_is_written(tiny_bert, tmp_path, monkeypatch):
    """What is saved is the moment of the call, though the weights move while the writer still waits."""
    b = bench(tiny_bert, count=40)
    optimizer, state, waits = b.optimizer(), TrainState(), Waits(tmp_path / "run", monkeypatch)
    b.steps(b.planner(), optimizer, total=8, state=state, until=3)
    optimizer.masters.settle()
    expected = {name: value.clone() for name, value in optimizer.masters.state().items()}
    state.best = {"step": 3, "metric": "f1", "value": 0.5}
    waits.checkpoints.save(state, optimizer)
    b.steps(b.planner(), optimizer, total=8, state=state, until=6)
    assert waits.commits == []
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
    waits.go.release(2)
    waits.checkpoints.finish()
    # the best weights first: no checkpoint names a best that is not there
    assert waits.commits == ["best-000003", "step-000003"]
    found = load_latest(waits.checkpoints.run.checkpoints)
    assert (found.state.step, found.state.best["step"]) == (3, 3)
    best = load_best(waits.checkpoints.run.checkpoints, 3)
    assert set(best) == set(expected)
    for name, value in expected.items():
        assert torch.equal(best[name], value), name
        assert torch.equal(found.masters[name], value), name
    assert waits.checkpoints.cost.saves == 1
    assert waits.checkpoints.cost.bytes == sum(
        p.stat().st_size for p in (tmp_path / "run").rglob("checkpoints/*/*") if p.name != "manifest.json"
    )


def test_one_commit_at_a_time_and_older_ones_go_after_it(tiny_bert, tmp_path, monkeypatch):
    b = bench(tiny_bert, count=40)
    optimizer, state, waits = b.optimizer(), TrainState(), Waits(tmp_path / "run", monkeypatch)
    folder = waits.checkpoints.run.checkpoints
    for until in (1, 2, 3):
        b.steps(b.planner(), optimizer, total=8, state=state, until=until)
        waits.go.release()
        waits.checkpoints.save(state, optimizer)
    waits.checkpoints.finish()
    assert waits.commits == ["step-000001", "step-000002", "step-000003"]
    assert sorted(p.name for p in folder.iterdir()) == ["step-000002", "step-000003"]
    waits.checkpoints.save(state, optimizer)  # not let go yet
    assert sorted(p.name for p in folder.iterdir()) == ["step-000002", "step-000003"]
    waits.go.release()
    waits.checkpoints.finish()


def test_what_the_writer_fails_with_is_raised_once_in_the_thread_that_trains():
    writer = Writer()
    writer.submit(lambda: None)
    writer.finish()

    def fail():
        raise DiskFull(states.Path("x"), 5, 3)

    for ask in (writer.finish, lambda: writer.submit(lambda: None)):
        writer.submit(fail)
        with pytest.raises(DiskFull):
            ask()
        writer.finish()
    writer.submit(fail)
    writer._thread.join()
    with pytest.raises(DiskFull):
        writer.check()
    writer.check()


def test_keeps_the_newest_by_number(tmp_path):
    for step in (999_998, 999_999, 1_000_000):
        save(tmp_path, TrainState(step=step), masters(1), optimizer(1))
    assert load_latest(tmp_path).state.step == 1_000_000
    keep_last(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-1000000", "step-999999"]


def test_the_best_weights_replace_the_earlier_ones(tmp_path):
    save_best(tmp_path, masters(1), {"step": 3, "metric": "f1", "value": 0.5})
    save_best(tmp_path, masters(2), {"step": 6, "metric": "f1", "value": 0.6})
    assert torch.equal(load_best(tmp_path, 6)["b"], masters(2)["b"])
    assert load_best(tmp_path, 3) is not None, "an older checkpoint may still name it"
    keep_best(tmp_path, 6)
    assert torch.equal(load_best(tmp_path, 6)["b"], masters(2)["b"])
    assert load_best(tmp_path, 3) is None
    flip(tmp_path / "best-000006" / "masters.safetensors")
    assert load_best(tmp_path, 6) is None


def test_a_manifest_lists_every_file(folder):
    path = folder / "step-000010"
    listed = json.loads((path / "manifest.json").read_text())["files"]
    assert set(listed) == {p.name for p in path.iterdir()} - {"manifest.json"}
    assert damage(path) is None
    assert all(facts["bytes"] == (path / name).stat().st_size for name, facts in listed.items())
    assert json.loads((path / "state.json").read_text())["format"] == states.FORMAT
