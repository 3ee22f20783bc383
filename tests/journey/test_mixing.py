"""Several corpora with weights, from the recipe to the report: what is counted, what a resume repeats, what is drawn again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain import documents, with_sentinels

import languages
import small
from septet.data.store import Prepared
from septet.engine.loop import Examples
from septet.engine.mixture import Mixture
from septet.engine.plan import Planner
from septet.errors import RunError
from septet.evaluate import evaluate
from septet.journey import check, train
from septet.run import Run
from septet.setup import set_up
from tiny import rows

FILES = ["plain.jsonl", "dear.jsonl"]


def recipe(folder: Path, weights: dict[str, float] | None = None, **options: Any) -> dict[str, Any]:
    """Return a recipe for a tiny classifier on 24 rows of one file and 10 of another."""
    source = small.recipe(folder, epochs=2)
    lines = [json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows(34, 3, longest=8)]
    (folder / "plain.jsonl").write_text("".join(lines[:24]))
    (folder / "dear.jsonl").write_text("".join(lines[24:]))
    data = {"folder": str(folder), "train": FILES, "split": {"test": 0}, "validation": "validation.jsonl"}
    source["data"] = data | ({"weights": weights} if weights else {})
    source["train"] |= options
    return source


WEIGHTS = {"plain.jsonl": 0.5, "dear.jsonl": 2.5}
SHOWN = 12 + 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mixing")


@pytest.fixture(scope="module")
def mixed(folder):
    told: list[Any] = []
    run = train(
        recipe(folder, WEIGHTS), run=folder / "mixed", listen=lambda event, **facts: told.append((event, facts))
    ).run
    return run, told


def test_everything_counts_what_is_shown(folder, mixed):
    run, told = mixed
    steps = small.steps(run.path)
    assert [step["rows"] for step in steps] == [8, 8, 8, 8, 5] * 2
    assert run.read_json("costs.json")["rows"] == 2 * SHOWN
    assert [facts["total"] for event, facts in told if event == "step"] == [10] * 10
    assert told[-1][0] != "step" or told[-1][1]["left_s"] == 0
    assert run.records("evaluations.jsonl")[-1]["epoch"] == 2
    assert run.records("events.jsonl")[0]["total"] == 10
    lines = run.read_json("data.json")["ledger"]["train"]["sources"]
    assert lines == {
        "plain.jsonl": {"read": 24, "kept": 24, "weight": 0.5},
        "dear.jsonl": {"read": 10, "kept": 10, "weight": 2.5},
    }
    (note,) = [f for f in run.read_json("setup.json")["findings"] if f["slug"] == "sources-weighed"]
    assert "shows 37 examples, drawn from 34: plain.jsonl 12 of 24 (weight 0.5" in note["message"]
    assert sum(each["tokens"] for each in note["evidence"]["sources"].values()) == pytest.approx(1)


def test_check_estimates_what_is_shown(folder):
    found = check(recipe(folder, WEIGHTS), run=folder / "checked")
    assert found.estimate["steps"] == 10
    rows_per_token = found.estimate["rows_per_s"] / found.estimate["tokens_per_s"]
    setup = set_up(found.recipe, Prepared.of(found.run))
    shown = [setup.planner.order(epoch) % 34 for epoch in range(2)]
    tokens = sum(setup.train[place].size for epoch in shown for place in epoch)
    assert rows_per_token == pytest.approx(2 * SHOWN / tokens, rel=0.02)
    assert "sources-weighed" in {finding.slug for finding in found.findings}


def test_the_report_names_the_sources(mixed):
    run, _ = mixed
    evaluate(run)
    page = (run.path / "report.html").read_text()
    assert "source of train" in page and "dear.jsonl" in page and "<td>2.5" in page.replace(' class="n"', "")


def test_a_resumed_run_ends_in_the_same_bytes_and_keeps_its_weights(folder, mixed):
    whole, _ = mixed

    def interrupt(event: str, **facts: Any) -> None:
        if event == "step" and facts["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(folder, WEIGHTS), run=folder / "broken", listen=interrupt)
    with pytest.raises(RunError, match="data.weights.dear.jsonl: 2.5 then, 3.0 now"):
        train(recipe(folder, {**WEIGHTS, "dear.jsonl": 3}), run=folder / "broken", resume=True)
    broken = train(recipe(folder, WEIGHTS), run=folder / "broken", resume=True).run
    assert small.steps(broken.path) == small.steps(whole.path)
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_weights_of_one_are_the_run_without_weights(folder):
    runs = [
        train(recipe(folder, weights, max_steps=4), run=folder / name).run
        for name, weights in (("plain", None), ("ones", dict.fromkeys(FILES, 1.0)))
    ]
    assert small.steps(runs[0].path) == small.steps(runs[1].path)
    first, second = ((run.model / "model.safetensors").read_bytes() for run in runs)
    assert first == second
    assert Prepared.of(runs[0]).path == Prepared.of(runs[1]).path


def pretraining(folder: Path, architecture: str) -> dict[str, Any]:
    """Return a recipe that pre-trains on two files of documents, one of them four times an epoch, the other every third window."""
    if not (folder / "words").exists():
        with_sentinels(folder / "words")
        for name, num, seed in (("novels.txt", 40, 0), ("guide.txt", 6, 1)):
            (folder / name).write_text("\n".join(documents(num, seed)))
    return {
        "data": {
            "folder": str(folder),
            "train": ["novels.txt", "guide.txt"],
            "documents": "line",
            "weights": {"guide.txt": 4, "novels.txt": 0.34},
            "split": {"validation": 0.2, "test": 0},
        },
        "task": {"name": "pretrain"},
        "model": {
            "architecture": architecture,
            "tokenizer": str(folder / "words"),
            "layers": 1,
            "hidden": 32,
            "heads": 2,
            "max_length": 32,
            "config": {"max_position_embeddings": 32},
        },
        "train": {**small.quiet_recipe(), "epochs": 2, "batch": 8, "lr": 3e-3, "save_every": 3},
    }


@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_windows_are_drawn_and_hidden_anew(folder, architecture):
    """Every window of a document has its weight; what comes again in an epoch hides other tokens; a resume repeats both."""
    source = pretraining(folder, architecture)
    whole = train(source, run=folder / f"whole-{architecture}").run
    (note,) = [f for f in whole.read_json("setup.json")["findings"] if f["slug"] == "sources-weighed"]
    sources = note["evidence"]["sources"]
    prepared = Prepared.of(whole)
    assert sources["guide.txt"]["examples"] > int((prepared.sources() == 1).sum())  # documents of several windows
    assert sources["guide.txt"]["shown"] == 4 * sources["guide.txt"]["examples"]
    assert sources["novels.txt"]["shown"] == int(0.34 * sources["novels.txt"]["examples"] + 0.5)
    shown = sum(each["shown"] for each in sources.values())
    assert whole.read_json("costs.json")["rows"] == 2 * shown
    assert len(small.steps(whole.path)) == 2 * -(-shown // 8)

    def interrupt(event: str, **facts: Any) -> None:
        if event == "step" and facts["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(source, run=folder / f"broken-{architecture}", listen=interrupt)
    broken = train(source, run=folder / f"broken-{architecture}", resume=True).run
    assert small.steps(broken.path) == small.steps(whole.path)
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_what_an_epoch_shows_again_is_hidden_in_another_way():
    from septet.tasks.pretrain import Options, Pretrain

    processor = languages.tokenizer()
    processor.add_special_tokens({"mask_token": "<mask>"})  # pyright: ignore
    task = Pretrain(Options(text="text", objective="masked", mask_rate=0.3), context=64, max_length=64)
    lines = [{"_row": 11 + i, "text": text} for i, text in enumerate(documents(3))]
    examples = [example for each in task.encode(lines, processor) for example in each]
    planner = Planner([e.size for e in examples], 99, 1, 10**6, mixture=Mixture([0] * len(examples), [3.0]))
    source = Examples(examples, planner, task, processor, torch.device("cpu"))
    _, batches = source.group(0)
    first = [
        (meta["row"], row, tuple(hidden.tolist()))
        for batch in batches
        for meta, row, hidden in zip(batch.meta, batch.rows, batch.inputs["input_ids"], strict=True)
    ]
    assert len(first) == 3 * len(examples) == len({row for _, row, _ in first}) == len({hidden for *_, hidden in first})
    assert {row for row, *_ in first} == {example.row for example in examples}
    again = Examples(examples, planner, task, processor, torch.device("cpu")).group(0)[1]
    for ours, theirs in zip(batches, again, strict=True):
        assert np.array_equal(ours.inputs["input_ids"], theirs.inputs["input_ids"])


def test_a_run_of_one_file_may_have_a_weight(folder):
    source = recipe(folder, {"dear.jsonl": 2}, epochs=1)
    source["data"]["train"] = "dear.jsonl"
    run = Run(train(source, run=folder / "one").run.path)
    assert run.read_json("costs.json")["rows"] == 20
