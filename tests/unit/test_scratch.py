"""A model from scratch: the recipe's sizes in the config's own names, weights from the seed, errors that say what to do."""

import json

import pytest
import transformers

import small
from septet.errors import SeptetError
from septet.model import tokenizer
from septet.model.predictor import Predictor
from septet.model.scratch import config_of, new_model
from septet.recipe import Recipe
from septet.recipe.model import Model
from septet.tasks.classify import Classify, Options
from septet.train import train
from tiny import FILLER, TEAMS, model_folder, rows

HEAD = Classify(Options(text="text", label="label"), ["a", "b", "c"], [1.0] * 3).heads()["label"]
SIZES = {"layers": 3, "hidden": 32, "heads": 4}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The tokenizer of a tiny BERT, alone in its folder."""
    folder = model_folder(tmp_path_factory.mktemp("words"))
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def merges(tmp_path_factory):
    """GPT-2's files in small: 256 bytes, a few merges, and nothing else."""
    pairs = []
    for word in sorted({*FILLER, *sum(TEAMS.values(), [])}):
        done = "Ġ"
        for letter in word:
            pairs.append((done, letter))
            done += letter
    folder = tmp_path_factory.mktemp("merges")
    lines = dict.fromkeys(f"{a} {b}" for a, b in pairs)
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    return folder


def recipe(folder, tokenizer, **model):
    found = small.recipe(folder, **model.pop("train", {"epochs": 1, "max_steps": 4}))
    found["method"] = model.pop("method", "full")
    found["model"] = {
        "architecture": "gpt2",
        "tokenizer": str(tokenizer),
        **SIZES,
        "config": {"n_positions": 48},
        "attention": "eager",
        **model,
    }
    return found


def problem(**model):
    with pytest.raises(SeptetError) as caught:
        Recipe.load(
            {"data": {"train": "a.csv"}, "task": {"name": "classify", "text": "t", "label": "l"}, "model": model}
        )
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("gpt2", {"n_layer": 3, "n_embd": 32, "n_head": 4, "n_inner": None}),
        ("distilbert", {"n_layers": 3, "dim": 32, "n_heads": 4, "hidden_dim": 128}),
        ("bert", {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 128}),
        ("llama", {"num_hidden_layers": 3, "hidden_size": 32, "num_key_value_heads": 4, "head_dim": 8}),
        ("qwen3", {"intermediate_size": 128, "num_key_value_heads": 4, "head_dim": 8, "vocab_size": None}),
        ("gemma2", {"num_attention_heads": 4, "head_dim": 8}),
        ("modernbert", {"num_hidden_layers": 3, "intermediate_size": 128}),
    ],
)
def test_sizes_have_the_configs_own_names(words, kind, expected):
    processor = tokenizer.read(words)
    options = Model(architecture=kind, tokenizer="-", **SIZES)
    config = config_of(options, HEAD, processor)
    told = config.to_dict()
    for name, value in expected.items():
        assert told[name] == (len(processor) if name == "vocab_size" else value)
    assert (config.pad_token_id, config.eos_token_id, config.num_labels) == (0, None, 3)
    loaded = new_model(options, words, HEAD, seed=1, processor=processor, attention="eager")
    assert loaded.model.get_input_embeddings().weight.shape == (len(processor), 32)
    assert ("token_type_ids" in processor("a")) == (kind == "bert")
    assert loaded.reads_last == (kind in ("gpt2", "llama", "qwen3", "gemma2"))


def test_inner_and_any_other_field(words):
    options = Model(
        architecture="gpt2", tokenizer="-", **SIZES, inner=48, config={"max_position_embeddings": 40, "attn_pdrop": 0}
    )
    config = config_of(options, HEAD, tokenizer.read(words))
    assert (config.n_inner, config.n_positions, config.attn_pdrop) == (48, 40, 0)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"name": "starter", "architecture": "gpt2", "tokenizer": "x"}, "a model is read or built"),
        ({"name": None}, "model.name or model.architecture is needed"),
        ({"architecture": "gpt2"}, "model.tokenizer is missing"),
        ({"name": "starter", "layers": 2}, "model.layers would be ignored"),
        ({"config": {"n_head": 2}}, "model.config would be ignored"),
        ({"architecture": "gpt2", "tokenizer": "x", "hidden": 30, "heads": 4}, "multiple of model.heads"),
        ({"architecture": "gpt2", "tokenizer": "x", "layer": 4}, "model.layers"),
    ],
)
def test_what_contradicts_itself(model, told):
    assert told in problem(**model)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"architecture": "gtp2"}, "did you mean gpt2"),
        ({"architecture": "whisper"}, "a model_type that transformers has for this task"),
        ({"config": {"n_postions": 40}}, "n_positions"),
        ({"config": {"vocab_size": 40}}, "model.config.vocab_size is not for the recipe"),
        ({"config": {"_attn_implementation": "x"}}, "is not for the recipe"),
        ({"config": {"auto_map": {"AutoConfig": "x.Y"}}}, "is no field"),
        ({"config": {"n_layer": 3}}, "model.layers and model.config.n_layer are the same size"),
        ({"config": {"n_positions": "many"}}, "No gpt2 can be built"),
        ({"heads": None, "hidden": 20}, "No gpt2 can be built"),
    ],
)
def test_what_cannot_be_built(words, model, told):
    options = Model(**{"architecture": "gpt2", "tokenizer": "-", **SIZES, **model})
    with pytest.raises(SeptetError) as caught:
        new_model(options, words, HEAD, seed=1, processor=tokenizer.read(words))
    assert told in str(caught.value)


