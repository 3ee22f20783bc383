"""Measurements of the machine: kept, bettered while they are few, and taken anew when they are old."""

import torch

from septet import cache
from septet.engine import device, measured


def taken(monkeypatch, tmp_path, *figures, better=max):
    """Return a function that measures once, as one run would, and how often it did."""
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    told, calls = iter(figures), []

    def measure():
        calls.append(1)
        return {"rate": next(told)}

    return (lambda: measured.measured("k", {"hidden": 8}, measure, better=better)), calls


def test_a_busy_moment_does_not_rule_for_ever(monkeypatch, tmp_path):
    ask, calls = taken(monkeypatch, tmp_path, 5.0, 9.0, 7.0)
    assert [ask().figures["rate"] for _ in range(5)] == [5.0, 9.0, 9.0, 9.0, 9.0]
    assert len(calls) == measured.SETTLED == 3


def test_of_times_the_shortest_counts(monkeypatch, tmp_path):
    ask, _ = taken(monkeypatch, tmp_path, 5.0, 2.0, 7.0, better=min)
    assert [ask().figures["rate"] for _ in range(4)] == [5.0, 2.0, 2.0, 2.0]


def test_what_is_said_of_it(monkeypatch, tmp_path):
    ask, _ = taken(monkeypatch, tmp_path, 5.0, 9.0, 7.0)
    told = [ask().told for _ in range(4)]
    assert told[:3] == ["measured now", "measured now and once before", "measured now and 2 times before"]
    assert told[3].startswith("measured on 20")
    assert str(cache.folder("measured")) in told[3]


def test_what_is_old_is_measured_anew(monkeypatch, tmp_path):
    ask, calls = taken(monkeypatch, tmp_path, 9.0, 9.0, 9.0, 4.0)
    for _ in range(3):
        ask()
    later = measured.time.time() + (measured.DAYS + 1) * 86400
    monkeypatch.setattr(measured.time, "time", lambda: later)
    assert ask().figures["rate"] == 4.0, "the old rate does not count any more"
    assert len(calls) == 4


def test_another_machine_or_version_is_measured_by_itself(monkeypatch, tmp_path):
    ask, calls = taken(monkeypatch, tmp_path, 5.0, 3.0)
    ask()
    monkeypatch.setattr(measured, "cpu_name", lambda: "another")
    assert ask().figures["rate"] == 3.0
    assert len(calls) == 2


def test_an_entry_of_another_form_is_measured_anew(monkeypatch, tmp_path):
    ask, _ = taken(monkeypatch, tmp_path, 5.0, 3.0)
    key = {"kind": "k", **measured.fingerprint(), "hidden": 8}
    cache.write(measured.FOLDER, key, {"figures": {"rate": "fast"}, "days": [1, 2, 3], "time": 1})
    assert ask().figures["rate"] == 5.0


def test_the_ceiling_comes_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    for _ in range(measured.SETTLED):
        first = device.ceiling(torch.device("cpu"), 16, 32)
    monkeypatch.setattr(device, "measure_ceiling", None)
    again = device.ceiling(torch.device("cpu"), 16, 32)
    assert (again.fp32, again.bf16, again.fp16) == (first.fp32, first.bf16, None)
    assert again.told.startswith("measured on")
