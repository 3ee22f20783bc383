"""From a folder of recordings to answers, as a user goes, and transformers' own pipeline beside it; what pictures have as well is in `test_media_end_to_end.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from concert import PITCHES, RATE, concert, model_folder, recipe, tone
from media import RECORDINGS, TRAIN
from septet import journey
from septet.model.artifact import read_task
from septet.predict import predict


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """A finished run of a Wav2Vec2 that normalises over time and takes no mask."""
    return RECORDINGS.finished(tmp_path_factory.mktemp("sound"), "wav2vec2-group", 30, epochs=6)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A finished run of a Wav2Vec2 that takes a mask."""
    return RECORDINGS.finished(tmp_path_factory.mktemp("sound"), "wav2vec2-layer", 30, epochs=6)


@pytest.mark.parametrize("run", ["waves", "masked"])
def test_the_export_is_proven_equal(run, request):
    folder = request.getfixturevalue(run)
    parity = json.loads((folder / "runs" / "a" / "deploy.json").read_text())["exports"]["hf"]["parity"]
    assert parity["labels_different"] == 0 and parity["max_difference"] < 1e-5


@pytest.mark.parametrize("run", ["recordings", "masked"])
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


@pytest.mark.parametrize("run", ["recordings", "waves", "masked"])
def test_no_answer_depends_on_what_is_asked_beside_it(run, request, tmp_path):
    folder = request.getfixturevalue(run)
    soundfile.write(tmp_path / "a.wav", tone(600, 5, 0.15), RATE)
    (alone,) = predict(folder / "runs" / "a", tmp_path / "a.wav", scores=True).answers
    soundfile.write(tmp_path / "b.wav", tone(1800, 6, 3.0), RATE)
    soundfile.write(tmp_path / "c.wav", np.zeros(RATE), RATE)
    together = {Path(a["audio"]).name: a for a in predict(folder / "runs" / "a", tmp_path, scores=True).answers}
    assert together["a.wav"]["scores"] == pytest.approx(alone["scores"], abs=1e-6)
    assert together["b.wav"]["flag"] == "2.60 s cut off" and not together["a.wav"]["flag"]


def test_a_recording_of_another_rate_and_two_channels_is_answered(recordings, tmp_path):
    samples = tone(1800, 9, 0.3, 44_100)
    soundfile.write(tmp_path / "a.flac", np.stack([samples, samples], 1), 44_100)
    assert predict(recordings / "runs" / "a", tmp_path / "a.flac").answers[0]["label"] == "high"


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
