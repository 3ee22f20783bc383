"""Small recordings, models that hear them, and damaged files, all made in code."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

RATE = 16_000
PITCHES = {"high": 1800.0, "low": 200.0, "middle": 600.0}


def tone(pitch: float, seed: int, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    """Return (T,) float32: a tone that begins somewhere, and noise; another seed, another recording."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (pitch * at + rng.random())) + rng.normal(0, 0.02, len(at))
    return wave.astype(np.float32)


def concert(folder: Path, count: int = 20, *, first: int = 0, ending: str = "wav") -> Path:
    """Write `folder/<pitch>/<number>.<ending>`, so many of each pitch, from 0.2 to 0.4 seconds long."""
    for place, (label, pitch) in enumerate(PITCHES.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            samples = tone(pitch, 1000 * place + i, 0.2 + 0.01 * (i % 21))
            soundfile.write(folder / label / f"{i:03d}.{ending}", samples, RATE)
    return folder


def recipe(folder: Path, data: dict[str, Any], model: Any, **sections: Any) -> Path:
    """Write a recipe of recordings."""
    path = folder / "recipe.yaml"
    task = {"name": "classify", "audio": "audio", "label": "label"} | sections.pop("task", {})
    path.write_text(yaml.safe_dump({"data": data, "task": task, "model": model, **sections}))
    return path


_SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (8, 8, 5),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}
_AST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_WHISPER = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}


def model_folder(folder: Path, kind: str) -> Path:
    """Write a tiny checkpoint that hears, as the hub lays it out: `group` models take no mask, `layer` models do."""
    import torch
    import transformers as hf

    heard = hf.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    masked = hf.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    stable = {**_SPEECH, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_labels": 5}
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {
        "wav2vec2-group": lambda: (hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**_SPEECH)), heard),
        "wav2vec2-layer": lambda: (hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**stable)), masked),
        "hubert-layer": lambda: (hf.HubertForSequenceClassification(hf.HubertConfig(**stable)), masked),
        "wavlm-layer": lambda: (hf.WavLMForSequenceClassification(hf.WavLMConfig(**stable)), masked),
        "ast": lambda: (
            hf.ASTForAudioClassification(hf.ASTConfig(**_AST, max_length=40, num_mel_bins=32, num_labels=5)),
            hf.ASTFeatureExtractor(num_mel_bins=32, max_length=40),
        ),
        "whisper": lambda: (
            hf.WhisperForAudioClassification(
                hf.WhisperConfig(**_WHISPER, decoder_layers=1, num_mel_bins=32, max_source_positions=50, num_labels=5)
            ),
            hf.WhisperFeatureExtractor(feature_size=32, chunk_length=1),
        ),
    }
    torch.manual_seed(0)
    model, extractor = makers[kind]()
    model.eval().save_pretrained(str(folder))
    extractor.save_pretrained(str(folder))
    return folder


# ---- damaged files ----


def encoded(samples: np.ndarray, kind: str, rate: int = RATE, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _second() -> np.ndarray:
    return tone(440, 7, 1.0)


def _with(value: float) -> np.ndarray:
    samples = _second()
    samples[100] = value
    return samples


# name -> what the file holds, and what is said of it
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.wav": (lambda: b"", "an empty file"),
    "text.wav": (lambda: b"not a recording\n", "no recording"),
    "html.mp3": (lambda: b"<!doctype html><html>404</html>", "no recording"),
    "nul.wav": (lambda: bytes(500), "no recording"),
    "pdf.ogg": (lambda: b"%PDF-1.7\n%\xe2\xe3", "no recording"),
    "pickle.wav": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00", "no recording"),
    "lfs.flac": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no recording"),
    "aiff.wav": (lambda: encoded(_second(), "AIFF"), "no WAV, FLAC, Ogg or MP3"),
    "half.wav": (lambda: encoded(_second(), "WAV")[:16_000], "cut short"),
    "half.flac": (lambda: encoded(_second(), "FLAC")[:9_000], "cut short|a damaged recording"),
    "half.ogg": (lambda: encoded(_second(), "OGG")[:-300], "cut short"),
    "half.opus": (lambda: encoded(_second(), "OGG", subtype="OPUS")[:-300], "cut short|a damaged recording"),
    "half.mp3": (lambda: encoded(_second(), "MP3")[:4_000], "cut short"),
    "head.wav": (lambda: encoded(_second(), "WAV")[:20], "a damaged recording"),
    "head.ogg": (lambda: b"OggS", "a damaged recording"),
    "none.wav": (lambda: encoded(_second()[:0], "WAV"), "shorter than 0.05 seconds"),
    "short.wav": (lambda: encoded(_second()[:500], "WAV"), "shorter than 0.05 seconds"),
    "nan.wav": (lambda: encoded(_with(np.nan), "WAV", subtype="FLOAT"), "numbers that are not finite"),
    "inf.wav": (lambda: encoded(_with(np.inf), "WAV", subtype="FLOAT"), "numbers that are not finite"),
    "long.wav": (lambda: encoded(np.zeros(2_000 * 601, np.float32), "WAV", 2_000, "PCM_U8"), "longer than 10 minutes"),
    "slow.wav": (lambda: encoded(_second(), "WAV", 500), "a sampling rate of 500 Hz"),
}


def break_concert(folder: Path) -> dict[str, str]:
    """Put every kind of broken file among the recordings of `low`; return name -> the pattern of what is said."""
    told = {}
    for name, (make, says) in BROKEN.items():
        (folder / "low" / name).write_bytes(make())
        told[name] = says
    outside = folder.parent / "outside.wav"
    soundfile.write(outside, tone(300, 99), RATE)
    (folder / "low" / "outside.wav").symlink_to(outside)
    told["outside.wav"] = "a link out of the folder"
    (folder / "low" / "gone.wav").symlink_to(folder / "nowhere.wav")
    told["gone.wav"] = "a link to nothing"
    return told
