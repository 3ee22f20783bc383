"""A number that is none, at five places: no weight is changed by it, nothing of it is saved, and the run does what its policy says."""

import json
import math

import planted
import pytest
import torch

import small
from septet.data.store import Prepared
from septet.engine.guard import MOST_ROLLBACKS, MOST_SKIPS, Guard, TrainingError, not_finite
from septet.engine.state import TrainState, Watch, load_latest
from septet.errors import CheckError
from septet.recipe.train import Guarding
from septet.run import Run
from septet.tasks.classify import Classify
from septet.train import train

NAN, INF = float("nan"), float("inf")


def begin(folder, name, **changes):
    source = small.recipe(folder, **{"epochs": 1, **changes})
    return small.begin(source, folder / name)


def unfit_input(batch):
    batch.inputs["speed"] = batch.inputs["input_ids"].float()
    batch.inputs["speed"][0, 0] = NAN


PLACES = {
    "loss": lambda patch, at: planted.loss(patch, lambda now, losses_B: losses_B * NAN if now in at else losses_B),
    "gradient": lambda patch, at: planted.gradient(patch, at, INF),
    "input": lambda patch, at: planted.batches(patch, at, unfit_input),
    "row weight": lambda patch, at: planted.weights(patch, at, INF),
}
TOLD = {
    "loss": "the loss is not a finite number",
    "gradient": "the gradient is not a finite number",
    "input": "the input speed is not a finite number",
    "row weight": "the weight of a row is not a finite number",
}


def finite(run: Run) -> bool:
    """Whether every checkpoint and every best of a run holds finite numbers only."""
    from safetensors.torch import load_file

    files = list(run.checkpoints.glob("*/*.safetensors"))
    assert files
    return not any(not_finite(load_file(str(file))) for file in files)


def model_bytes(run: Run) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def test_stop_names_the_step_and_the_rows_and_can_go_on(tmp_path, monkeypatch):
    recipe, whole = begin(tmp_path, "whole")
    train(recipe, whole)
    recipe, run = begin(tmp_path, "run")
    real, seen = Classify.loss, []

    def planted_loss(self, model, batch):
        losses = real(self, model, batch)["label"]
        if model.training:
            seen.extend(batch.rows)
            if len(seen) > 4 * 8:
                losses = losses * torch.tensor(NAN)
        return {"label": losses}

    with monkeypatch.context() as patch:
        patch.setattr(Classify, "loss", planted_loss)
        with pytest.raises(TrainingError) as caught:
            train(recipe, run)
    told = str(caught.value)
    assert "The loss is not a finite number at step 5; no weight was changed by it." in told
    assert any(str(row) in told for row in seen[32:])
    assert caught.value.exit_code == 1
    assert run.read_json("FAILED.json")["error"] == "TrainingError"
    assert load_latest(run.checkpoints).state.step == 4
    assert finite(run)
    assert [s["step"] for s in small.steps(run.path)] == [1, 2, 3, 4]
    train(recipe, run, resume=True)
    assert small.steps(run.path) == small.steps(whole.path)
    assert model_bytes(run) == model_bytes(whole)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("precision", "budget"),
    [
        ("fp32", 20),
        pytest.param("bf16", 10_000, marks=pytest.mark.slow),
        pytest.param("fp32", 10_000, marks=pytest.mark.slow),
        pytest.param("bf16", 20, marks=pytest.mark.slow),
    ],
)
def test_every_place_and_policy(tmp_path, monkeypatch, place, precision, budget):
    """Update 3 of 4 is faulty, in one micro-batch or in several; no weight moves by it, whatever the policy."""
    changes = {"precision": precision, "token_budget": budget, "save_every": 1, "max_steps": 4}
    PLACES[place](monkeypatch, {3})
    recipe, run = begin(tmp_path, "stop", **changes)
    with pytest.raises(TrainingError, match=TOLD[place][1:]):
        train(recipe, run)
    assert load_latest(run.checkpoints).state.step == 2
    assert finite(run)

    recipe, run = begin(tmp_path, "skip", guard={"not_finite": "skip"}, **changes)
    costs = train(recipe, run).costs
    assert costs["left_out_updates"] == 1
    lines = small.steps(run.path)
    assert [line.get("skipped", False) for line in lines] == [False, False, True, False]
    # the loss of an infinite gradient is a number, and is told
    assert (lines[2]["loss"] is None) == (place != "gradient")
    assert lines[2]["grad_norm"] is None
    assert lines[2]["reason"] == TOLD[place]
    (event,) = [line for line in run.records("events.jsonl") if line["event"] == "update-left-out"]
    assert (event["step"], event["reason"]) == (3, TOLD[place])
    assert event["rows"] and {int(row) for row in event["rows"]} <= {
        row["_row"] for row in Prepared.of(run).rows("train")
    }
    assert "NaN" not in (run.path / "steps.jsonl").read_text()
    assert finite(run)

    recipe, run = begin(tmp_path, "rollback", guard={"not_finite": "rollback"}, **changes)
    costs = train(recipe, run).costs
    data = place in ("input", "row weight")
    # bad data are left out, since no weight had a part in them; what weights may have caused is gone back on, and left out then
    assert (costs["rollbacks"], costs["left_out_updates"]) == (0 if data else 1, 1)
    lines = small.steps(run.path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[2]["skipped"]
    halved = [line["lr"] for line in lines[1:]] == pytest.approx(
        [line["lr"] / (1 if data else 2) for line in small.steps(tmp_path / "skip")[1:]]
    )
    assert halved
    assert finite(run)
    if not data:
        (event,) = [line for line in run.records("events.jsonl") if line["event"] == "rollback"]
        assert (event["at"], event["to"], event["reason"], event["lr_scale"]) == (3, 1, TOLD[place], 0.5)
        assert [step for step, _ in event["undone"]] == [2]


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_weight_that_is_no_number_is_not_saved(tmp_path, monkeypatch, value):
    """The second update leaves it; a checkpoint is due at once, or the next loss shows it."""
    for name, every in (("due", 1), ("later", 100)):
        with monkeypatch.context() as patch:
            planted.model_weight(patch, 2, value)
            recipe, run = begin(tmp_path, name, save_every=every, max_steps=4, eval_every=100)
            with pytest.raises(
                TrainingError, match="not finite numbers after update 2|loss is not a finite number at step 3"
            ):
                train(recipe, run)
            found = load_latest(run.checkpoints)
            assert (found is None) == (name == "later")
            assert found is None or found.state.step == 1
    with monkeypatch.context() as patch:
        planted.model_weight(patch, 2, value)
        recipe, run = begin(
            tmp_path, "skip", save_every=100, max_steps=9, epochs=2, eval_every=100, guard={"not_finite": "skip"}
        )
        with pytest.raises(TrainingError, match=f"After {MOST_SKIPS} updates in a row that had to be left out"):
            train(recipe, run)
    with monkeypatch.context() as patch:
        planted.model_weight(patch, 2, value)
        recipe, run = begin(tmp_path, "back", save_every=1, max_steps=4, guard={"not_finite": "rollback"})
        assert train(recipe, run).costs["rollbacks"] == 1
        assert finite(run)


def test_a_model_that_holds_no_numbers_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    recipe, run = begin(tmp_path, "run")
    file = tmp_path / "base" / "model.safetensors"
    tensors = load_file(str(file))
    name = next(name for name in tensors if "layer.1" in name)
    tensors[name].view(-1)[3] = INF
    save_file(tensors, str(file), metadata={"format": "pt"})
    with pytest.raises(CheckError, match="weights-not-finite") as caught:
        train(recipe, run)
    assert name in str(caught.value)
    assert not (run.path / "steps.jsonl").exists()


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_killed_after_it_and_resumed_is_the_same(tmp_path, monkeypatch, policy):
    changes = {"save_every": 2, "guard": {"not_finite": policy}, "epochs": 2, "eval_every": 3}
    PLACES["loss"](monkeypatch, {6})
    recipe, whole = begin(tmp_path, "whole", **changes)
    train(recipe, whole)
    assert len(small.steps(whole.path)) == 14
    for stop in (3, 7):
        recipe, run = begin(tmp_path, f"run-{stop}", **changes)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, run, listen=interrupt(stop, after_rollback=policy == "rollback"))
        train(recipe, run, resume=True)
        assert small.steps(run.path) == small.steps(whole.path)
        assert model_bytes(run) == model_bytes(whole)
        assert run.records("evaluations.jsonl") == whole.records("evaluations.jsonl")


