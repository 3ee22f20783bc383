"""From a folder of recordings to answers: every verb as a user calls it, resumed runs of the same bytes, and transformers' own pipeline beside it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from concert import PITCHES, RATE, concert, model_folder, recipe, tone
from septet import journey
from septet.cli import main
from septet.course import Course
from septet.errors import ModelError, RecipeError, UsageError
from septet.model.artifact import read_task
from septet.predict import predict

TRAIN = {"lr": 3e-3, "epochs": 6, "batch": 16, "precision": "fp32", "threads": 1, "device": "cpu"}
EVALUATE = {"bootstrap": 200}


def said(*args: str) -> tuple[int, str]:
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main(list(args))
    assert "Traceback" not in told.getvalue() and "Defect" not in told.getvalue(), told.getvalue()[-2000:]
    return int(ended.value.code or 0), told.getvalue()


def finished(folder: Path, kind: str) -> Path:
    concert(folder / "recordings", 30)
    model_folder(folder / kind, kind)
    source = recipe(folder, {"train": "recordings"}, kind, train=TRAIN, evaluate=EVALUATE)
    code, told = said("run", str(source), "--run", str(folder / "runs" / "a"))
    (folder / "told").write_text(told)
    assert code == 0, told
    return folder


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory):
    """A finished run of an AST, which hears spectrograms of one length."""
    return finished(tmp_path_factory.mktemp("sound"), "ast")


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """A finished run of a Wav2Vec2 that normalises over time and takes no mask."""
    return finished(tmp_path_factory.mktemp("sound"), "wav2vec2-group")


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A finished run of a Wav2Vec2 that takes a mask."""
    return finished(tmp_path_factory.mktemp("sound"), "wav2vec2-layer")


def test_the_whole_journey(spectrum):
    run = spectrum / "runs" / "a"
    assert "recordings are answered by septet predict" in (spectrum / "told").read_text()
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    found = {(s["split"], s["who"], s["metric"]): s["value"] for s in scores}
    assert found["test", "tuned", "accuracy"] > 0.9 > found["test", "majority", "accuracy"]
    assert "seconds: 0.4  # why: what the model's folder says" in (run / "recipe.yaml").read_text()
    card = (run / "model" / "README.md").read_text()
    assert "audio-classification" in card and "cut or filled to 0.4 s" in card


@pytest.mark.parametrize("run", ["spectrum", "waves", "masked"])
def test_the_export_is_proven_equal(run, request):
    folder = request.getfixturevalue(run)
    parity = json.loads((folder / "runs" / "a" / "deploy.json").read_text())["exports"]["hf"]["parity"]
    assert parity["labels_different"] == 0 and parity["max_difference"] < 1e-5


@pytest.mark.parametrize("run", ["spectrum", "masked"])
def test_the_pipeline_of_transformers_gives_the_same_answers(run, request):
    from transformers import pipeline

    folder = request.getfixturevalue(run)
    ask = pipeline("audio-classification", model=str(folder / "runs" / "a" / "model"), dtype=torch.float32)
    for label in PITCHES:
        path = folder / "recordings" / label / "004.wav"
        (ours,) = predict(folder / "runs" / "a", path, scores=True).answers
        theirs = {each["label"]: each["score"] for each in ask(soundfile.read(path, dtype="float32")[0], top_k=None)}
        assert theirs == pytest.approx(ours["scores"], abs=1e-5)


def test_silence_that_is_heard_is_told_and_the_card_fills_it(waves):
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    run = waves / "runs" / "a"
    assert "silence-heard" in (waves / "told").read_text()
    assert "padding='max_length', max_length=6400, truncation=True" in (run / "model" / "README.md").read_text()
    extractor = AutoFeatureExtractor.from_pretrained(str(run / "model"))
    model = AutoModelForAudioClassification.from_pretrained(str(run / "model")).eval()
    path = waves / "recordings" / "low" / "004.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    filled = {"padding": "max_length", "max_length": 6400, "truncation": True, "return_tensors": "pt"}
    with torch.no_grad():
        theirs = model(**extractor(samples, sampling_rate=rate, **filled)).logits[0].softmax(-1)
        bare = model(**extractor(samples, sampling_rate=rate, return_tensors="pt")).logits[0].softmax(-1)
    (ours,) = predict(run, path, scores=True).answers
    assert list(ours["scores"].values()) == pytest.approx(theirs.tolist(), abs=1e-5)
    assert float((bare - theirs).abs().max()) > 1e-4  # it is heard


