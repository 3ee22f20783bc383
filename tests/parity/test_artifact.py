"""The artifact is a plain transformers folder: `pipeline` gives the answers of Septet's predictor, and loading changes nothing."""

import importlib.util

import numpy as np
import pytest
import transformers

import small
from septet.model.load import STARTER
from septet.model.predictor import Predictor
from septet.train import train
from tiny import rows

METHODS = ["full", {"name": "lora", "rank": 4}]


@pytest.fixture(scope="module", params=METHODS, ids=["full", "lora"])
def trained(request, tmp_path_factory):
    """A run by one method on the packaged starter where it is installed, else on a tiny model, with torch's generator disturbed."""
    folder = tmp_path_factory.mktemp("parity")
    source = small.recipe(folder, method=request.param, epochs=1, lr=1e-3)
    if importlib.util.find_spec(STARTER):
        source["model"] = {"name": "starter"}
        source["train"] |= {"max_steps": 4, "token_budget": 512}
    recipe, run = small.begin(source, folder / "run")
    train(recipe, run)
    return run


def test_pipeline_gives_the_same_answers(trained):
    texts = [row["text"] for row in rows(20, seed=5, longest=5)]
    ours = Predictor.load(trained.model).predict(texts)
    pipe = transformers.pipeline("text-classification", model=str(trained.model), top_k=None)
    for prediction, theirs in zip(ours, pipe(texts), strict=True):
        scores = {answer["label"]: answer["score"] for answer in theirs}
        assert scores.keys() == prediction.scores.keys()
        assert max(abs(scores[label] - prediction.scores[label]) for label in scores) <= 1e-4
        assert max(scores, key=scores.get) == prediction.value
    assert len({round(p.scores["money"], 6) for p in ours}) > 10, "all texts got one answer: nothing was compared"


def test_the_stored_weights_are_the_best_ones_of_training(trained):
    """What was validated in training and what the artifact answers are the same numbers."""
    from septet.data.store import Prepared
    from septet.metrics import Choices, compute

    held_out = Prepared.of(trained).rows("validation")
    predictor = Predictor.load(trained.model)
    labels = predictor.task.labels
    predictions = predictor.predict(held_out)
    scores = np.array([[p.scores[label] for label in labels] for p in predictions])
    answers = Choices(
        np.arange(len(scores)), labels, np.array([predictor.task.target(row) for row in held_out]), scores
    )
    assert compute(["log_loss"], answers)["log_loss"] == pytest.approx(
        trained.read_json("best.json")["value"], abs=1e-5
    )


def test_save_and_load_again(trained, tmp_path):
    from septet.model.artifact import open_artifact, write_artifact

    one = open_artifact(trained.model)
    write_artifact(
        tmp_path / "copy",
        model=one.model,
        task=one.task,
        processor=one.processor,
        clean=small.no_cleaning(),
        dtype="float32",
        card="",
    )
    texts = [row["text"] for row in rows(10, seed=6, longest=5)]
    first, again = (Predictor.load(folder).predict(texts) for folder in (trained.model, tmp_path / "copy"))
    assert [p.scores for p in first] == [p.scores for p in again]


def test_the_seed_decides_every_new_tensor(tmp_path):
    """Adapters are drawn at random too: two runs are equal whatever torch's generator did before."""
    import torch

    models = []
    for i in range(2):
        torch.manual_seed(i)
        source = small.recipe(tmp_path, method={"name": "lora", "rank": 4}, epochs=1, max_steps=2)
        recipe, run = small.begin(source, tmp_path / f"run{i}")
        train(recipe, run)
        models.append((run.model / "model.safetensors").read_bytes())
    assert models[0] == models[1]
