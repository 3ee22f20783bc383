"""What `check` says a run will take is made of all that the run does, and leaves nothing behind."""

import dataclasses

import numpy as np
import pytest
import torch

import small
from septet import journey, rehearse
from septet.engine.plan import Planner

PARTS = ("setup_s", "train_s", "validation_s", "saving_s", "finish_s")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run that was checked first: the estimate, and the run."""
    folder = tmp_path_factory.mktemp("rehearsed")
    source = small.recipe(folder)
    checked = journey.check(source, run=folder / "run")
    left = sorted(path.name for path in (folder / "run").iterdir())
    return checked, journey.train(source, run=folder / "run"), left


def test_the_estimate_is_the_sum_of_what_a_run_does(pair):
    estimate = pair[0].estimate
    assert estimate["steps"] == 21
    assert all(estimate[part] >= 0 for part in PARTS)
    assert estimate["total_s"] == pytest.approx(sum(estimate[part] for part in PARTS), abs=0.3)
    assert estimate["low_s"] <= estimate["total_s"] <= estimate["high_s"]
    assert estimate["memory_bytes"] > 2**27
    shown = pair[0].text()
    assert "in all" in shown and "of which" in shown


def test_a_rehearsal_leaves_nothing_behind(pair):
    assert not [name for name in pair[2] if "rehearsal" in name or name in ("model", "checkpoints", "steps.jsonl")]


def test_a_run_sets_the_estimate_beside_what_it_took(pair):
    checked, trained, _ = pair
    assert trained.costs["estimate"] == checked.estimate
    told = trained.text()
    assert "estimated" in told and "and took" in told
    assert trained.costs["peak_memory_bytes"] == pytest.approx(checked.estimate["memory_bytes"], rel=0.15)
    steps = [each["step"] for each in trained.costs["forecasts"]]
    assert steps and all(1 <= step <= 21 for step in steps)


def test_the_disk_estimate_holds_what_the_run_leaves(pair):
    checked, trained, _ = pair
    left = sum(
        path.stat().st_size
        for folder in (trained.run.checkpoints, trained.run.model)
        for path in folder.rglob("*")
        if path.is_file()
    )
    assert left <= checked.estimate["disk_bytes"] <= 4 * left


def test_the_longest_row_and_the_fullest_update_are_measured(monkeypatch):
    lengths = np.full(400, 10)
    lengths[123] = 300
    planner = Planner(lengths.tolist(), 8, seed=3, token_budget=512)
    longest, fullest = rehearse.heaviest(planner)
    assert 123 in planner.group(longest)[1]
    assert planner.tokens_by_group(0)[fullest] == planner.tokens_by_group(0).max()
    lengths[[1, 2, 3]] = 200
    planner = dataclasses.replace(planner, lengths=lengths.tolist())
    longest, fullest = rehearse.heaviest(planner)
    assert 123 in planner.group(longest)[1]


def test_a_disturbed_update_does_not_set_the_speed():
    from septet.engine.loop import Step

    steps = [Step(i, 0, 1.0, 1e-3, 1.0, 8, 100, seconds) for i, seconds in enumerate([1.0, 1.0, 50.0, 1.0])]
    assert rehearse._speed(steps) == pytest.approx(0.01)


def test_without_validation_nothing_is_priced_for_it(tmp_path):
    source = small.recipe(tmp_path)
    source["data"] = {"train": source["data"]["train"], "split": {"validation": 0, "test": 0.2}}
    estimate = journey.check(source, run=tmp_path / "run").estimate
    assert estimate["validation_s"] == 0
    assert estimate["finish_s"] > 0


def test_answers_are_measured_by_whole_batches():
    class Task:
        answers_with = "texts"

        @staticmethod
        def prompts(rows, _processor):
            from septet.tasks import Example

            return [[Example(i, {}, None, row["size"], {})] for i, row in enumerate(rows)]

    class Setup:
        task, processor, device = Task(), None, torch.device("cpu")

    rows = [{"size": 100} for _ in range(95)]
    part, share = rehearse._written(Setup(), rows)  # type: ignore[arg-type]
    assert len(part) == 40 and share == pytest.approx(2 / 5)
    part, share = rehearse._written(Setup(), rows[:5])  # type: ignore[arg-type]
    assert sorted(part) == [0, 1, 2, 3, 4] and share == 1


def test_a_finding_is_told_once(tmp_path, monkeypatch):
    """By the result of the verb itself; within `run` when its stage ends, and again at the end."""
    monkeypatch.chdir(tmp_path)
    source = small.recipe(tmp_path, epochs=1)
    heard = []

    def listen(event, **facts):
        heard.extend([facts["finding"].slug] if event == "finding" else [])

    checked = journey.check(source, run="checked", listen=listen)
    assert "precision-chosen" in checked.text() and "precision-chosen" not in heard
    journey.run_all(source, run="all", listen=listen)
    assert heard.count("precision-chosen") == 1
    heard.clear()
    evaluated = journey.evaluate("all", listen=listen)
    assert not {finding.slug for finding in evaluated.findings} & set(heard)
