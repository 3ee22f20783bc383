"""`septet predict`, the server and transformers.pipeline answer alike, for `full` and for `lora`."""

import json

import pytest
import transformers

import small
from septet import journey
from septet.serve import smoke
from tiny import rows

pytest.importorskip("starlette", reason="the serve extra is not installed")


@pytest.mark.parametrize("method", ["full", {"name": "lora", "rank": 4}], ids=["full", "lora"])
def test_three_ways_to_one_answer(tmp_path, method):
    run = journey.train(small.recipe(tmp_path, method=method, max_steps=8), run=tmp_path / "run").run
    texts = [row["text"] for row in rows(24, seed=9)]
    served = smoke(run, texts)
    assert served["max_difference"] <= 1e-4
    assert served["labels_different"] == 0
    assert served["logged"] == len(texts)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    journey.predict(run.path, tmp_path / "texts.jsonl", out=str(tmp_path / "answers.jsonl"))
    predicted = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    pipe = transformers.pipeline("text-classification", model=str(run.model))
    for ours, theirs in zip(predicted, pipe(texts), strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
