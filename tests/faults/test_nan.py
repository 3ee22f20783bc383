"""A loss that is not a number stops the run before the optimiser sees it: step and rows are named, the run goes on from before."""

import pytest
import torch

import small
from septet.engine.loop import TrainingError
from septet.engine.state import load_latest
from septet.tasks.classify import Classify
from septet.train import train


def test_a_nan_in_the_data_path(tmp_path, monkeypatch):
    source = small.recipe(tmp_path, epochs=1)
    recipe, whole = small.begin(source, tmp_path / "whole")
    train(recipe, whole)
    recipe, run = small.begin(source, tmp_path / "run")
    real, seen = Classify.loss, []

    def planted(self, model, batch):
        losses = real(self, model, batch)["label"]
        if model.training:
            seen.extend(batch.rows)
            if len(seen) > 4 * 8:
                losses = losses * torch.tensor(float("nan"))
        return {"label": losses}

    with monkeypatch.context() as patch:
        patch.setattr(Classify, "loss", planted)
        with pytest.raises(TrainingError) as caught:
            train(recipe, run)
    told = str(caught.value)
    assert "The loss is not a finite number at step 5; no weight was changed by it." in told
    assert any(f"{row & 0xFFFFFFFFFFFFFFFF:016x}" in told for row in seen[32:])
    assert caught.value.exit_code == 1
    assert run.read_json("FAILED.json")["error"] == "TrainingError"
    checkpoint = load_latest(run.checkpoints)
    assert checkpoint.state.step == 4
    assert all(bool(t.isfinite().all()) for t in checkpoint.masters.values())
    assert [s["step"] for s in small.steps(run.path)] == [1, 2, 3, 4]
    train(recipe, run, resume=True)
    assert small.steps(run.path) == small.steps(whole.path)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
