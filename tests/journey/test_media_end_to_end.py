"""What pictures and recordings have in common, from a folder of them to answers: verbs, resumed runs, methods, recipes that cannot be."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import small
from media import PICTURES, RECORDINGS, TRAIN, said
from septet import journey
from septet.errors import ModelError, RecipeError, SeptetError, UsageError
from septet.predict import predict

both = pytest.mark.parametrize("medium", [PICTURES, RECORDINGS], ids=lambda medium: medium.things)


@pytest.mark.parametrize(
    ("medium", "says"),
    [
        (PICTURES, {"../../told": "statistics-frozen", "data.html": ">width<"}),
        (
            RECORDINGS,
            {
                "recipe.yaml": "seconds: 0.4  # why: what the model's folder says",
                "model/README.md": "cut or filled to 0.4 s",
            },
        ),
    ],
    ids=["pictures", "recordings"],
)
def test_the_whole_journey(medium, says, request):
    run = request.getfixturevalue(medium.things) / "runs" / "a"
    assert f"{medium.things} are answered by septet predict" in (run / "../../told").read_text()
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    found = {(s["split"], s["who"], s["metric"]): s["value"] for s in scores}
    assert found["test", "tuned", "accuracy"] > 0.9 > found["test", "majority", "accuracy"]
    parity = json.loads((run / "deploy.json").read_text())["exports"]["hf"]["parity"]
    assert parity["labels_different"] == 0 and parity["max_difference"] < 1e-5
    report = (run / "report.html").read_text()
    assert "cut to length" in report and not re.search(r"rows, [\d,]+ tokens", report)
    assert f"{medium.column}-classification" in (run / "model" / "README.md").read_text()
    for file, text in says.items():
        assert text in (run / file).read_text(), file


@both
def test_predicting_a_folder_flags_what_is_broken(medium, request, tmp_path):
    run = request.getfixturevalue(medium.things) / "runs" / "a"
    fresh = medium.write(tmp_path / "new", 2, first=500)
    broken = f"broken.{medium.ending}"
    (fresh / broken).write_bytes(b"nothing")
    code, _ = said("predict", str(run), str(fresh), "-o", str(tmp_path / "out.csv"))
    answers = csv.DictReader((tmp_path / "out.csv").open())
    rows = {Path(row[medium.column]).relative_to(fresh).as_posix(): row for row in answers}
    assert code == 0 and len(rows) == 7
    assert rows[broken]["flag"] == f"no {medium.thing}" and not rows[broken]["label"]
    assert all(row["label"] == name.split("/")[0] for name, row in rows.items() if "/" in name)


@both
def test_evaluating_others(medium, request, tmp_path):
    shutil.copytree(request.getfixturevalue(medium.things) / "runs", tmp_path / "runs")
    medium.write(tmp_path / "more", 5, first=900)
    (tmp_path / "more" / medium.labels[0] / f"x.{medium.ending}").write_bytes(b"")
    code, told = said("evaluate", str(tmp_path / "runs" / "a"), "--on", str(tmp_path / "more"))
    assert code == 0, told
    record = json.loads((tmp_path / "runs" / "a" / "evaluation.json").read_text())
    assert record["splits"]["more"]["n"] == 15 and record["splits"]["more"]["dropped"] == {"an empty file": 1}


@both
@pytest.mark.parametrize(
    ("verb", "says"), [("serve", "septet serve reads texts"), ("predict", "not read from standard input")]
)
def test_what_they_cannot_have_is_said(medium, request, verb, says):
    run = request.getfixturevalue(medium.things) / "runs" / "a"
    code, told = said(verb, str(run), *(["-"] if verb == "predict" else []))
    assert code == 2 and says in told


@pytest.mark.parametrize(
    ("medium", "kind", "model", "policy", "near"),
    [
        (PICTURES, "resnet", {}, {"batch_norm": "frozen"}, 1e-2),
        (PICTURES, "resnet", {}, {"batch_norm": "recalibrated"}, 1e-2),
        (RECORDINGS, "ast", {"dropout": 0.1}, {}, 1e-3),
        (RECORDINGS, "wav2vec2-layer", {"dropout": 0.1}, {}, 1e-3),
    ],
    ids=["frozen", "recalibrated", "ast", "wav2vec2-layer"],
)
def test_a_resumed_run_has_the_same_bytes(tmp_path, medium, kind, model, policy, near):
    medium.write(tmp_path / medium.things, 20)
    medium.model(tmp_path / kind, kind)
    # some models of sound skip layers and mask stretches of their own accord, from global streams
    config = json.loads((tmp_path / kind / "config.json").read_text())
    if "layerdrop" in config:
        told = {"layerdrop": 0.5, "apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2}
        (tmp_path / kind / "config.json").write_text(json.dumps(config | told))

    def source(**train):
        return medium.recipe(tmp_path, {"name": kind, **model}, train={**TRAIN, **policy, **train})

    often = source(save_every=1, micro_batch=7)
    journey.train(often, run=tmp_path / "runs" / "whole")
    with small.stopped_after(3):
        journey.train(often, run=tmp_path / "runs" / "cut")
    journey.train(often, run=tmp_path / "runs" / "cut", resume=True)
    weights = [(tmp_path / "runs" / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    # as are those of another micro-batch, but for rounding; the statistics of batch norms to the bit
    journey.train(source(micro_batch=1), run=tmp_path / "runs" / "single")
    base, one, two = (_state(tmp_path / place) for place in (kind, "runs/whole/model", "runs/single/model"))
    for name in (name for name in one if "running_" in name):
        assert torch.equal(one[name], two[name])
        assert torch.equal(one[name], base[name]) == (policy["batch_norm"] == "frozen")
    # the gradient of a key's bias is 0 but for rounding: it adds the same to all scores of a token
    names = [name for name in one if "num_" not in name and not name.endswith(("key.bias", "k_proj.bias"))]
    assert max(float((one[n] - two[n]).norm() / one[n].norm().clamp(min=1e-3)) for n in names) < near


METHODS = ("full", "head", "layers", "lora")
KINDS = {
    PICTURES: ("vit", "swin", "convnext", "mobilenet"),
    RECORDINGS: ("ast", "wav2vec2-group", "wav2vec2-layer", "hubert-layer", "wavlm-layer", "whisper"),
}
# of all pairs, those that run by default: each method once, each family once
FEW = {("vit", method) for method in METHODS} | {
    *(("swin", "lora"), ("mobilenet", "full"), ("convnext", "layers"), ("ast", "layers"), ("hubert-layer", "lora")),
    *(("wavlm-layer", "full"), ("whisper", "head"), ("whisper", "lora")),
}


@pytest.mark.parametrize(
    ("medium", "kind", "method"),
    [
        pytest.param(
            medium, kind, method, marks=() if (kind, method) in FEW else pytest.mark.slow, id=f"{kind}-{method}"
        )
        for medium, kinds in KINDS.items()
        for kind in kinds
        for method in METHODS
    ],
)
def test_methods_and_models(tmp_path, medium, kind, method):
    medium.write(tmp_path / medium.things, 8)
    medium.model(tmp_path / kind, kind)
    source = medium.recipe(tmp_path, kind, method=method, train={**TRAIN, "max_steps": 2})
    if method == "lora" and kind == "mobilenet":
        with pytest.raises(SeptetError, match="No linear layer"):
            journey.train(source, run=tmp_path / "runs" / "a")
        return
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    found = predict(tmp_path / "runs" / "a", tmp_path / medium.things / medium.labels[0])
    assert found.rows == 8 and set(found.labels) <= set(medium.labels)
    assert (tmp_path / "runs" / "a" / "model" / "adapter").is_dir() == (method == "lora")
    before, after = _state(tmp_path / kind), _state(trained.run.model)
    assert after.keys() == before.keys()
    backbone = [name for name in before if not name.startswith(("projector.", "classifier."))]
    assert any(not torch.equal(before[name], after[name]) for name in backbone) == (method != "head")


REFUSED = {
    PICTURES: (
        "vit",
        [
            ({"model": "vit", "task": {"size": 48}}, ModelError, "does not take pictures of 3 x 48 x 48"),
            ({"model": "vit", "train": {"batch_norm": "frozen"}}, RecipeError, "has no batch norm"),
            ({"model": {"architecture": "resnet"}}, RecipeError, "task.size is missing"),
            (
                {"model": {"architecture": "resnet", "tokenizer": "x"}, "task": {"size": 32}},
                RecipeError,
                "are pictures",
            ),
        ],
    ),
    RECORDINGS: (
        "ast",
        [
            ({"model": "ast", "task": {"seconds": 2.0}}, ModelError, "does not take recordings of"),
            ({"model": "other"}, ModelError, "none that is known here"),
            ({"model": {"architecture": "resnet"}}, RecipeError, "must be one that reads recordings"),
            ({"model": {"architecture": "whisper", "tokenizer": "x"}}, RecipeError, "the rows are recordings"),
        ],
    ),
}


@both
def test_recipes_that_cannot_be(tmp_path, tiny_bert, medium):
    name, own = REFUSED[medium]
    medium.write(tmp_path / medium.things, 8)
    medium.model(tmp_path / name, name)
    shutil.copytree(tmp_path / name, tmp_path / "other")
    (tmp_path / "other" / "preprocessor_config.json").write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    cases = [
        ({"model": {"name": name, "max_length": 9}}, RecipeError, "model.max_length would be ignored"),
        ({"model": name, "evaluate": {"baselines": ["tfidf"]}}, UsageError, "reads texts"),
        ({"model": str(tiny_bert)}, ModelError, f"reads no {medium.things}"),
    ]
    for number, (sections, kind, says) in enumerate(cases + own):
        with pytest.raises(kind, match=says):
            journey.train(medium.recipe(tmp_path, **sections), run=tmp_path / "runs" / str(number))


def _state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / "model.safetensors"))
