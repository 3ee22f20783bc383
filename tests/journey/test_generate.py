"""`generate` from rows to answers, on tiny models of the real architectures: what is saved answers in transformers as it does here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import languages
import septet
from septet.evaluate import evaluate
from septet.journey import train
from septet.run import Run
from small import quiet_recipe

ROWS = [
    {"question": f"Where is parcel {i}?", "reply": f"Parcel {i} is {'late' if i % 3 else 'here'}."} for i in range(60)
]


def recipe(folder: Path, kind: str, **task) -> dict:
    base = folder / kind
    if not base.exists():
        languages.folder(base, kind)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return {
        "data": {"train": str(data)},
        "task": {"name": "generate", "prompt": "question", "answer": "reply", "decode": {"max_new_tokens": 12}, **task},
        "model": {"name": str(base)},
        "train": {**quiet_recipe(), "epochs": 2, "batch": 8, "lr": 3e-3},
        "evaluate": {"bootstrap": 100, "written": 4},
    }


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
def test_transformers_answers_alike(tmp_path, kind, method):
    source = {**recipe(tmp_path, kind), "method": method}
    trained = train(source, run=tmp_path / "run")
    losses = [record["loss"] for record in trained.run.records("evaluations.jsonl")]
    assert len(losses) == 2 and losses[1] < losses[0]
    predictor = septet.load(tmp_path / "run")
    rows = [{"question": row["question"]} for row in ROWS[:5]]
    ours = predictor.predict(rows)
    auto = transformers.AutoModelForSeq2SeqLM if kind in languages.SIDES else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(trained.run.model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.run.model)
    for row, answer in zip(rows, ours, strict=True):
        if kind in languages.SIDES:
            inputs = tokenizer(row["question"], return_tensors="pt")
        else:
            turns = [{"role": "user", "content": row["question"]}]
            inputs = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            ids = model.generate(**inputs)[0]
        said = ids[1:] if kind in languages.SIDES else ids[inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True).strip() == answer.value
    alone = [predictor.predict([row])[0].value for row in rows]
    assert alone == [answer.value for answer in ours]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    train(recipe(folder, "llama"), run=folder / "run")
    evaluate(Run.open(folder / "run"))
    return folder


def test_scores_of_everyone(finished):
    lines = Run.open(finished / "run").records("scores.jsonl")
    found = {(line["split"], line["who"], line["metric"]): line for line in lines}
    assert found["test", "tuned", "loss"]["n"] == 6
    assert found["test", "tuned", "chrf"]["n"] == 4
    assert found["test", "tuned", "loss"]["value"] < found["test", "base", "loss"]["value"]
    for who in ("base", "nearest", "copy", "lead", "constant"):
        assert 0 <= found["test", who, "chrf"]["value"] <= 100
    assert ("test", "nearest", "loss") not in found
    assert ("train (sample)", "tuned", "loss") in found and ("train (sample)", "tuned", "chrf") not in found


def test_the_report_shows_base_and_tuned(finished):
    record = json.loads((finished / "run" / "evaluation.json").read_text())
    sample = record["splits"]["test"]["samples"][0]
    assert sample["prompt"].startswith("user: Where is parcel")
    assert {"tuned", "base", "nearest"} <= set(sample["answers"])
    page = (finished / "run" / "report.html").read_text()
    assert sample["reference"] in page


def test_the_loss_is_the_mean_over_answer_tokens(finished):
    """By a plain loop over transformers: mean cross-entropy of the answer's tokens and its end, nothing of the prompt."""
    folder = finished / "run" / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    from septet.data.store import Prepared

    nats = tokens = 0
    for row in Prepared.of(Run.open(finished / "run")).rows("test"):
        turns = [{"role": "user", "content": row["question"]}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        answer = tokenizer(row["reply"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        logits = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        nats -= float(logits.gather(1, torch.tensor(answer)[:, None]).sum())
        tokens += len(answer)
    lines = Run.open(finished / "run").records("scores.jsonl")
    loss = next(line for line in lines if (line["split"], line["who"], line["metric"]) == ("test", "tuned", "loss"))
    assert loss["value"] == pytest.approx(nats / tokens, rel=1e-5)


def test_rows_cut_to_nothing_are_counted(tmp_path):
    source = recipe(tmp_path, "llama")
    long = {"question": "where " * 200, "reply": "Here."}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, long]))
    source["data"]["split"] = {"validation": 0.1, "test": 0, "seed": 1}
    source["model"]["max_length"] = 40
    trained = train(source, run=tmp_path / "run")
    found = json.loads((trained.run.path / "setup.json").read_text())["findings"]
    left_out = [f for f in found if f["slug"] == "nothing-to-learn"]
    assert sum(f["evidence"]["rows"] for f in left_out) == 1
    assert "No token of an answer is within the first 40 tokens." in left_out[0]["message"]


def test_malformed_rows_are_counted(tmp_path):
    source = recipe(tmp_path, "llama")
    odd = [
        {"messages": []},
        {"messages": [{"role": "alien", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}]},
    ]
    good = [
        {"messages": [{"role": "user", "content": r["question"]}, {"role": "assistant", "content": r["reply"]}]}
        for r in ROWS
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*good, *odd]))
    source["task"] = {"name": "generate", "decode": {"max_new_tokens": 8}}
    trained = train(source, run=tmp_path / "run")
    data = json.loads((trained.run.path / "data.json").read_text())
    account = data["ledger"]["train"]
    assert account["read"] == 63 and sum(account["dropped"].values()) == 3
    recorded = septet.Recipe.load(trained.run.path / "recipe.yaml")
    assert recorded.task.messages == "messages"
    answer = septet.load(trained.run.path).predict([{"messages": odd[2]["messages"]}, "Where is parcel 3?"])
    assert len(answer) == 2 and all(isinstance(each.value, str) for each in answer)


def test_sampling_repeats_and_beams_differ_from_greedy(tmp_path):
    source = recipe(tmp_path, "llama")
    train(source, run=tmp_path / "greedy")
    greedy = septet.load(tmp_path / "greedy").predict([{"question": "Where is parcel 7?"}])[0].value
    sampled = dict(source, task={**source["task"], "decode": {"max_new_tokens": 12, "temperature": 3.0}})
    train(sampled, run=tmp_path / "sampled")
    first, again = (
        septet.load(tmp_path / "sampled").predict([{"question": "Where is parcel 7?"}])[0].value for _ in "ab"
    )
    assert first == again != greedy
    config = json.loads((tmp_path / "sampled" / "model" / "generation_config.json").read_text())
    assert (config["do_sample"], config["temperature"], config["max_new_tokens"]) == (True, 3.0, 12)
    beams = dict(source, task={**source["task"], "decode": {"max_new_tokens": 12, "beams": 3, "length_penalty": 0.5}})
    train(beams, run=tmp_path / "beams")
    config = json.loads((tmp_path / "beams" / "model" / "generation_config.json").read_text())
    assert (config["num_beams"], config["length_penalty"]) == (3, 0.5)