@pytest.mark.parametrize("run", ["spectrum", "waves", "masked"])
def test_no_answer_depends_on_what_is_asked_beside_it(run, request, tmp_path):
    folder = request.getfixturevalue(run)
    soundfile.write(tmp_path / "a.wav", tone(600, 5, 0.15), RATE)
    (alone,) = predict(folder / "runs" / "a", tmp_path / "a.wav", scores=True).answers
    soundfile.write(tmp_path / "b.wav", tone(1800, 6, 3.0), RATE)
    soundfile.write(tmp_path / "c.wav", np.zeros(RATE), RATE)
    together = {Path(a["audio"]).name: a for a in predict(folder / "runs" / "a", tmp_path, scores=True).answers}
    assert together["a.wav"]["scores"] == pytest.approx(alone["scores"], abs=1e-6)
    assert together["b.wav"]["flag"] == "2.60 s cut off" and not together["a.wav"]["flag"]


def test_predicting_a_folder_flags_what_is_broken(spectrum, tmp_path):
    fresh = concert(tmp_path / "new", 2, first=500)
    (fresh / "broken.wav").write_bytes(b"nothing")
    code, _ = said("predict", str(spectrum / "runs" / "a"), str(fresh), "-o", str(tmp_path / "out.csv"))
    rows = {
        Path(row["audio"]).relative_to(fresh).as_posix(): row for row in csv.DictReader((tmp_path / "out.csv").open())
    }
    assert code == 0 and len(rows) == 7
    assert rows["broken.wav"]["flag"] == "no recording" and not rows["broken.wav"]["label"]
    assert all(row["label"] == name.split("/")[0] for name, row in rows.items() if "/" in name)


def test_a_recording_of_another_rate_and_two_channels_is_answered(spectrum, tmp_path):
    samples = tone(1800, 9, 0.3, 44_100)
    soundfile.write(tmp_path / "a.flac", np.stack([samples, samples], 1), 44_100)
    assert predict(spectrum / "runs" / "a", tmp_path / "a.flac").answers[0]["label"] == "high"


def test_evaluating_other_recordings(spectrum, tmp_path):
    shutil.copytree(spectrum / "runs", tmp_path / "runs")
    concert(tmp_path / "more", 5, first=900)
    (tmp_path / "more" / "low" / "x.wav").write_bytes(b"")
    code, told = said("evaluate", str(tmp_path / "runs" / "a"), "--on", str(tmp_path / "more"))
    assert code == 0, told
    record = json.loads((tmp_path / "runs" / "a" / "evaluation.json").read_text())
    assert record["splits"]["more"]["n"] == 15 and record["splits"]["more"]["dropped"] == {"an empty file": 1}


@pytest.mark.parametrize(
    ("verb", "says"), [("serve", "septet serve reads texts"), ("predict", "not read from standard input")]
)
def test_what_recordings_cannot_have_is_said(spectrum, verb, says):
    args = [verb, str(spectrum / "runs" / "a"), *(["-"] if verb == "predict" else [])]
    code, told = said(*args)
    assert code == 2 and says in told