def interrupt(stop: int, *, after_rollback: bool):
    """Return a listener that interrupts a run at an update, or at its first going back."""
    gone = []

    def listen(event, **facts):
        if event == "note" and facts["text"].startswith("went back"):
            gone.append(True)
        if (event == "step" and facts["step"] == stop and (gone or not after_rollback)) or (stop == 3 and gone):
            raise KeyboardInterrupt

    return listen


def test_after_three_rollbacks_it_stops(tmp_path, monkeypatch):
    PLACES["loss"](monkeypatch, {3, 4, 5, 6})
    recipe, run = begin(tmp_path, "run", save_every=1, guard={"not_finite": "rollback"})
    with pytest.raises(TrainingError, match=f"After {MOST_ROLLBACKS} rollbacks, the loss is not a finite number"):
        train(recipe, run)
    assert len(json.loads((run.path / "rollbacks.json").read_text())) == MOST_ROLLBACKS
    assert finite(run)


def test_the_watch_is_kept_as_json():
    watch = Watch(losses=[0.1, math.pi], high=2, avoided=[3], micro_batch=4, token_budget=9)
    from dataclasses import asdict

    state = TrainState(watch=watch)
    assert TrainState(**json.loads(json.dumps(asdict(state)))) == state
    assert not Guard(Guarding(), TrainState()).doubts
    assert Guard(Guarding(), state).doubts


def test_only_numbers_that_are_not_finite_are_found_whatever_their_sum():
    tensors = {
        "a sum beyond fp32": torch.full((4,), 3e38),
        "its halves cancel": torch.tensor([3e38, 3e38, -3e38, -3e38]),
        "one NaN": torch.tensor([1.0, float("nan")]),
        "infinities that cancel": torch.tensor([float("inf"), -float("inf")]),
        "bf16": torch.tensor([1.0, float("-inf")], dtype=torch.bfloat16),
        "whole numbers": torch.tensor([1, 2]),
    }
    assert not_finite(tensors) == ["one NaN", "infinities that cancel", "bf16"]
