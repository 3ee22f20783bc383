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


def test_the_adapter_alone_on_its_base_gives_the_same_answers(tmp_path):
    import torch
    from peft import PeftModel

    from septet.model.predictor import Predictor

    run = journey.train(
        small.recipe(tmp_path, method={"name": "lora", "rank": 4}, max_steps=8), run=tmp_path / "run"
    ).run
    named = json.loads((run.model / "adapter" / "base.json").read_text())["name"]
    base = transformers.AutoModelForSequenceClassification.from_pretrained(named, num_labels=3)
    adapted = PeftModel.from_pretrained(base, str(run.model / "adapter")).eval()
    predictor = Predictor.load(run.path)
    for row in rows(8, seed=4):
        inputs = predictor.processor(row["text"], return_tensors="pt")
        with torch.inference_mode():
            scores = adapted(**inputs).logits.softmax(-1)[0].tolist()
        ours = predictor.predict([row["text"]])[0].scores
        assert scores == pytest.approx(list(ours.values()), abs=1e-4)
