"""A full disk, and a disk that may not be written: one clear message, and the last good checkpoint is still there."""

import contextlib
import errno
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import septet.finish as septet_finish
import septet.train as septet_train
import small
from saving import save
from septet import durable
from septet.engine.state import TrainState, load_latest
from septet.errors import DiskFull, ResourceError, RunError, explain_foreign
from septet.run import Run

MASTERS = {"a": torch.arange(6.0)}
MOMENTS = {"exp_avg.a": torch.ones(6)}


class FullDisk:
    """Every call that writes, by index; the n-th one fails as on a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int | None):
        self.calls, self.fail_at = 0, fail_at
        for owner, name in [(os, "write"), (os, "fsync"), (Path, "mkdir"), (Path, "rename"), (Path, "replace")]:
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, real):
        def call(*args, **options):
            self.calls += 1
            if self.calls - 1 == self.fail_at:
                raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))
            return real(*args, **options)

        return call


def test_a_checkpoint_survives_a_full_disk_at_every_call(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        counter = FullDisk(patch, None)
        save(tmp_path, TrainState(step=1), MASTERS, MOMENTS)
    assert counter.calls >= 10
    for index in range(counter.calls):
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, index)
            with pytest.raises(OSError, match="No space") as caught:
                save(tmp_path, TrainState(step=2), {"a": torch.zeros(6)}, MOMENTS)
        told = explain_foreign(caught.value)
        assert isinstance(told, ResourceError)
        assert re.search(r"\d ([KM]i)?B needed, [\d.]+ [GMK]iB free", str(told))
        found = load_latest(tmp_path)
        assert found.passed_over == [], f"call {index} left half a checkpoint under its final name"
        # once it is renamed, the new one is whole; before, the old one is the newest
        assert found.state.step in (1, 2)
        assert torch.equal(found.masters["a"], MASTERS["a"] if found.state.step == 1 else torch.zeros(6))
        assert not list(tmp_path.glob(".*")), f"call {index} left a temporary folder"
        shutil.rmtree(tmp_path / "step-000002", ignore_errors=True)


def test_a_small_file_is_whole_or_the_old_one(tmp_path):
    run = Run(tmp_path / "run").create()
    run.write_json("best.json", {"step": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk(patch, 0).counted(os.fsync))
        with pytest.raises(OSError, match="No space"):
            run.write_json("best.json", {"step": 2})
    assert run.read_json("best.json") == {"step": 1}
    assert [p.name for p in run.path.iterdir()] == ["best.json"]


def test_a_run_on_a_full_disk_can_be_resumed(tmp_path, monkeypatch):
    """The disk fills at the third checkpoint; the run fails with one message, and goes on once there is space."""
    from septet.train import train

    source = small.recipe(tmp_path, epochs=1)
    recipe, whole = small.begin(source, tmp_path / "whole")
    train(recipe, whole)
    recipe, run = small.begin(source, tmp_path / "full")
    real = durable.write_file

    def fail(path, content):
        if "step-000006" in str(path) and path.name == "optimizer.safetensors":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_file", fail)
        with pytest.raises(ResourceError, match="The disk is full: .* needed, .* free; what was saved") as caught:
            train(recipe, run)
    assert caught.value.exit_code == 1
    assert "--run" in str(caught.value)
    assert run.read_json("FAILED.json")["error"] == "ResourceError"
    assert not run.done
    assert load_latest(run.checkpoints).state.step == 4
    train(recipe, run, resume=True)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    assert small.steps(run.path) == small.steps(whole.path)


def test_what_cannot_fit_is_not_begun(tmp_path, monkeypatch):
    """Before training, and before each save: the free space is looked at first, and nothing is written."""
    from septet.train import train

    recipe, run = small.begin(small.recipe(tmp_path, epochs=1), tmp_path / "run")
    free = durable.free_bytes
    with monkeypatch.context() as patch:
        patch.setattr(durable, "free_bytes", lambda path: 1000)
        with pytest.raises(ResourceError, match=r"The disk is full: .* needed, 1000 B free"):
            train(recipe, run)
    assert not run.checkpoints.exists()
    written = []

    def after_four(path):
        written[:] = sorted(p.name for p in run.checkpoints.glob("*")) if run.checkpoints.exists() else []
        return 1000 if "step-000004" in written else free(path)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "free_bytes", after_four)
        with pytest.raises(ResourceError, match="1000 B free"):
            train(recipe, run)
    assert not [p for p in run.checkpoints.iterdir() if p.name.startswith(".")]
    assert load_latest(run.checkpoints).state.step == 4
    train(recipe, run, resume=True)
    assert run.done


@contextlib.contextmanager
def disk(place, size):
    """A real file system of a size."""
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:  # lazily: weights that a traceback still holds are mapped from a file there
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with disk(tmp_path / "disk", "64k") as place:
        yield place


class Fills:
    """Fills the disk, but for some bytes, at the n-th write to a file whose path holds a text, or as the model is written."""

    def __init__(self, patch, ballast, *, at, of, left):
        self.ballast, self.left, self.count = ballast, left, at
        write, write_model = durable._write, septet_finish.write_model

        def counted(handle, raw):
            if of in str(Path(f"/proc/self/fd/{handle}").readlink()) and not ballast.exists():
                self.count -= 1
                if self.count == 0:
                    self.fill()
            write(handle, raw)

        def before_model(*args):
            if of == "model":
                self.fill()
            write_model(*args)

        patch.setattr(durable, "_write", counted)
        patch.setattr(septet_finish, "write_model", before_model)

    def fill(self):
        self.ballast.write_bytes(bytes(max(0, durable.free_bytes(self.ballast) - self.left)))


# how many trials, and what is filled: in the midst of a checkpoint, of a log, of the model
TRIALS = 20 if os.environ.get("SEPTET_FAULTS") == "full" else 3
PLACES = ("step-0", "steps.jsonl", "model", "best-0")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run that has all the space it wants, and its recipe."""
    folder = tmp_path_factory.mktemp("unbroken")
    source = small.recipe(folder, epochs=1)
    recipe, run = small.begin(source, folder / "whole")
    septet_train.train(recipe, run)
    return source, run


