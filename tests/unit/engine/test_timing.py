"""The clock of a run's parts: every second counts once, for the innermost part."""

import pytest

import small
from septet import journey
from septet.engine import timing
from septet.engine.timing import RUN_PARTS, STEP_PARTS, Timer


@pytest.fixture
def now(monkeypatch):
    """An invented clock: a list whose only number is the time."""
    time = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: time[0])
    return time


def test_every_second_counts_once(now):
    timer = Timer()
    now[0] += 1
    with timer("validation"):
        now[0] += 2
        with timer("saving"):
            now[0] += 4
        now[0] += 8
    now[0] += 16
    assert timer.settle() == {"other": 17, "validation": 10, "saving": 4}
    assert timer.settle() == {"other": 17, "validation": 10, "saving": 4}


def test_a_part_that_fails_is_counted_and_closed(now):
    timer = Timer()
    with pytest.raises(ValueError), timer("forward"):
        now[0] += 3
        raise ValueError
    now[0] += 1
    assert timer.settle() == {"forward": 3, "other": 1}


def test_what_a_run_had_spent_before_is_added(now):
    timer = Timer()
    with timer("setup"):
        now[0] += 5
    timer.add({"setup": 7.0, "forward": 2.0})
    assert timer.settle() == {"other": 0, "setup": 12, "forward": 2}


def test_each_change_waits_for_the_accelerator_and_opens_a_scope(now):
    timer, told = Timer(), []

    def wait():
        told.append("wait")
        now[0] += 1

    class Scope:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            told.append(self.name)

        def __exit__(self, *error):
            told.append(f"/{self.name}")

    timer.sync, timer.scope = wait, Scope
    with timer("forward"):
        pass
    assert told == ["wait", "forward", "/forward", "wait"]
    assert timer.settle()["forward"] == 1, "what the accelerator did last counts for the part that asked for it"


def test_a_run_says_where_its_time_went(tmp_path):
    result = journey.train(small.recipe(tmp_path), run=tmp_path / "run")
    parts = result.costs["parts_s"]
    assert set(parts) <= {*RUN_PARTS, "other"}
    assert {*STEP_PARTS, "validation", "saving", "setup", "finish"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(result.costs["stage_s"], abs=0.01)
    assert sum(parts[part] for part in STEP_PARTS) <= result.costs["train_s"] <= result.costs["stage_s"]
    assert result.run.read_json("costs.json")["parts_s"] == parts


def test_a_resumed_run_remembers_what_it_had_spent(tmp_path):
    from septet.engine import state as states

    result = journey.train(small.recipe(tmp_path), run=tmp_path / "run")
    saved = states.load_latest(result.run.checkpoints)
    assert saved is not None
    for part in STEP_PARTS:
        assert 0 < saved.state.spent[part] <= result.costs["parts_s"][part] + 0.001
