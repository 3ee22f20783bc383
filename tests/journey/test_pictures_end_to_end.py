"""From a folder of pictures to answers: every verb as a user calls it, resumed runs of the same bytes, and a plain loop of transformers beside it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from album import album, model_folder, picture, recipe
from septet import journey
from septet.cli import main
from septet.course import Course
from septet.errors import ModelError, RecipeError, SeptetError, UsageError
from septet.model.artifact import read_task
from septet.predict import predict

TRAIN = {"lr": 3e-3, "epochs": 2, "batch": 16, "precision": "fp32", "threads": 1, "device": "cpu"}
EVALUATE = {"bootstrap": 200}


def said(*args: str) -> tuple[int, str]:
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main(list(args))
    assert "Traceback" not in told.getvalue() and "Defect" not in told.getvalue(), told.getvalue()[-2000:]
    return int(ended.value.code or 0), told.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of a ResNet on a folder of pictures, made by `septet run`."""
    folder = tmp_path_factory.mktemp("pictures")
    album(folder / "pictures", 40)
    model_folder(folder / "resnet", "resnet")
    source = recipe(folder, {"train": "pictures"}, "resnet", train=TRAIN, evaluate=EVALUATE)
    code, told = said("run", str(source), "--run", str(folder / "runs" / "a"))
    assert code == 0, told
    return folder, told


def test_the_whole_journey(done):
    folder, told = done
    run = folder / "runs" / "a"
    assert "statistics-frozen" in told and "pictures are answered by septet predict" in told
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    found = {(s["split"], s["who"], s["metric"]): s["value"] for s in scores}
    assert found["test", "tuned", "accuracy"] > 0.9 > found["test", "majority", "accuracy"]
    parity = json.loads((run / "deploy.json").read_text())["exports"]["hf"]["parity"]
    assert parity["labels_different"] == 0 and parity["max_difference"] < 1e-5
    assert ">width<" in (run / "data.html").read_text()
    assert (run / "report.html").exists() and "image-classification" in (run / "model" / "README.md").read_text()


def test_transformers_alone_gives_the_same_logits(done):
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    folder, _ = done
    exported = folder / "runs" / "a" / "deploy" / "hf"
    path = folder / "pictures" / "red" / "000.png"
    model = AutoModelForImageClassification.from_pretrained(str(exported)).eval()
    pixels = AutoImageProcessor.from_pretrained(str(exported), backend="pil")(Image.open(path), return_tensors="pt")
    with torch.no_grad():
        theirs = model(**pixels).logits[0].softmax(-1)
    (ours,) = predict(folder / "runs" / "a", path, scores=True).answers
    for i, label in model.config.id2label.items():
        assert ours["scores"][label] == pytest.approx(float(theirs[i]), abs=1e-6)


def test_predicting_a_folder_flags_what_is_broken(done, tmp_path):
    folder, _ = done
    fresh = album(tmp_path / "new", 2, first=500)
    (fresh / "broken.png").write_bytes(b"nothing")
    code, _ = said("predict", str(folder / "runs" / "a"), str(fresh), "-o", str(tmp_path / "out.csv"))
    rows = {
        Path(row["image"]).relative_to(fresh).as_posix(): row for row in csv.DictReader((tmp_path / "out.csv").open())
    }
    assert code == 0 and len(rows) == 7
    assert rows["broken.png"]["flag"] == "no picture" and not rows["broken.png"]["label"]
    assert all(row["label"] == name.split("/")[0] for name, row in rows.items() if "/" in name)


def test_predicting_a_table_keeps_its_columns(done, tmp_path):
    folder, _ = done
    picture((200, 40, 40), 9).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,label\na.png,mine\nhttps://x.y/z.png,other\n")
    found = predict(folder / "runs" / "a", tmp_path / "t.csv")
    assert [row["image"] for row in found.answers] == ["a.png", "https://x.y/z.png"]
    assert [row["label"] for row in found.answers] == ["mine", "other"]
    assert found.answers[0]["predicted_label"] == "red" and found.unread == 1


def test_evaluating_other_pictures(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "runs", tmp_path / "runs")
    album(tmp_path / "more", 5, first=900)
    (tmp_path / "more" / "red" / "x.png").write_bytes(b"")
    code, told = said("evaluate", str(tmp_path / "runs" / "a"), "--on", str(tmp_path / "more"))
    assert code == 0, told
    record = json.loads((tmp_path / "runs" / "a" / "evaluation.json").read_text())
    assert record["splits"]["more"]["n"] == 15 and record["splits"]["more"]["dropped"] == {"an empty file": 1}


