"""`septet selftest` from the command line: it passes here, and fails where a resume would not be exact."""

from __future__ import annotations

import json
import random

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
    assert set(told["sha256"]["classify"]) == {
        "model",
        "weights of checkpoint",
        "optimizer",
        "steps.jsonl",
        "evaluations.jsonl",
    }


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (Trial("classify", [3], "step-000002/masters.safetensors", True, ["model"]), "DIFFERS: model"),
        (Trial("classify", [3], "step-000002/masters.safetensors", False, []), "NOT NOTICED"),
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
