"""Losses that leap: a divergence is gone back on, left out or ends the run; one bad batch, or a few, change nothing."""

import random

import planted
import pytest

import small
from septet.engine.guard import LEAST_LOSSES, MOST_ROLLBACKS, Fault, GoBack, Guard, TrainingError
from septet.engine.state import TrainState, load_latest
from septet.errors import Problems, RecipeError
from septet.recipe import Recipe
from septet.recipe.train import Guarding
from septet.train import train


def quiet(seed, count=300):
    """Losses of a run that learns: falling, with noise of a fifth."""
    draw = random.Random(seed)
    return [3.0 * 0.99**i * draw.uniform(0.8, 1.2) + 0.3 for i in range(count)]


def divergence(seed):
    """From a drawn update on, the loss grows and stays high: at once, in a climb, or with a fall now and then at first."""
    draw = random.Random(seed)
    losses, at = quiet(seed), draw.randrange(40, 200)
    climb = draw.choice([1, 3, 8])
    for i in range(at, len(losses)):
        losses[i] *= 1 + 9 * min(1.0, (i - at + 1) / climb)
    if draw.random() < 0.5:
        losses[at + 2] /= 10
    return losses, at


def one_offs(seed):
    """Bad batches: alone, or up to four in a row."""
    draw = random.Random(100 + seed)
    losses = quiet(seed)
    for start in range(30, 290, 20):
        for i in range(start, start + draw.choice([1, 1, 2, 3, 4])):
            losses[i] *= draw.uniform(5, 50)
    return losses


def found(losses, **settings):
    """Return the updates, counted from 1, at which the guard finds a spike."""
    state = TrainState()
    guard = Guard(Guarding(**{"spike": "skip", **settings}), state)
    faults = []
    for loss in losses:
        try:
            guard.see_course(loss, [])
        except Fault as fault:
            assert fault.kind == "spike"
            faults.append(state.step + 1)
        state.step += 1
    return faults


@pytest.mark.parametrize("seed", range(20))
def test_every_divergence_and_no_one_off(seed):
    losses, at = divergence(seed)
    faults = found(losses)
    assert faults
    assert at + 5 <= faults[0] <= at + 20
    assert found(one_offs(seed)) == []
    assert found(quiet(seed)) == []
    assert found(losses, spike="off") == []


def test_the_rule():
    steady = [1.0] * 100
    assert found([*steady, 2.1, 2.1, 2.1, 2.1, 2.2, 1.0]) == [105]
    assert found([*steady, 2.1, 2.1, 2.1, 2.1, 1.0, 2.2]) == [], "five in a row"
    assert found([*steady, *[1.9] * 20]) == [], "twice the mean"
    assert found([*steady, *[1.9] * 3], factor=1.5, patience=2) == [102, 103]
    assert found([1.0] * (LEAST_LOSSES - 1) + [9.0]) == [], "a mean of few losses judges nothing"
    # of the last four only: the first hundred are forgotten
    assert found([*[100.0] * 100, *[1.0] * 4, 3.0], window=4, patience=1) == [105]
    assert found([*[100.0] * 100, *[1.0] * 4, 3.0], window=100, patience=1) == []
    assert found([-1.0] * 200, patience=1) == [], "below 0 twice as much is lower"


def test_the_checkpoint_is_from_before_the_weights_that_spiked():
    """The first high loss, of update 101, was computed with the weights after update 100: those after 99 are good."""
    state = TrainState()
    guard = Guard(Guarding(spike="rollback"), state)
    with pytest.raises(GoBack) as caught:
        for loss in [*[1.0] * 100, *[9.0] * 5]:
            try:
                guard.see_course(loss, [])
            except Fault as fault:
                guard.judge(fault)
            state.step += 1
    assert (caught.value.step, caught.value.good) == (105, 99)
    assert guard.doubts
    state.watch.rollbacks = MOST_ROLLBACKS
    with pytest.raises(TrainingError, match="After 3 rollbacks, the loss was 9"):
        guard.judge(Fault("the loss was 9", [], "spike"))


def begin(folder, name, spike="rollback", **guard):
    source = small.recipe(folder, epochs=5, save_every=3, eval_every=6, guard={"spike": spike, **guard})
    return small.begin(source, folder / name)


def high(patch, run, steps, *, always=False, times=8.0):
    """Multiply the loss of updates, until the run has gone back once."""

    def change(now, losses_B):
        stays = always or not (run.path / "rollbacks.json").exists()
        return losses_B * times if now in steps and stays else losses_B

    planted.loss(patch, change)


