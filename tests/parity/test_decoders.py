"""A decoder from its checkpoint to its artifact: what Septet answers, transformers' pipeline answers, at any batch size."""

import json
import math

import pytest
import torch
import transformers

import small
from septet.errors import ModelError
from septet.model.predictor import Predictor
from septet.train import train
from tiny import model_folder, rows


def recipe(folder, kind, *, marks=True, **changes):
    """A run on a tiny decoder whose tokenizer has no padding token and pads on the left, as Llama's does.

    Args:
        marks: whether each text ends with [SEP]; else it ends with its last word, [UNK] where it is unknown, which is EOS here.
    """
    base = model_folder(folder / "base", kind, dropout=0.1)
    path = base / "tokenizer_config.json"
    told = json.loads(path.read_text()) | {"padding_side": "left", "eos_token": "[UNK]"}
    path.write_text(json.dumps({key: value for key, value in told.items() if key != "pad_token"}))
    config = json.loads((base / "config.json").read_text()) | {"pad_token_id": None, "eos_token_id": 1}
    (base / "config.json").write_text(json.dumps(config))
    if not marks:
        raw = json.loads((base / "tokenizer.json").read_text())
        (base / "tokenizer.json").write_text(json.dumps(raw | {"post_processor": None}))
    (folder / "base").rename(folder / "kept")
    found = small.recipe(folder, **{"epochs": 1, "lr": 1e-3, **changes})
    found["model"]["name"] = str(folder / "kept")
    return found


def answers(folder, texts, **options):
    pipe = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    return [{a["label"]: a["score"] for a in found} for found in pipe(texts, **options)]


def gap(ours, theirs):
    return max(abs(a.scores[label] - b[label]) for a, b in zip(ours, theirs, strict=True) for label in b)


@pytest.mark.parametrize("method", ["full", {"name": "lora", "rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_pipeline_gives_the_same_answers(tmp_path, kind, method):
    loaded, run = small.begin(recipe(tmp_path, kind, method=method), tmp_path / "run")
    train(loaded, run)
    texts = [row["text"] for row in rows(20, seed=5, longest=9)]
    ours = Predictor.load(run.model).predict(texts)
    assert gap(ours, answers(run.model, texts)) <= 1e-5
    assert gap(ours, answers(run.model, texts, batch_size=7)) <= 1e-5
    assert gap(ours, [Predictor.load(run.model).predict([text])[0].scores for text in texts]) <= 1e-5
    assert len({round(p.scores["money"], 6) for p in ours}) > 10, "all texts got one answer: nothing was compared"
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(run.model))
    config = json.loads((run.model / "config.json").read_text())
    assert (tokenizer.pad_token_id, tokenizer.padding_side, config["pad_token_id"]) == (1, "right", 1)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_rows_that_end_with_the_padding_token(tmp_path, kind):
    """One reading from training to serving; a finding says where transformers' pipeline has another."""
    source = recipe(tmp_path, kind, marks=False)
    table = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    for i, row in enumerate(table):
        row["text"] += " qqq" if i < 15 else ""
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, table)))
    (tmp_path / "validation.jsonl").write_text("\n".join(map(json.dumps, table[5:40])))
    source["data"]["overlap"] = "keep"
    loaded, run = small.begin(source, tmp_path / "run")
    train(loaded, run)

    found = {f["slug"]: f for f in run.read_json("setup.json")["findings"]}
    assert found["padding-ends-rows"]["evidence"] == {"rows": 15, "token": 1}
    predictor = Predictor.load(run.model)
    texts = [row["text"] for row in table]
    ours = predictor.predict(texts)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(str(run.model)).eval()
    for text, prediction in zip(texts, ours, strict=True):
        ids = torch.tensor([predictor.processor(text)["input_ids"]])
        with torch.no_grad():
            logits = plain.score(plain.base_model(input_ids=ids).last_hidden_state[0, -1])
        assert list(prediction.scores.values()) == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)
    theirs = answers(run.model, texts, batch_size=4)
    assert gap(ours[15:], theirs[15:]) <= 1e-5 < gap(ours[:15], theirs[:15])
    losses = [-math.log(p.scores[row["label"]]) for p, row in zip(ours[5:40], table[5:40], strict=True)]
    assert sum(losses) / len(losses) == pytest.approx(run.read_json("best.json")["value"], abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_an_empty_text_is_answered(tmp_path, kind):
    loaded, run = small.begin(recipe(tmp_path, kind, marks=False, max_steps=2), tmp_path / "run")
    train(loaded, run)
    predictor = Predictor.load(run.model)
    alone, among = predictor.predict([""])[0], predictor.predict(["refund please", "", "late"])[1]
    assert alone.tokens == 1
    assert alone.scores == pytest.approx(among.scores, abs=1e-5)


def test_a_tokenizer_without_any_token_to_spare(tmp_path):
    source = recipe(tmp_path, "gpt2", marks=False)
    base = tmp_path / "kept"
    told = json.loads((base / "tokenizer_config.json").read_text())
    kept = {key: value for key, value in told.items() if not key.endswith("_token")}
    (base / "tokenizer_config.json").write_text(json.dumps(kept))
    loaded, run = small.begin(source, tmp_path / "run")
    with pytest.raises(ModelError, match="no padding token and no EOS"):
        train(loaded, run)


def test_the_adapter_of_a_gpt2_alone_on_its_base(tmp_path):
    """GPT-2's projections are Conv1D: peft turns the adapter's product round, and finds that noted beside it."""
    from peft import PeftModel

    source = recipe(tmp_path, "gpt2", method={"name": "lora", "rank": 4, "targets": ["c_attn", "c_fc"]}, lr=1e-2)
    loaded, run = small.begin(source, tmp_path / "run")
    train(loaded, run)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "kept"), num_labels=3)
    adapted = PeftModel.from_pretrained(base, str(run.model / "adapter")).eval()
    assert {name.split(".")[-3] for name, _ in adapted.named_modules() if name.endswith("lora_A.default")} == {
        "c_attn",
        "c_fc",
    }
    predictor = Predictor.load(run.model)
    ours = []
    for text in (row["text"] for row in rows(8, seed=5, longest=9)):
        ids = torch.tensor([predictor.processor(text)["input_ids"]])
        with torch.no_grad():
            expected = adapted(input_ids=ids).logits[0].softmax(-1).tolist()
        ours.append(predictor.predict([text])[0].scores)
        assert list(ours[-1].values()) == pytest.approx(expected, abs=1e-5)
    assert json.loads((run.model / "adapter" / "adapter_config.json").read_text())["fan_in_fan_out"] is True
