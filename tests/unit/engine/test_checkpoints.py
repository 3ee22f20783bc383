"""Checkpoints are whole or absent; a damaged one is named and the one before it is used."""

import json

import pytest
import torch

from septet.engine import state as states
from septet.engine.state import (
    TrainState,
    commit_folder,
    damage,
    keep_best,
    keep_last,
    load_best,
    load_latest,
    save,
    save_best,
)


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
        "optimizer.safetensors has changed",
    ),
    "missing file": (lambda p: (p / "state.json").unlink(), "state.json is missing"),
    "missing manifest": (lambda p: (p / "manifest.json").unlink(), "no readable manifest"),
    "half a manifest": (
        lambda p: (p / "manifest.json").write_text((p / "manifest.json").read_text()[:20]),
        "no readable manifest",
    ),
    "a manifest of another shape": (lambda p: (p / "manifest.json").write_text("[]"), "no readable manifest"),
    "an empty folder": (lambda p: [f.unlink() for f in p.iterdir()], "no readable manifest"),
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
    half = folder / ".step-000015.999.tmp"
    half.mkdir()
    (half / "masters.safetensors").write_bytes(b"half")
    assert load_latest(folder).state.step == 10
    save(folder, TrainState(step=20), masters(20), optimizer(20))
    assert not half.exists()
    assert load_latest(folder).state.step == 20


def test_a_failed_write_leaves_what_was_there(folder):
    def write(temporary):
        (temporary / "masters.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        commit_folder(folder / "step-000010", write)
    assert load_latest(folder).state.step == 10
    assert not list(folder.glob(".*"))


def test_the_order_of_a_commit(tmp_path, monkeypatch):
    """Every file is synced before the rename, and the parent after it: the rename is what makes it a checkpoint."""
    import os
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
    assert json.loads((path / "state.json").read_text())["format"] == states.FORMAT