def saved(run):
    return sorted(int(path.name[5:]) for path in run.checkpoints.glob("*-*") if path.name[0] in "sb")


def test_a_divergence_is_gone_back_on_and_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    recipe, whole = begin(tmp_path, "whole")
    with monkeypatch.context() as patch:
        high(patch, whole, range(26, 36))
        result = train(recipe, whole)
    assert result.costs["rollbacks"] == 1
    lines = small.steps(whole.path)
    assert [line["step"] for line in lines] == list(range(1, 36))
    assert max(line["loss"] for line in lines) < 2
    (event,) = [line for line in whole.records("events.jsonl") if line["event"] == "rollback"]
    assert (event["at"], event["to"], event["lr_scale"]) == (30, 24, 0.5)
    assert [step for step, _ in event["undone"]] == [25, 26, 27, 28, 29]
    assert all(loss > 2 for step, loss in event["undone"] if step >= 26)
    assert lines[23]["lr"] > 1.9 * lines[24]["lr"] > 0
    assert lines[24]["lr"] < recipe.train.lr / 2

    recipe, broken = begin(tmp_path, "broken")
    seen = []

    def listen(event, **facts):
        if event == "note" and facts["text"].startswith("went back"):
            seen.append("back")
            raise KeyboardInterrupt
        if event == "step" and facts["step"] == 31 and "second" in seen:
            seen.remove("second")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        high(patch, broken, range(26, 36))
        with pytest.raises(KeyboardInterrupt):
            train(recipe, broken, listen=listen)
        assert max(saved(broken)) == 24, "nothing of the spike was saved"
        seen.append("second")
        with pytest.raises(KeyboardInterrupt):
            train(recipe, broken, resume=True, listen=listen)
        train(recipe, broken, resume=True, listen=listen)
    assert small.steps(broken.path) == lines
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    assert broken.records("evaluations.jsonl") == whole.records("evaluations.jsonl")


def test_a_one_off_changes_nothing_but_its_own_update(tmp_path, monkeypatch):
    made = {}
    for spike in ("off", "rollback"):
        recipe, run = begin(tmp_path, spike, spike)
        with monkeypatch.context() as patch:
            high(patch, run, {26, 28, 29, 30, 31})
            result = train(recipe, run)
        assert (result.costs["rollbacks"], result.costs["left_out_updates"]) == (0, 0)
        made[spike] = small.steps(run.path), [line["step"] for line in run.records("evaluations.jsonl")]
    assert made["rollback"][0] == made["off"][0]
    assert made["off"][1] == [6, 12, 18, 24, 30, 35]
    assert made["rollback"][1] == [6, 12, 18, 24, 32, 35], "a look that is due waits until losses are as before"


def test_stop_and_skip(tmp_path, monkeypatch):
    recipe, run = begin(tmp_path, "stop", "stop", factor=1.5, window=20, patience=2)
    with monkeypatch.context() as patch:
        high(patch, run, range(26, 36), times=3.0)
        with pytest.raises(
            TrainingError, match="at least 1.5 times the mean of the last ones .* in 2 updates in a row at step 27"
        ):
            train(recipe, run)
    assert load_latest(run.checkpoints).state.step == 24
    recipe, run = begin(tmp_path, "skip", "skip")
    with monkeypatch.context() as patch:
        high(patch, run, range(26, 33))
        assert train(recipe, run).costs["left_out_updates"] == 3
    left = [line for line in small.steps(run.path) if line.get("skipped")]
    assert [line["step"] for line in left] == [30, 31, 32]
    assert all(line["loss"] > 2 and "in a row" in line["reason"] for line in left), "a high loss is a number, and told"


def test_a_divergence_that_stays_ends_the_run(tmp_path, monkeypatch):
    recipe, run = begin(tmp_path, "run")
    with monkeypatch.context() as patch:
        high(patch, run, range(26, 36), always=True)
        with pytest.raises(TrainingError, match="After 3 rollbacks"):
            train(recipe, run)
    assert [line["watch"]["lr_scale"] for line in run.read_json("rollbacks.json")] == [0.5, 0.25, 0.125]
    assert max(saved(run)) <= 24


def test_a_rollback_needs_two_checkpoints(tmp_path):
    with pytest.raises((RecipeError, Problems), match="train.keep must be at least 2"):
        Recipe.load(small.recipe(tmp_path, keep=1, guard={"spike": "rollback"}))