@pytest.mark.parametrize(
    ("verb", "says"), [("serve", "septet serve reads texts"), ("predict", "not read from standard input")]
)
def test_what_pictures_cannot_have_is_said(done, verb, says):
    folder, _ = done
    args = [verb, str(folder / "runs" / "a"), *(["-"] if verb == "predict" else [])]
    code, told = said(*args)
    assert code == 2 and says in told


@pytest.mark.parametrize("policy", ["frozen", "recalibrated"])
def test_a_resumed_run_has_the_same_bytes(done, tmp_path, policy):
    folder, _ = done
    data, model = {"train": str(folder / "pictures")}, str(folder / "resnet")
    source = recipe(tmp_path, data, model, train={**TRAIN, "batch_norm": policy, "save_every": 1, "micro_batch": 7})
    journey.train(source, run=tmp_path / "runs" / "whole")
    record = Course._record

    def third(self, step):
        record(self, step)
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Course, "_record", third)
        journey.train(source, run=tmp_path / "runs" / "cut")
    journey.train(source, run=tmp_path / "runs" / "cut", resume=True)
    weights = [(tmp_path / "runs" / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    # as are those of another micro-batch, but for rounding; the statistics to the bit
    source = recipe(tmp_path, data, model, train={**TRAIN, "batch_norm": policy, "micro_batch": 1})
    journey.train(source, run=tmp_path / "runs" / "single")
    one, two = (_state(tmp_path / "runs" / name) for name in ("whole", "single"))
    base = _state(folder / "resnet")
    for name in (name for name in one if "running_" in name):
        assert torch.equal(one[name], two[name])
        assert torch.equal(one[name], base[name]) == (policy == "frozen")
    changed = max(float((one[n] - two[n]).norm() / one[n].norm().clamp(min=1e-3)) for n in one if "num_" not in n)
    assert changed < 1e-2


def _state(folder: Path):
    from safetensors.torch import load_file

    return load_file(str((folder / "model" if (folder / "model").is_dir() else folder) / "model.safetensors"))


METHODS, KINDS = ("full", "head", "layers", "lora"), ("vit", "swin", "convnext", "mobilenet")
# of all pairs, those that run by default: each method once, each model once
FEW = {("vit", method) for method in METHODS} | {("swin", "lora"), ("mobilenet", "full"), ("convnext", "layers")}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=() if (kind, method) in FEW else pytest.mark.slow, id=f"{kind}-{method}")
        for kind in KINDS
        for method in METHODS
    ],
)
def test_methods_and_models(tmp_path, kind, method):
    album(tmp_path / "pictures", 8)
    model_folder(tmp_path / kind, kind)
    train = {**TRAIN, "max_steps": 2}
    source = recipe(tmp_path, {"train": "pictures"}, kind, method=method, train=train)
    if method == "lora" and kind == "mobilenet":
        with pytest.raises(SeptetError, match="No linear layer"):
            journey.train(source, run=tmp_path / "runs" / "a")
        return
    journey.train(source, run=tmp_path / "runs" / "a")
    found = predict(tmp_path / "runs" / "a", tmp_path / "pictures" / "red")
    assert found.rows == 8 and set(found.labels) <= {"red", "green", "blue"}
    assert (tmp_path / "runs" / "a" / "model" / "adapter").is_dir() == (method == "lora")


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


def test_recipes_that_cannot_be(tmp_path, tiny_bert):
    album(tmp_path / "pictures", 8)
    model_folder(tmp_path / "vit", "vit")
    scratch = {"architecture": "resnet"}
    cases = [
        ({"model": "vit", "task": {"size": 48}}, ModelError, "does not take pictures of 3 x 48 x 48"),
        ({"model": "vit", "train": {"batch_norm": "frozen"}}, RecipeError, "has no batch norm"),
        ({"model": {"name": "vit", "max_length": 9}}, RecipeError, "model.max_length would be ignored"),
        ({"model": "vit", "evaluate": {"baselines": ["tfidf"]}}, UsageError, "reads texts"),
        ({"model": str(tiny_bert)}, ModelError, "reads no pictures"),
        ({"model": scratch}, RecipeError, "task.size is missing"),
        ({"model": {**scratch, "tokenizer": "x"}, "task": {"size": 32}}, RecipeError, "the rows are pictures"),
    ]
    for number, (sections, kind, says) in enumerate(cases):
        sections = {"train": TRAIN, **sections}
        with pytest.raises(kind, match=says):
            journey.train(recipe(tmp_path, {"train": "pictures"}, **sections), run=tmp_path / "runs" / str(number))


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
