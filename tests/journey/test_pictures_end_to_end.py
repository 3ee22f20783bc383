"""From a folder of pictures to answers, as a user goes, and a plain loop of transformers beside it; what recordings have as well is in `test_media_end_to_end.py`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from album import album, model_folder, picture, recipe
from media import TRAIN
from septet import journey
from septet.model.artifact import read_task
from septet.predict import predict


def test_transformers_alone_gives_the_same_logits(pictures):
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    exported = pictures / "runs" / "a" / "deploy" / "hf"
    path = pictures / "pictures" / "red" / "000.png"
    model = AutoModelForImageClassification.from_pretrained(str(exported)).eval()
    pixels = AutoImageProcessor.from_pretrained(str(exported), backend="pil")(Image.open(path), return_tensors="pt")
    with torch.no_grad():
        theirs = model(**pixels).logits[0].softmax(-1)
    (ours,) = predict(pictures / "runs" / "a", path, scores=True).answers
    for i, label in model.config.id2label.items():
        assert ours["scores"][label] == pytest.approx(float(theirs[i]), abs=1e-6)


def test_predicting_a_table_keeps_its_columns(pictures, tmp_path):
    picture((200, 40, 40), 9).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,mine\nhttps://x.y/z.png,other\n")
    found = predict(pictures / "runs" / "a", tmp_path / "t.csv")
    assert [row["image"] for row in found.answers] == ["a.png", "https://x.y/z.png"]
    assert [row["label"] for row in found.answers] == ["mine", "other"]
    assert found.answers[0]["predicted_label"] == "red" and found.unread == 1


def test_from_scratch_and_bf16(tmp_path):
    album(tmp_path / "pictures", 20)
    config = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    model = {"architecture": "resnet", "config": config}
    task, train = {"size": 24}, {**TRAIN, "precision": "bf16", "epochs": 3, "lr": 1e-2}
    source = recipe(tmp_path, {"train": "pictures"}, model, task=task, train=train)
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    assert trained.best["value"] > 0.9
    text = (tmp_path / "runs" / "a" / "recipe.yaml").read_text()
    assert "batch_norm: recalibrated" in text
    assert predict(tmp_path / "runs" / "a", tmp_path / "pictures" / "red").labels["red"] > 15


def test_losses_are_those_of_a_plain_loop(tmp_path):
    """The same rows, order, AdamW and schedule through ten lines of PyTorch, batch norms in eval."""
    from transformers import get_scheduler

    from septet.data.picture import open_rgb
    from septet.prepare import prepare
    from septet.recipe import Recipe
    from septet.run import Run
    from septet.setup import set_up

    album(tmp_path / "pictures", 20)
    model_folder(tmp_path / "resnet", "resnet")
    source = recipe(tmp_path, {"train": "pictures"}, "resnet", train={**TRAIN, "token_budget": 20})
    loaded = Recipe.load(source)
    ready = lambda: set_up(loaded, prepare(loaded, Run(tmp_path / "runs" / "b")))  # noqa: E731
    setup, rates = ready(), ready().rates()
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    ours = [json.loads(line) for line in (trained.run.path / "steps.jsonl").read_text().splitlines()]
    model, library = setup.model, setup.processor.library
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rates.lr, eps=1e-8)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=rates.warmup, num_training_steps=rates.total)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    for step in range(rates.total):
        chosen = [setup.train[i] for i in setup.planner.group(step)[1]]
        pixels = library([open_rgb(e.inputs["image"]) for e in chosen], return_tensors="pt")
        targets = torch.tensor([e.target for e in chosen])
        loss = torch.nn.functional.cross_entropy(model(**pixels).logits, targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        assert ours[step]["loss"] == pytest.approx(float(loss.detach()), rel=2e-4, abs=1e-5), step
        assert ours[step]["grad_norm"] == pytest.approx(float(norm), rel=2e-3), step
    assert np.isfinite(ours[-1]["loss"]) and read_task(trained.run.model).labels == ["blue", "green", "red"]
