"""`pretrain` from documents to a model that other recipes begin with: causal, masked and span, from scratch and further."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
import transformers

import languages
from septet.data.store import Prepared
from septet.evaluate import evaluate
from septet.journey import train
from septet.model.load import silent
from septet.recipe import Recipe
from septet.run import Run
from small import quiet_recipe, steps

WORDS = [
    "the",
    "old",
    "house",
    "by",
    "the",
    "sea",
    "was",
    "cold",
    "and",
    "the",
    "wind",
    "came",
    "in",
    "at",
    "every",
    "door",
    "so",
    "we",
    "lit",
    "a",
    "fire",
]


def documents(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(3, 120))) + "." for _ in range(count)]


def with_sentinels(folder: Path) -> Path:
    processor = languages.tokenizer()
    names = {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    processor.add_special_tokens(names)  # pyright: ignore
    processor.add_tokens([f"<extra_id_{i}>" for i in range(12)], special_tokens=True)
    with silent():
        processor.save_pretrained(folder)
    return folder


def recipe(folder: Path, architecture: str, **task) -> dict:
    data = folder / "documents.jsonl"
    if not data.exists():
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(80)))
        with_sentinels(folder / "words")
    sizes = {"layers": 2, "hidden": 32, "heads": 4, "config": {}}
    sizes["config"] = {"num_decoder_layers": 2} if architecture == "t5" else {"max_position_embeddings": 48}
    if architecture == "roberta":  # counts from behind its padding's index
        sizes["config"] = {"max_position_embeddings": 50}
    if architecture == "gpt2":
        sizes["config"] = {"n_positions": 48}
    return {
        "data": {"train": str(data), "split": {"validation": 0.2, "test": 0.1}},
        "task": {"name": "pretrain", **task},
        "model": {"architecture": architecture, "tokenizer": str(folder / "words"), **sizes, "max_length": 48},
        "train": {**quiet_recipe(), "epochs": 3, "batch": 8, "lr": 3e-3},
        "evaluate": {"bootstrap": 100},
    }


def broken_off(source: dict, folder: Path) -> Run:
    """Return a run that was interrupted after 8 steps and resumed."""

    def interrupt(event: str, **facts: object) -> None:
        if event == "step" and facts["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(source, run=folder, listen=interrupt)
    return train(source, run=folder, resume=True).run


AUTO = {
    "causal": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "span": transformers.AutoModelForSeq2SeqLM,
}


@pytest.mark.parametrize(
    ("architecture", "objective"),
    [("llama", "causal"), ("gpt2", "causal"), ("bert", "masked"), ("roberta", "masked"), ("t5", "span")],
)
def test_it_learns_and_loads_elsewhere(tmp_path, architecture, objective):
    trained = train(recipe(tmp_path, architecture), run=tmp_path / "run")
    losses = [record["loss"] for record in trained.run.records("evaluations.jsonl")]
    assert losses[-1] < losses[0] and losses[-1] < 0.7 * np.log(334)  # words of the vocabulary
    stored = json.loads((trained.run.model / "task.json").read_text())["task"]
    assert stored["options"]["objective"] == objective
    AUTO[objective].from_pretrained(trained.run.model)
    evaluate(trained.run)
    found = {(x["split"], x["metric"]): x for x in trained.run.records("scores.jsonl")}
    assert found["test", "loss"]["value"] < losses[0]
    assert (("test", "bits_per_byte") in found) == (objective == "causal")
    assert (trained.run.path / "report.html").exists()


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    run = train(recipe(folder, "llama"), run=folder / "run").run
    evaluate(run)
    return run


def test_every_token_is_predicted_once(causal):
    """The bits per byte are those of a plain loop over windows that overlap by one token."""
    model = transformers.AutoModelForCausalLM.from_pretrained(causal.model).eval()
    words = transformers.AutoTokenizer.from_pretrained(causal.model)
    nats = size = 0
    for row in Prepared.of(causal).rows("test"):
        ids = [words.bos_token_id, *words(row["text"], add_special_tokens=False)["input_ids"], words.eos_token_id]
        for start in range(0, len(ids) - 1, 47):
            window = torch.tensor([ids[start : start + 48]])
            if window.shape[1] > 1:
                logs = model(window).logits[0, :-1].log_softmax(-1)
                nats -= float(logs.gather(1, window[0, 1:, None]).sum())
        size += len(row["text"].encode())
    line = next(x for x in causal.records("scores.jsonl") if (x["split"], x["metric"]) == ("test", "bits_per_byte"))
    assert line["value"] == pytest.approx(nats / np.log(2) / size, rel=1e-5)


def test_tokens_of_a_document_add_up(causal):
    from septet.model.predictor import Predictor

    predictor = Predictor.load(causal.path)
    rows = Prepared.of(causal).rows("train")
    encoded = predictor.task.encode(rows, predictor.processor)
    for row, windows in zip(rows, encoded, strict=True):
        ids = predictor.processor(row["text"], add_special_tokens=False)["input_ids"]
        assert sum(len(window.inputs["input_ids"]) - 1 for window in windows) == len(ids) + 1
        assert len({window.row for window in windows}) == len(windows)


def test_continued_from_a_checkpoint_and_then_tuned(causal, tmp_path):
    """Domain adaptation begins with the model, and a classifier or an assistant begins with what it made."""
    source = recipe(tmp_path, "llama")
    source["model"] = {"name": str(causal.model), "max_length": 48}
    again = train(source, run=tmp_path / "further").run
    evaluate(again)
    found = {(x["split"], x["who"], x["metric"]): x["value"] for x in again.records("scores.jsonl")}
    assert found["test", "tuned", "bits_per_byte"] < found["test", "base", "bits_per_byte"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"ask": f"the {i}", "reply": "the sea" if i % 2 else "a fire"}) + "\n" for i in range(60))
    )
    assistant = {
        "data": {"train": str(rows)},
        "task": {"name": "generate", "prompt": "ask", "answer": "reply"},
        "model": str(again.model),
        "train": {**quiet_recipe(), "epochs": 1, "batch": 8, "lr": 1e-3},
    }
    assert train(assistant, run=tmp_path / "assistant").run.done
    labels = {**assistant, "task": {"name": "classify", "text": "ask", "label": "reply"}}
    assert train(labels, run=tmp_path / "classifier").run.done


@pytest.mark.parametrize("architecture", ["bert", "t5"])
def test_what_is_hidden_changes_with_the_epoch_and_not_with_a_resume(tmp_path, architecture):
    source = recipe(tmp_path, architecture)
    source["train"] |= {"epochs": 2, "save_every": 3, "lr": 0.0001}
    whole = train(source, run=tmp_path / "whole").run
    losses = [step["loss"] for step in steps(whole.path)]
    half = len(losses) // 2
    assert losses[0] != losses[half]

    broken = broken_off(source, tmp_path / "broken")
    assert [step["loss"] for step in steps(broken.path)] == losses
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("compiled", [False, True])
def test_muon_and_half_as_large_weights(tmp_path, compiled):
    """Hidden matrices by Muon: it learns, a broken run ends in the same bytes, and the stored weights are bfloat16."""
    if compiled and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    source = recipe(tmp_path, "llama")
    source["optimizer"] = "muon"
    source["train"] |= {"epochs": 2, "save_every": 3} | ({"compile": True} if compiled else {})
    source["model"]["dtype"] = "bfloat16"
    source["model"]["config"]["tie_word_embeddings"] = True
    whole = train(source, run=tmp_path / "whole").run
    losses = [step["loss"] for step in steps(whole.path)]
    assert losses[-1] < losses[0]
    assert ("blocks-compiled" in (whole.path / "setup.json").read_text()) == compiled
    resolved = Recipe.load(whole.path / "recipe.yaml")
    assert resolved.train.compile is compiled
    assert compiled or "compiling takes half a minute" in resolved.whys["train.compile"]

    broken = broken_off(source, tmp_path / "broken")
    assert [step["loss"] for step in steps(broken.path)] == losses
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    stored = transformers.AutoModelForCausalLM.from_pretrained(whole.model, dtype="auto")
    assert {p.dtype for p in stored.parameters()} == {torch.bfloat16}
    with safetensors.safe_open(whole.model / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  tied: written once


def test_it_is_not_asked(causal):
    import septet
    from septet.errors import SeptetError

    with pytest.raises(SeptetError, match="answers no rows yet"):
        septet.load(causal.path).predict(["the old"])


def test_a_tokenizer_without_a_mask_is_named(tmp_path):
    source = recipe(tmp_path, "bert")
    with silent():
        languages.tokenizer().save_pretrained(tmp_path / "plain")
    source["model"]["tokenizer"] = str(tmp_path / "plain")
    from septet.errors import ModelError

    with pytest.raises(ModelError, match="no mask token"):
        train(source, run=tmp_path / "run")
    assert not Run(tmp_path / "run").done


def test_a_vocabulary_is_learned_from_few_long_documents(tmp_path):
    """Two novels are many passages; the same rows give the same vocabulary, learned once."""
    text = "\n".join(" ".join(documents(1, seed)[0].split()) for seed in range(400))
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.txt").write_text(f"{name}\n{text}")
    source = {
        "data": {"train": [str(tmp_path / "one.txt"), str(tmp_path / "two.txt")], "test": str(tmp_path / "three.txt")},
        "task": {"name": "pretrain"},
        "model": {"architecture": "llama", "vocabulary": {"size": 320}, "layers": 1, "hidden": 32, "heads": 2},
        "train": {**quiet_recipe(), "max_steps": 2, "lr": 1e-3},
    }
    source["data"]["split"] = {"validation": 0}
    source["model"]["config"] = {"max_position_embeddings": 64}
    first = train(source, run=tmp_path / "first").run
    second = train(source, run=tmp_path / "second").run
    folders = sorted(Prepared.of(first).path.glob("tokenizer-*"))
    assert len(folders) == 1 and Prepared.of(second).path == Prepared.of(first).path
    assert len(transformers.AutoTokenizer.from_pretrained(first.model)) == 320
    assert (first.model / "model.safetensors").read_bytes() == (second.model / "model.safetensors").read_bytes()
