"""A model that is divided over processes learns what one process teaches it: gradients, updates, loss curves, and every row once an epoch.

Tolerances are those of several processes with whole models (`test_ranks.py`).
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kinds
import small
from septet.engine.shard import held_bytes
from septet.model.load import load_model
from septet.tasks import Head
from tiny import distance, model_folder


@pytest.fixture(scope="module")
def course(crew, tmp_path_factory):
    """Return what a number of processes came to; each is computed once."""
    folder = tmp_path_factory.mktemp("course")
    model = model_folder(folder / "bert", dropout=0.1)
    known = {}

    def found(world, precision="fp32"):
        if (world, precision) not in known:
            out = folder / f"{world}-{precision}"
            given = {"folder": str(model), "out": str(out), "until": 12, "kept": {"precision": precision}}
            assert crew.run(world, "rank_jobs:course", **given, divided=world > 1, compact=False) == [0] * world
            known[world, precision] = json.loads(Path(f"{out}.json").read_text()), load_file(f"{out}.safetensors")
        return known[world, precision]

    return found


# 3 labels and a pooler's 32 rows on 5 ranks: some hold fewer rows, or none
@pytest.mark.parametrize("world", [2, 5])
def test_fp32(course, world):
    facts, tensors = course(world)
    expected, one = course(1)
    assert 0 < distance(tensors, one, "gradient.") <= 1e-6
    assert distance(tensors, one, "update.") <= 2e-4
    assert distance(tensors, one, "last.") <= 2e-4
    assert len(facts["losses"]) == 12
    assert np.abs(np.subtract(facts["losses"], expected["losses"])).max() <= 1e-5
    assert facts["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    assert (facts["rows"], facts["tokens"]) == (expected["rows"], expected["tokens"])


def test_bf16(course):
    facts, tensors = course(2, "bf16")
    expected, one = course(1, "bf16")
    assert 0 < distance(tensors, one, "gradient.") <= 2e-2
    assert np.abs(np.subtract(facts["losses"], expected["losses"])).max() <= 2e-2


@pytest.mark.parametrize("world", [2, 5])
def test_every_row_once_an_epoch(course, world):
    """The ledger of row ids over the ranks; what fills a pass is counted nowhere."""
    facts, _ = course(world)
    for epoch in range(2):
        groups = range(epoch * facts["groups"], (epoch + 1) * facts["groups"])
        seen = Counter(row for rank in facts["seen"] for i in groups for row in rank[i])
        assert seen == dict.fromkeys(facts["all"], 1)
    assert all(passes == facts["passes"][0] for passes in facts["passes"])
    assert any(len(rank[i]) < facts["passes"][0][i] for rank in facts["seen"] for i in range(facts["groups"])) == (
        world == 5
    )


def test_each_rank_holds_its_share(course):
    (facts, _), (expected, _) = course(2), course(1)
    assert max(facts["held"]) <= 0.51 * expected["held"][0]


def test_what_check_says_that_each_rank_holds(course, tmp_path):
    """Masters, gradients and AdamW's moments of all numbers, to what the ranks' last rows and counts of updates add."""
    facts, _ = course(2)
    model = load_model(
        model_folder(tmp_path / "bert"), Head("AutoModelForSequenceClassification", {"num_labels": 3}), seed=3
    ).model
    share, gathered = held_bytes(model, torch.float32, 8.0, world=2)
    assert share == 8 * sum(p.numel() for p in model.parameters())
    assert share * 3 / 4 == pytest.approx(4 * np.mean(facts["held"]), rel=0.01), "3 of 4 numbers: no gradients"
    assert gathered == 12 * sum(p.numel() for n, p in model.named_parameters() if ".layer.0." in n)


def test_a_divided_run_of_two_is_a_run_of_one(crew, tmp_path):
    """The whole verb: curve, validation in more batches on one rank than on the other, and the model, which is whole."""
    source = small.recipe(tmp_path, count=43)
    divided = {**source, "train": {**source["train"], "shard": True}}
    assert crew.run(1, "rank_jobs:verb", source=source, run=str(tmp_path / "one")) == [0]
    given = {"source": divided, "run": str(tmp_path / "two"), "tokens": 16}
    assert crew.run(2, "rank_jobs:verb", **given) == [0, 0], (tmp_path / "two.0.txt").read_text()
    one, two = (small.steps(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 15
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["rows"], a["tokens"], a["lr"]) == (b["step"], b["rows"], b["tokens"], b["lr"])
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    assert any(a["loss"] != b["loss"] for a, b in zip(one, two, strict=True)), "nothing was divided"
    scores = [small.Run(tmp_path / name).records("evaluations.jsonl") for name in ("one", "two")]
    for a, b in zip(*scores, strict=True):
        assert a.keys() == b.keys() and all(b[k] == pytest.approx(a[k], abs=1e-5) for k in a if k != "split")
    models = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    assert models[0].keys() == models[1].keys()
    for name in models[0]:
        if not name.endswith("key.bias"):
            torch.testing.assert_close(models[1][name], models[0][name], atol=2e-5, rtol=2e-4)
    assert not list((tmp_path / "two").glob("**/*.tmp"))


def test_what_cannot_be_exact_is_refused(crew, tmp_path):
    source = small.recipe(tmp_path, count=43, shard=True)
    refused = {
        "muon": ({**source, "optimizer": "muon"}, "optimizer muon looks at whole tensors"),
        "compiled": ({**source, "train": {**source["train"], "compile": True}}, "compiled blocks hold whole weights"),
    }
    for name, (given, told) in refused.items():
        assert crew.run(2, "rank_jobs:verb", source=given, run=str(tmp_path / name)) == [3, 3]
        # the first of them tells it
        text = "".join((tmp_path / f"{name}.{rank}.txt").read_text() for rank in (0, 1))
        assert "[not-divisible]" in text and told in text


def test_one_process_divides_nothing(crew, tmp_path):
    source = {**small.recipe(tmp_path, count=43, epochs=1, shard=True), "optimizer": "muon"}
    assert crew.run(1, "rank_jobs:verb", source=source, run=str(tmp_path / "one")) == [0]
    assert not list((tmp_path / "one").glob("checkpoints/*/index.json"))


CASES = {
    **kinds.TEXTS,
    "causal, full": lambda f: kinds.texts(f, "llama"),
    "causal, gpt2": lambda f: kinds.texts(f, "gpt2"),
    "encoder-decoder, lora": lambda f: {**kinds.texts(f, "t5"), "method": "lora"},
    "head": lambda f: small.recipe(f, count=43, method="head"),
    "layers": lambda f: small.recipe(f, count=43, method={"name": "layers", "count": 1}),
    "sgd": lambda f: {**small.recipe(f, count=43), "optimizer": "sgd"},
    "bf16": lambda f: small.recipe(f, count=43, precision="bf16"),
    "layers computed again": lambda f: small.recipe(f, count=43, activation_checkpointing=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_task_and_method(crew, tmp_path, case):
    source = CASES[case](tmp_path)
    divided = {**source, "train": {**source["train"], "shard": True}}
    for world, given in ((1, source), (2, divided)):
        assert crew.run(world, "rank_jobs:verb", source=given, run=str(tmp_path / str(world))) == [0] * world, (
            tmp_path / f"{world}.0.txt"
        ).read_text()
    one, two = (small.steps(tmp_path / name) for name in ("1", "2"))
    assert len(one) == len(two) >= 4
    bound = 2e-2 if "bf16" in case else 1e-5
    for a, b in zip(one, two, strict=True):
        assert (a["step"], a["rows"], a["tokens"]) == (b["step"], b["rows"], b["tokens"])
        assert b["loss"] == pytest.approx(a["loss"], abs=bound)
    assert any(a["loss"] != b["loss"] for a, b in zip(one, two, strict=True)), "nothing was divided"