def test_gpt2s_files(merges, tmp_path):
    """The merges alone say the vocabulary; with its vocabulary beside them, or as tokenizer.json, the ids are the same."""
    first = tokenizer.read(merges)
    lines = (merges / "vocab.bpe").read_text()
    text = " please where is my parcel naïve 🙂  x\ny<|endoftext|>"
    ids = first(text)["input_ids"]
    assert len(first) == 256 + lines.count("\n") - 1 + 1 == first.eos_token_id + 1
    assert (first("!")["input_ids"], ids[-1], first.pad_token_id) == ([0], first.eos_token_id, first.eos_token_id)
    assert len(ids) < 30 < len(text)
    named = tmp_path / "named"
    named.mkdir()
    (named / "merges.txt").write_text(lines)
    (named / "vocab.json").write_text(json.dumps(first.get_vocab()))
    assert tokenizer.read(named)(text)["input_ids"] == ids
    first.save_pretrained(str(tmp_path / "saved"))
    assert tokenizer.read(tmp_path / "saved")(text)["input_ids"] == ids
    (tmp_path / "saved" / "tokenizer_config.json").unlink()
    assert tokenizer.read(tmp_path / "saved")(text)["input_ids"] == ids
    with pytest.raises(SeptetError, match="no tokenizer.json"):
        tokenizer.read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "names"), [("gpt2", "merges"), ("llama", "merges"), ("llama", "words"), ("bert", "words")]
)
def test_from_recipe_to_pipeline(tmp_path, request, kind, names):
    source = recipe(tmp_path, request.getfixturevalue(names), architecture=kind, config=None)
    loaded, run = small.begin(source, tmp_path / "run")
    train(loaded, run)
    (new,) = [f for f in run.read_json("setup.json")["findings"] if f["slug"] == "tensors-new"]
    assert new["message"].startswith(f"All weights are new: {kind} with ")
    assert new["message"].count("\n") == 0
    assert new["level"] == "note"
    assert "base_model" not in (run.model / "README.md").read_text()
    texts = [row["text"] for row in rows(12, seed=5, longest=9)]
    ours = Predictor.load(run.model).predict(texts)
    pipe = transformers.pipeline("text-classification", model=str(run.model), top_k=None)
    assert ("token_type_ids" in pipe.tokenizer("a")) == (kind == "bert")
    for prediction, theirs in zip(ours, pipe(texts, batch_size=5), strict=True):
        assert prediction.scores == pytest.approx({a["label"]: a["score"] for a in theirs}, abs=1e-5)
    assert len({round(p.scores["money"], 6) for p in ours}) > 6


def test_the_same_run_again_and_resumed(tmp_path, merges):
    """From the recipe given, from the resolved one, and stopped in between: the same bytes; another seed: others."""

    def weights(source, name, **how):
        loaded, run = small.begin(source, tmp_path / name)
        train(loaded, run, **how)
        return run, (run.model / "model.safetensors").read_bytes()

    source = recipe(tmp_path, merges, method={"name": "layers", "count": 1}, train={"epochs": 1, "max_steps": 6})
    run, expected = weights(source, "whole")
    resolved = Recipe.load(run.path / "recipe.yaml")
    assert (resolved.model.name, resolved.model.architecture, resolved.model.config) == (
        None,
        "gpt2",
        {"n_positions": 48},
    )
    assert weights(resolved, "again")[1] == expected
    other = {**source, "train": {**source["train"], "seed": 43}}
    assert weights(other, "other")[1] != expected

    class Stop(Exception):
        pass

    def stop(kind, **event):
        if kind == "step" and event["step"] == 3:
            raise Stop

    loaded, run = small.begin(source, tmp_path / "stopped")
    with pytest.raises(Stop):
        train(loaded, run, listen=stop)
    train(Recipe.load(run.path / "recipe.yaml"), run, resume=True)
    assert (run.model / "model.safetensors").read_bytes() == expected


def test_an_architecture_with_attention_of_its_own(tmp_path, merges):
    """GPT-Neo takes no attention function by name; its probabilities are then not dropped, and a finding says so."""
    config = {"attention_types": [[["global", "local"], 1]], "window_size": 16, "max_position_embeddings": 48}
    source = recipe(tmp_path, merges, architecture="gpt_neo", layers=2, config=config)
    loaded, run = small.begin(source, tmp_path / "run")
    train(loaded, run)
    assert "attention-dropout-off" in {f["slug"] for f in run.read_json("setup.json")["findings"]}
    pair = [Predictor.load(run.model).predict(texts)[0].scores for texts in (["late"], ["late", "where is my parcel"])]
    assert pair[0] == pytest.approx(pair[1], abs=1e-5)


def test_frozen_at_random_is_warned_of(tmp_path, merges):
    source = recipe(tmp_path, merges, method={"name": "lora", "rank": 2}, train={"epochs": 1, "max_steps": 2})
    loaded, run = small.begin(source, tmp_path / "run")
    train(loaded, run)
    (new,) = [f for f in run.read_json("setup.json")["findings"] if f["slug"] == "tensors-new"]
    assert new["level"] == "warning"
    assert "Method lora keeps 9" in new["message"]
    assert json.loads((run.model / "adapter" / "base.json").read_text())["name"] == "gpt2 from scratch"


@pytest.mark.parametrize("name", ["features", "zero_shot", "few_shot"])
def test_baselines_of_the_base_model_have_nothing_to_ask(name):
    import numpy as np

    from septet import registry
    from septet.baselines import Options as Told

    options = Told(2, ("a", "b"), model=None)
    with pytest.raises(SeptetError, match="knows nothing before training"):
        registry.part("baseline", name)(options).fit(["a", "b"], np.array([0, 1])).scores(["a"])
