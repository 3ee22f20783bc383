import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from septet.baselines import Options
from septet.baselines._prompted import examples
from septet.baselines.few_shot import FewShot
from septet.baselines.zero_shot import ZeroShot
from septet.evaluate import evaluate
from septet.model.likelihood import Likelihood, is_causal
from septet.train import train
from small import begin, recipe
from tiny import model_folder

LABELS = ("good", "bad_thing")
PROMPTS = ["my parcel is late", "refund please where is the money the money", "lamp"]
NAMES = [" parcel", " broken battery", " price price price"]


class Encoder:
    """Counts words: a text is near a label whose name it holds."""

    def encode(self, texts, listen=None):
        return np.array([[text.count("good"), text.count("bad"), 0.1] for text in texts])


def causal_folder(path, kind="llama", positions=64):
    """Write a tiny causal language model with the tokenizer of the other tests."""
    model_folder(path, "llama")
    tokenizer = AutoTokenizer.from_pretrained(path)
    torch.manual_seed(0)
    shape = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=positions, **shape))
    else:
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
            **shape,
        )
        model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    return path


def test_examples_are_dealt_over_the_labels_in_turn():
    targets = np.array([0] * 90 + [1] * 9 + [2])
    for count in (0, 1, 3, 6, 9):
        chosen = examples(targets, 3, count, seed=1)
        assert len(set(chosen)) == len(chosen) == count
        shown = np.bincount(targets[chosen], minlength=3)
        assert shown[:2].max(initial=0) - shown[:2].min(initial=0) <= 1 or count > 3
    assert examples(targets, 3, 6, seed=1) == examples(targets, 3, 6, seed=1) != examples(targets, 3, 6, seed=2)
    assert sorted(examples(targets, 3, 1000, seed=1)) == list(range(100)), "no row twice, and no more than there are"


def test_an_encoder_answers_with_the_nearest_name():
    baseline = ZeroShot(Options(2, LABELS), Encoder()).fit(["x"], np.array([0]))
    scores = baseline.scores(["a good one", "bad bad"])
    assert scores.argmax(1).tolist() == [0, 1] and scores.sum(1) == pytest.approx(np.ones(2))
    assert baseline.facts == {"shots": 0, "texts": [], "by": "nearness"}


def test_examples_move_an_encoders_answer():
    texts, targets = ["bad"] * 8 + ["good"] * 8, np.array([0] * 8 + [1] * 8)  # the names say the opposite
    zero = ZeroShot(Options(2, LABELS), Encoder()).fit(texts, targets).scores(["good"])
    few = FewShot(Options(2, LABELS, shots=16), Encoder()).fit(texts, targets)
    assert zero.argmax() == 0 and few.scores(["good"]).argmax() == 1
    assert few.facts["shots"] == 16


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_likelihoods_are_those_of_one_sequence_at_a_time(tmp_path, kind):
    folder = causal_folder(tmp_path, kind)
    assert is_causal(folder)
    judge = Likelihood(folder)
    found = judge.score(PROMPTS, NAMES)
    assert found.cut == 0
    for n, prompt in enumerate(PROMPTS):
        for k, name in enumerate(NAMES):
            start = judge.processor(prompt)["input_ids"]
            end = judge.processor(name, add_special_tokens=False)["input_ids"]
            logits = judge.model(input_ids=torch.tensor([start + end])).logits[0].log_softmax(-1)
            expected = np.mean([float(logits[len(start) + i - 1, token].detach()) for i, token in enumerate(end)])
            assert found.mean[n, k] == pytest.approx(expected, abs=1e-5)


def test_a_prompt_that_is_too_long_keeps_its_end_and_is_counted(tmp_path):
    judge = Likelihood(causal_folder(tmp_path, positions=20))
    long = " ".join(["lamp"] * 50) + " where is my parcel"
    found = judge.score([long, "short"], NAMES)
    assert found.cut == 1 and np.isfinite(found.mean).all()
    room = 20 - 3
    kept = judge.processor.decode(judge.processor(long)["input_ids"][-room:-1])
    assert found.mean[0] == pytest.approx(_without_special(judge, kept), abs=1e-5)


def _without_special(judge, prompt):
    judge = Likelihood(judge.model.name_or_path)
    judge._ids = lambda texts, special: judge.processor(texts, add_special_tokens=False)["input_ids"]  # type: ignore[method-assign]
    return judge.score([prompt + " [SEP]"], NAMES).mean[0]


def test_an_encoder_checkpoint_is_not_causal(tmp_path):
    assert not is_causal(model_folder(tmp_path, "bert"))


def test_the_prompt_holds_training_rows_and_the_text_in_its_place(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Likelihood,
        "score",
        lambda self, prompts, names, listen: (seen.append((prompts, names)), _flat(prompts, names))[1],
    )
    options = Options(2, LABELS, str(causal_folder(tmp_path)), shots=2, prompt="Q: {text}\nA: {label}.")
    baseline = FewShot(options).fit(["fine", "poor"], np.array([0, 1]))
    baseline.scores(["what is it"])
    ((prompts, names),) = seen
    shown = {"Q: fine\nA: good.\n\n", "Q: poor\nA: bad thing.\n\n"}
    assert prompts[0].endswith("Q: what is it\nA:") and names == [" good", " bad thing"]
    assert all(part in prompts[0] for part in shown) and len(prompts[0]) == sum(map(len, shown)) + len(
        "Q: what is it\nA:"
    )
    assert baseline.facts["by"] == "likelihood" and set(baseline.facts["texts"]) == {"fine", "poor"}


def _flat(prompts, names):
    from septet.model.likelihood import Likelihoods

    return Likelihoods(np.zeros((len(prompts), len(names))), 0)


@pytest.mark.parametrize("causal", [True, False])
def test_through_a_run(tmp_path, causal):
    source = recipe(tmp_path, epochs=1)
    if causal:
        causal_folder(tmp_path / "base")
    source["evaluate"] = {"baselines": ["zero_shot", "few_shot"], "shots": 3, "bootstrap": 100}
    loaded, run = begin(source, tmp_path / "run")
    train(loaded, run)
    scores = evaluate(run).scores
    assert {line["who"] for line in scores} == {"tuned", "zero_shot", "few_shot"}
    kept = json.loads((run.path / "baselines.json").read_text())["baselines"]
    assert kept["few_shot"]["facts"]["shots"] == 3
    assert kept["zero_shot"]["facts"]["by"] == ("likelihood" if causal else "nearness")
    trained = {json.loads(line)["text"] for line in (tmp_path / "train.jsonl").read_text().splitlines()}
    assert set(kept["few_shot"]["facts"]["texts"]) <= {text[:120] for text in trained}


@pytest.mark.parametrize("prompt", ["{text}", "Label: {label} Text: {text}", "no places"])
def test_a_prompt_without_its_places_is_refused(tmp_path, prompt):
    from septet.errors import RecipeError
    from septet.recipe import Recipe

    with pytest.raises(RecipeError, match=r"must hold \{text\} and, after it, \{label\}"):
        Recipe.load({**recipe(tmp_path), "evaluate": {"prompt": prompt}})
