"""`model.attention` from what is measured to what was written: the faster one is taken, told with its times, and never asked again."""

from __future__ import annotations

import json

import pytest

import languages
from septet.engine import attention_speed
from septet.errors import ModelError
from septet.journey import train
from septet.recipe import Recipe
from small import quiet_recipe

QUESTION = "where is my parcel, the lamp and the order of last week, number"


def recipe(folder, kind="llama"):
    base = folder / kind
    if not base.exists():
        languages.folder(base, kind)
    rows = [{"question": f"{QUESTION} {i}? " * (1 + i % 3), "reply": f"Parcel {i} is here."} for i in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "data": {"train": str(folder / "rows.jsonl")},
        "task": {"name": "generate", "prompt": "question", "answer": "reply"},
        "model": {"name": str(base)},
        "train": {**quiet_recipe(), "epochs": 2, "batch": 4, "lr": 3e-3},
    }


def losses(run):
    return [record["loss"] for record in run.records("steps.jsonl")]


def test_the_faster_one_is_taken_and_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "kept"))
    source = recipe(tmp_path)
    monkeypatch.setattr(attention_speed, "times", lambda *_sizes, **_more: {"eager": 9.0, "sdpa": 3.0})
    fused = train(source, run=tmp_path / "fused").run
    written = Recipe.load(fused.path / "recipe.yaml")
    assert written.model.attention == "sdpa"
    assert (
        "3.0 times as fast: a layer's attention takes 9.0 ms eager, 3.0 ms fused"
        in (fused.path / "recipe.yaml").read_text()
    )

    def asked(*_sizes, **_more):
        raise RuntimeError("measured again")

    monkeypatch.setattr(attention_speed, "times", asked)
    again = train(str(fused.path / "recipe.yaml"), run=tmp_path / "again").run
    assert losses(again) == losses(fused)
    source["model"]["attention"] = "eager"
    eager = train(source, run=tmp_path / "eager").run
    assert losses(eager) == pytest.approx(losses(fused), rel=1e-4)
    assert losses(eager) != losses(fused)


def test_scores_that_fused_attention_cannot_cap(tmp_path):
    source = recipe(tmp_path, "gemma2")
    source["model"]["attention"] = "sdpa"
    with pytest.raises(ModelError, match="caps its attention scores"):
        train(source, run=tmp_path / "run")
