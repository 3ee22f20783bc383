"""`septet selftest` from the command line: it passes here, and fails where a resume would not be exact."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from pathlib import Path

import pytest

from septet import cli, selftest
from septet.selftest import SelfTested, Trial, flip


def call(capsys, *args):
    with pytest.raises(SystemExit) as ended:
        cli.main(["selftest", *args])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_runs_that_are_killed_come_to_the_same_bytes(capsys, monkeypatch):
    """One kind here, for its time; the other goes through the same code."""
    monkeypatch.setattr(selftest, "KINDS", {"classify": selftest.KINDS["classify"]})
    code, out, err = call(capsys, "--json", "--kills", "2")
    told = json.loads(out)
    assert code == 0, (out, err)
    assert told["good"] and told["kills"] == 2
    (trial,) = told["trials"]
    assert trial["passed_over"] is True
    assert len(trial["killed"]) == 2
    assert trial["computed"] == "fp32 by torch" and told["not_tried"] == {}
    assert set(told["sha256"]["classify"]) == {
        "model",
        "weights of checkpoint",
        "optimizer",
        "steps.jsonl",
        "evaluations.jsonl",
    }


@pytest.fixture
def kernels():
    if lacks := selftest.lacking():
        pytest.skip(f"no kernels: {lacks['kernels']}")


def test_so_do_runs_by_what_this_machine_is_quickest_by(kernels, monkeypatch):
    monkeypatch.setattr(selftest, "KINDS", {selftest.QUICK: selftest.KINDS[selftest.QUICK]})
    found = selftest.selftest(kills=1)
    assert found.good and found.not_tried == {}
    (trial,) = found.trials
    assert trial.computed == "bf16 by kernels, torch"
    assert "classify bf16 bf16 by kernels, torch; killed after update" in found.text()


def test_the_quick_kind_meets_every_kernel(kernels, tmp_path, monkeypatch):
    """Its attention, its norms and its update are computed by them, so that the test above shows all of them."""
    from septet.engine import native
    from septet.journey import train

    called, call = set(), native.call
    monkeypatch.setattr(native, "call", lambda name, *arguments: called.add(name) or call(name, *arguments))
    source = selftest.KINDS[selftest.QUICK](tmp_path)
    source["train"]["max_steps"] = 2
    train(source, run=tmp_path / "run")
    assert called == set(native._SIGNATURES)


@pytest.mark.parametrize(
    ("flags", "why", "not_tried"),
    [
        (["avx2"], "", {"bf16": "the processor has no instructions for it", "kernels": "they are of bf16"}),
        (["avx512_bf16"], "no C++ compiler (g++) is installed", {"kernels": "no C++ compiler (g++) is installed"}),
        (["amx_bf16"], "", {}),
    ],
)
def test_what_the_machine_lacks_is_told_as_not_tried(monkeypatch, flags, why, not_tried):
    monkeypatch.setattr("septet.engine.machine.cpu_flags", lambda: flags)
    monkeypatch.setattr("septet.engine.kernels.unfit", lambda *_: why)
    monkeypatch.setattr(selftest, "_killed", lambda *_: ([6], Path("step-2/masters.safetensors"), "…: step-2"))
    monkeypatch.setattr(selftest, "_going", lambda *_: nullcontext())
    for name, value in (("_end", ""), ("fingerprints", {}), ("_computed", "by torch")):
        monkeypatch.setattr(selftest, name, lambda *_, value=value: value)
    found = selftest.selftest()
    assert found.to_json()["not_tried"] == not_tried
    assert len(found.trials) == (2 if "bf16" in not_tried else 3)
    for what, reason in not_tried.items():
        assert f"not tried: {what}: {reason}" in found.text()


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (Trial("classify", "fp32 by torch", [3], "step-000002/masters.safetensors", True, ["model"]), "DIFFERS: model"),
        (Trial("classify", "fp32 by torch", [3], "step-000002/masters.safetensors", False, []), "NOT NOTICED"),
    ],
)
def test_a_difference_and_a_flip_that_nobody_saw_fail(capsys, monkeypatch, trial, says):
    monkeypatch.setattr(selftest, "selftest", lambda **_: SelfTested([trial], {"classify": {"model": "0" * 64}}, 1.0))
    code, out, _ = call(capsys)
    assert code == 1
    assert says in out
    assert "1 kills, 0 of 1 runs" in out


def test_a_run_that_breaks_is_told(capsys, monkeypatch, tmp_path):
    def broken(folder):
        return {"data": {"train": "missing.jsonl"}, "task": {"name": "classify", "text": "text", "label": "label"}}

    monkeypatch.setattr(selftest, "KINDS", {"broken": broken})
    code, _, err = call(capsys)
    assert code == 1
    assert "ended by itself" in err and "missing.jsonl" in err


def test_a_flip_changes_one_bit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(64))
    flip(path, random.Random(0))
    assert sum(byte.bit_count() for byte in path.read_bytes()) == 1
