"""The file of a frozen part's states: found again, computed anew where it is damaged, left out where there is no room; and a run that uses it."""

import json

import pytest
import torch

from septet import cache
from septet.engine import states
from septet.engine.states import StatesFile, no_room
from septet.train import train
from small import begin, recipe, steps


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / states.KIND


def table(dtype=torch.float32):
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).to(dtype)


def written(facts, dtype=torch.float32):
    file = StatesFile(facts, (12, 5), dtype)
    file.write(table(dtype).split(5))
    return file


@pytest.mark.parametrize("dtype", states.NAMES)
def test_a_table_is_read_as_it_was_written(kept, dtype):
    from safetensors.torch import load_file

    file = written({"a": 1}, dtype)
    assert torch.equal(StatesFile({"a": 1}, (12, 5), dtype).read(), table(dtype))
    assert torch.equal(load_file(file.path)["states"], table(dtype))
    assert StatesFile({"a": 2}, (12, 5), dtype).read() is None
    assert not list(kept.glob(".*")), "something temporary is left"


@pytest.mark.parametrize("harm", ["flip", "cut", "no file", "no facts", "other facts", "no JSON"])
def test_what_is_damaged_counts_as_absent(kept, harm):
    file = written({"a": 1})
    raw = file.path.read_bytes()
    if harm == "flip":
        file.path.write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
    elif harm == "cut":
        file.path.write_bytes(raw[:-4])
    elif harm == "no file":
        file.path.unlink()
    elif harm == "no facts":
        file.about.unlink()
    elif harm == "other facts":
        file.about.write_text(json.dumps({**json.loads(file.about.read_text()), "facts": {"a": 3}}))
    else:
        file.about.write_text("{")
    assert file.read() is None
    assert torch.equal(written({"a": 1}).read(), table())


def test_what_was_used_longest_ago_goes(kept, monkeypatch):
    import os

    files = [written({"a": i}) for i in range(3)]
    size = files[0].path.stat().st_size
    for age, file in zip((10, 30, 20), files, strict=True):
        os.utime(file.about, (1e9 - age, 1e9 - age))
    (kept / ".left.safetensors.7.tmp").write_bytes(b"x")
    os.utime(kept / ".left.safetensors.7.tmp", (1e9, 1e9))
    monkeypatch.setattr(states, "MOST_BYTES", 3 * size)
    written({"a": 9})
    assert [file.read() is not None for file in files] == [True, False, True]
    assert not files[1].path.exists() and not list(kept.glob(".*"))


def test_no_room(kept, monkeypatch):
    assert no_room(1000) == ""
    assert "are kept" in no_room(states.MOST_BYTES + 1)
    monkeypatch.setattr(states, "FREE_SHARE", 1e-12)
    assert "free at" in no_room(1 << 20)


def run(folder, **train_options):
    loaded, made = begin(recipe(folder, method="head", **train_options), folder / "run")
    heard = []
    train(loaded, made, listen=lambda event, **facts: heard.append((event, facts)))
    said = [facts["text"] for event, facts in heard if event == "note" and "frozen part" in facts["text"]]
    return steps(folder / "run"), (folder / "run" / "model" / "model.safetensors").read_bytes(), said, made


def losses(found):
    return [step["loss"] for step in found[0]]


def test_a_run_a_second_one_and_one_over_a_damaged_file(kept, tmp_path):
    without = run(tmp_path / "without", cache_frozen=False)
    first = run(tmp_path / "first")
    assert losses(first) == pytest.approx(losses(without), abs=1e-6)
    assert [s["tokens"] for s in first[0]] == [s["tokens"] for s in without[0]]
    setup = first[3].read_json("setup.json")["findings"]
    assert any(f["slug"] == "frozen-kept" for f in setup) and not first[2]
    assert "cache_frozen: true  # why: all up to bert is frozen" in (first[3].path / "recipe.yaml").read_text()
    scores = [[r["log_loss"] for r in found[3].records("evaluations.jsonl")] for found in (first, without)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    second = run(tmp_path / "second")
    assert "kept from an earlier run" in second[2][0]
    assert second[:2] == first[:2]
    (file,) = kept.glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    third = run(tmp_path / "third")
    assert not third[2] and third[:2] == first[:2]
    assert file.read_bytes() == whole


def test_a_disk_that_is_full(kept, tmp_path, monkeypatch):
    """The run goes on without, and says so."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StatesFile, "write", full)
    found = run(tmp_path / "run")
    assert "No space left" in found[2][0]
    assert losses(found) == pytest.approx(losses(run(tmp_path / "without", cache_frozen=False)), abs=1e-6)


def test_a_resumed_run_ends_in_the_same_bytes(kept, tmp_path):
    """Also where the kept states are gone and are computed anew."""
    layers = {"name": "layers", "count": 1}
    whole, made = begin(recipe(tmp_path / "a", method=layers), tmp_path / "a" / "run")
    train(whole, made)
    given, broken = begin(recipe(tmp_path / "b", method=layers), tmp_path / "b" / "run")

    def stop(event, **facts):
        if event == "step" and facts["step"] == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(given, broken, listen=stop)
    assert list(kept.glob("*.safetensors"))
    for file in kept.glob("*"):
        file.unlink()
    train(given, broken, resume=True)
    assert steps(broken.path) == steps(made.path)
    name = "model.safetensors"
    assert (broken.model / name).read_bytes() == (made.model / name).read_bytes()


def test_check_counts_it(kept, tmp_path):
    from septet.check import check

    found = {}
    for wanted in (True, False):
        loaded, made = begin(recipe(tmp_path, method="head", cache_frozen=wanted), tmp_path / f"run{wanted}")
        found[wanted] = check(loaded, made).estimate
    # the checkpoints that were written to measure the rest differ by the digits of their times
    assert found[True]["disk_bytes"] - found[False]["disk_bytes"] == pytest.approx(66 * 32 * 4, abs=200)
    assert not cache.folder(states.KIND).exists(), "check computed all of it"