@pytest.mark.parametrize("kind", ["ast", "wav2vec2-layer"])
def test_a_resumed_run_has_the_same_bytes(tmp_path, kind):
    concert(tmp_path / "recordings", 20)
    model_folder(tmp_path / kind, kind)
    train = {**TRAIN, "epochs": 2, "save_every": 1, "micro_batch": 7}
    # these models skip layers and mask stretches of their own accord, from global streams
    config = json.loads((tmp_path / kind / "config.json").read_text())
    if "layerdrop" in config:
        told = {"layerdrop": 0.5, "apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2}
        (tmp_path / kind / "config.json").write_text(json.dumps(config | told))
    model = {"name": kind, "dropout": 0.1}
    source = recipe(tmp_path, {"train": "recordings"}, model, train=train)
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
    # as are those of another micro-batch, but for rounding
    source = recipe(tmp_path, {"train": "recordings"}, model, train={**train, "micro_batch": 1})
    journey.train(source, run=tmp_path / "runs" / "single")
    one, two = (_state(tmp_path / "runs" / name / "model") for name in ("whole", "single"))
    # the gradient of a key's bias is 0 but for rounding: it adds the same to all scores of a token
    names = [name for name in one if not name.endswith(("key.bias", "k_proj.bias"))]
    assert max(float((one[n] - two[n]).norm() / one[n].norm().clamp(min=1e-3)) for n in names) < 1e-3


def _state(folder: Path):
    from safetensors.torch import load_file

    return load_file(str(folder / "model.safetensors"))


METHODS = ("full", "head", "layers", "lora")
KINDS = ("ast", "wav2vec2-group", "wav2vec2-layer", "hubert-layer", "wavlm-layer", "whisper")
# of all pairs, those that run by default: each method once, each family once
FEW = {("ast", "layers"), ("hubert-layer", "lora"), ("wavlm-layer", "full"), ("whisper", "head"), ("whisper", "lora")}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param(kind, method, marks=() if (kind, method) in FEW else pytest.mark.slow, id=f"{kind}-{method}")
        for kind in KINDS
        for method in METHODS
    ],
)
def test_methods_and_models(tmp_path, kind, method):
    concert(tmp_path / "recordings", 8)
    model_folder(tmp_path / kind, kind)
    train = {**TRAIN, "max_steps": 2}
    source = recipe(tmp_path, {"train": "recordings"}, kind, method=method, train=train)
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    found = predict(tmp_path / "runs" / "a", tmp_path / "recordings" / "low")
    assert found.rows == 8 and set(found.labels) <= set(PITCHES)
    assert (tmp_path / "runs" / "a" / "model" / "adapter").is_dir() == (method == "lora")
    before, after = _state(tmp_path / kind), _state(trained.run.model)
    assert after.keys() == before.keys()
    backbone = [name for name in before if not name.startswith(("projector.", "classifier."))]
    assert any(not torch.equal(before[name], after[name]) for name in backbone) == (method != "head")


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("audio-spectrogram-transformer", {"num_mel_bins": 32}),
        ("whisper", {"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}),
        ("hubert", {"conv_dim": [16, 16], "conv_kernel": [20, 16], "conv_stride": [16, 20], "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}),
    ],
    ids=["ast", "whisper", "hubert"],
)  # fmt: skip
def test_from_scratch_and_bf16(tmp_path, architecture, config):
    concert(tmp_path / "recordings", 20)
    sizes = {} if architecture == "whisper" else {"layers": 1, "hidden": 32, "heads": 2, "inner": 64}
    model = {"architecture": architecture, "config": config, **sizes}
    train = {**TRAIN, "precision": "bf16", "epochs": 6}
    source = recipe(tmp_path, {"train": "recordings"}, model, train=train)
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    text = (tmp_path / "runs" / "a" / "recipe.yaml").read_text()
    assert "seconds: 0.4  # why: the longest training recording has" in text
    assert read_task(trained.run.model).labels == ["high", "low", "middle"]
    if architecture.startswith("audio"):
        assert trained.best["value"] > 0.9
        extractor = json.loads((trained.run.model / "preprocessor_config.json").read_text())
        # of the training recordings, not of AudioSet
        assert extractor["mean"] != -4.2677393 and extractor["max_length"] == 40 and extractor["num_mel_bins"] == 32


def test_long_recordings_are_cut_and_counted(tmp_path):
    concert(tmp_path / "recordings", 20)
    model_folder(tmp_path / "m", "wav2vec2-layer")
    source = recipe(tmp_path, {"train": "recordings"}, "m", task={"seconds": 0.3}, train={**TRAIN, "max_steps": 1})
    trained = journey.train(source, run=tmp_path / "runs" / "a")
    findings = trained.run.read_json("setup.json")["findings"]
    (cut,) = [each for each in findings if each["slug"] == "recordings-cut"]
    assert 20 < cut["evidence"]["rows"] < 40 and "task.seconds=0.3" in cut["message"]


def test_recipes_that_cannot_be(tmp_path, tiny_bert):
    concert(tmp_path / "recordings", 8)
    model_folder(tmp_path / "ast", "ast")
    shutil.copytree(tmp_path / "ast", tmp_path / "other")
    (tmp_path / "other" / "preprocessor_config.json").write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    cases = [
        ({"model": "ast", "task": {"seconds": 2.0}}, ModelError, "does not take recordings of"),
        ({"model": {"name": "ast", "max_length": 9}}, RecipeError, "recordings have one size"),
        ({"model": "ast", "evaluate": {"baselines": ["tfidf"]}}, UsageError, "reads texts"),
        ({"model": str(tiny_bert)}, ModelError, "reads no recordings"),
        ({"model": "other"}, ModelError, "none that is known here"),
        ({"model": {"architecture": "resnet"}}, RecipeError, "must be one that reads recordings"),
        ({"model": {"architecture": "whisper", "tokenizer": "x"}}, RecipeError, "the rows are recordings"),
    ]
    for number, (sections, kind, says) in enumerate(cases):
        sections = {"train": TRAIN, **sections}
        with pytest.raises(kind, match=says):
            journey.train(recipe(tmp_path, {"train": "recordings"}, **sections), run=tmp_path / "runs" / str(number))
