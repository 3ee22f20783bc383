"""Balanced labels from the recipe to the report: what an epoch shows, what a resume repeats, what stands beside the plain run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import small
from septet.data.store import Prepared
from septet.evaluate import evaluate
from septet.journey import train
from septet.run import Run
from septet.setup import set_up
from tiny import rows

KEPT = {"money": 24, "post": 6, "shop": 3}


def recipe(folder: Path, *, task: dict[str, Any] | None = None, **balance: Any) -> dict[str, Any]:
    """Return a recipe for a tiny classifier on 24, 6 and 3 rows of three labels."""
    source = small.recipe(folder, epochs=2)
    drawn = rows(300, 3, longest=8)
    kept = [row for label, count in KEPT.items() for row in [r for r in drawn if r["label"] == label][:count]]
    lines = [json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in kept]
    (folder / "uneven.jsonl").write_text("".join(lines))
    source["data"] |= {"train": str(folder / "uneven.jsonl"), "split": {"test": 0.3}}
    source["data"] |= {"balance": balance} if balance else {}
    source["task"] |= task or {}
    return source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("balancing")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Run:
    run = train(recipe(folder), run=folder / "plain").run
    evaluate(run)
    return run


@pytest.fixture(scope="module")
def over(folder: Path, plain: Run) -> Run:
    return train(recipe(folder, sampling="over"), run=folder / "over").run


def setup_of(run: Run) -> Any:
    from septet.recipe import Recipe

    return set_up(Recipe.load(run.path / "recipe.yaml"), Prepared.of(run))


def test_every_label_is_shown_equally_often(over: Run) -> None:
    setup, labels = setup_of(over), over.read_json("data.json")["ledger"]["train"]["labels"]
    most = max(each["kept"] for each in labels.values())
    assert {each["shown"] for each in labels.values()} == {most} and len(labels) == 3
    for epoch in range(2):
        shown = Counter(setup.train[place].target for place in setup.planner.order(epoch) % len(setup.train))
        assert set(shown.values()) == {most}
    assert over.read_json("costs.json")["rows"] == 2 * 3 * most
    (note,) = [f for f in over.read_json("setup.json")["findings"] if f["slug"] == "labels-balanced"]
    assert note["evidence"]["labels"] == labels


def test_under_sampling_shows_every_row_in_the_end(folder: Path) -> None:
    run = train(recipe(folder, sampling="under") | {"method": "head"}, ["train.max_steps=1"], run=folder / "under").run
    setup = setup_of(run)
    least = min(run.read_json("data.json")["ledger"]["train"]["labels"].values(), key=lambda each: each["kept"])
    orders = [setup.planner.order(epoch) for epoch in range(40)]
    assert all(len(order) == 3 * least["kept"] for order in orders)
    assert set().union(*(order.tolist() for order in orders)) == set(range(len(setup.train)))


def test_a_resumed_run_ends_in_the_same_bytes(folder: Path, over: Run) -> None:
    def interrupt(event: str, **facts: Any) -> None:
        if event == "step" and facts["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(folder, sampling="over"), run=folder / "broken", listen=interrupt)
    broken = train(recipe(folder, sampling="over"), run=folder / "broken", resume=True).run
    assert small.steps(broken.path) == small.steps(over.path)
    assert (broken.model / "model.safetensors").read_bytes() == (over.model / "model.safetensors").read_bytes()


def test_two_remedies_at_once_are_told(folder: Path) -> None:
    source = recipe(folder, task={"class_weights": "balanced", "loss": "focal"}, sampling="over")
    run = train(source, ["train.max_steps=1"], run=folder / "twice").run
    slugs = {f["slug"] for f in run.read_json("setup.json")["findings"]}
    assert {"balanced-twice", "focal-probabilities", "labels-balanced"} <= slugs


def test_the_report_shows_each_label_beside_the_plain_run(plain: Run, over: Run) -> None:
    found = evaluate(over).record["plain"]
    assert found["run"] == "../plain" and found["changed"] == ["data.balance"]
    metrics = {line["metric"] for line in found["scores"]}
    assert {"f1", "accuracy", "recall[money]", "f1[shop]"} <= metrics
    theirs = {(line["split"], line["metric"]): line for line in plain.records("scores.jsonl") if line["who"] == "tuned"}
    assert all(theirs[line["split"], line["metric"]] == line for line in found["scores"])
    page = (over.path / "report.html").read_text()
    assert "Beside the plain run" in page and "data.balance" in page
    assert "plain" not in plain.read_json("evaluation.json")
    assert "Beside the plain run" not in (plain.path / "report.html").read_text()