@pytest.mark.parametrize("trial", range(TRIALS))
def test_the_disk_really_fills_while_a_run_writes(trial, unbroken, tmp_path):
    source, whole = unbroken
    draw = random.Random(trial)
    with disk(tmp_path / "disk", "6m") as place:
        recipe, run = small.begin(source, place / "run")
        of = PLACES[trial % len(PLACES)]
        # lines of a log fit into the page that they have begun: it is the next page that does not
        at, left = draw.randrange(1, 8), draw.choice([0, 4096, 32_768]) if of != "steps.jsonl" else 0
        with pytest.MonkeyPatch.context() as patch:
            Fills(patch, place / "ballast", at=at, of=of, left=left)
            with pytest.raises(ResourceError, match="The disk is full: .* needed, .* free; what was saved") as caught:
                septet_train.train(recipe, run)
        assert caught.value.exit_code == 1
        assert not run.done
        found = load_latest(run.checkpoints)
        if run.checkpoints.exists() and any(run.checkpoints.glob("step-*")):
            assert [p for p in found.passed_over if "being written" not in p] == []
            assert found.masters
        (place / "ballast").unlink()
        septet_train.train(recipe, run, resume=run.started)
        assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
        assert small.steps(run.path) == small.steps(whole.path)
        assert run.records("evaluations.jsonl") == whole.records("evaluations.jsonl")


def test_a_really_full_disk_is_explained(small_disk):
    save(small_disk, TrainState(step=1), MASTERS, MOMENTS)
    with pytest.raises(DiskFull) as caught:
        save(small_disk, TrainState(step=2), {"a": torch.zeros(100_000)}, MOMENTS)
    assert re.search(r"The disk is full: 39\d.\d KiB needed, \d\d.0 KiB free", str(explain_foreign(caught.value)))
    assert load_latest(small_disk).state.step == 1
    assert not list(small_disk.glob(".*"))


def test_safetensors_own_error_is_explained(small_disk):
    """It writes in Rust, and raises an error that is no OSError."""
    from safetensors.torch import save_file

    target = small_disk / "a.safetensors"
    with pytest.raises(DiskFull) as caught, durable.full_disk(target, 400_000):
        save_file({"a": torch.zeros(100_000)}, str(target))
    assert caught.value.need_bytes == 400_000
    assert caught.value.free_bytes <= 64 * 1024


def test_a_line_that_does_not_fit_is_not_there_at_all(small_disk):
    """Half a line would be damage in the middle of the stream once there is space again."""
    run = Run(small_disk / "run").create()
    run.append("events.jsonl", {"event": "one"})
    with pytest.raises(DiskFull, match="No space"):
        run.append("events.jsonl", {"event": "x" * 100_000})
    run.append("events.jsonl", {"event": "two"})
    assert [r["event"] for r in run.records("events.jsonl")] == ["one", "two"]


def test_a_limit_on_file_size_is_told_as_what_it_is(tmp_path):
    """`ulimit -f`: no full disk, and the run must not say that it is."""
    code = (
        "import resource, sys; from pathlib import Path; from septet import durable; from septet.errors import explain_foreign\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: durable.write_atomic(Path(sys.argv[1]) / 'f', bytes(5000))\n"
        "except OSError as error: print(explain_foreign(error))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "A limit on what may be written is reached: 4.9 KiB needed" in told
    assert not list(tmp_path.iterdir())


def test_a_read_only_place_is_explained(tmp_path, monkeypatch):
    """As root permissions do not hold, so the call itself refuses."""
    from septet.train import train

    recipe, run = small.begin(small.recipe(tmp_path, epochs=1), tmp_path / "run")

    def refuse(self, *args, **options):
        raise PermissionError(errno.EROFS, "Read-only file system", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", refuse)
        with pytest.raises(OSError, match="Read-only") as caught:
            train(recipe, run)
    explained = explain_foreign(caught.value)
    assert isinstance(explained, ResourceError)
    assert explained.exit_code == 1
    assert "No permission to write" in str(explained)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    def refuse(path, *args, **options):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        patch.setattr("os.open", refuse)
        durable.write_atomic(tmp_path / "recipe.yaml", b"")
    explained = explain_foreign(caught.value)
    assert isinstance(explained, ResourceError)
    assert explained.where == str(tmp_path) and ".tmp" not in str(explained)


def test_a_damaged_line_of_a_record_is_named(tmp_path):
    """A line cut short at the end is what a kill leaves; one before it is damage, and its place is told."""
    run = Run(tmp_path)
    (tmp_path / "evaluations.jsonl").write_text('{"step": 1}\n{"step": 2')
    assert run.records("evaluations.jsonl") == [{"step": 1}]
    (tmp_path / "evaluations.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunError, match="damaged") as caught:
        run.records("evaluations.jsonl")
    assert "evaluations.jsonl:2" in str(caught.value)
