"""Augmented rows from the recipe to the report: what is counted, what a resume repeats, what is shown, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import small
from septet.data.store import Prepared
from septet.errors import RunError, UsageError
from septet.evaluate import evaluate
from septet.journey import prepare, train
from septet.recipe import Recipe
from septet.run import Run
from septet.setup import set_up
from translators import translator

AUGMENT = {"augmenters": ["typos", "drop", "swap"], "copies": 3, "check": False}


def recipe(folder: Path, *, method: Any = "full", **options: Any) -> dict[str, Any]:
    """Return a recipe for a tiny classifier on 40 rows with variants."""
    source = small.recipe(folder, count=40, method=method, epochs=2)
    source["data"] |= {"split": {"test": 0.2}, "augment": {**AUGMENT, **options}}
    return source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("augmenting")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Run:
    return train(recipe(folder), run=folder / "whole").run


def test_an_epoch_is_as_long_as_without_variants(folder: Path, whole: Run) -> None:
    rows = Prepared.of(whole).splits["train"]["rows"]
    assert whole.read_json("costs.json")["rows"] == 2 * rows
    setup = set_up(Recipe.load(whole.path / "recipe.yaml"), Prepared.of(whole))
    shown = [setup.planner.order(epoch) for epoch in range(6)]
    variants = sum(int((each >= rows).sum()) for each in shown)
    assert 0.3 < variants / (6 * rows) < 0.7 and len(setup.train) > 3 * rows
    assert whole.read_json("setup.json")["truncation"]["train"] == [0, 0]


def test_a_resumed_run_ends_in_the_same_bytes_and_keeps_its_variants(folder: Path, whole: Run) -> None:
    def interrupt(event: str, **facts: Any) -> None:
        if event == "step" and facts["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(folder), run=folder / "broken", listen=interrupt)
    with pytest.raises(RunError, match=r"data.augment.seed: 42 then, 3 now"):
        train(recipe(folder, seed=3), run=folder / "broken", resume=True)
    begun = Run(folder / "broken").read_json("begun.json")
    other = {**begun, "rows": {**begun["rows"], "variants of train": "0" * 64}}
    Run(folder / "broken").write_json("begun.json", other)
    with pytest.raises(RunError, match="prepared rows of variants of train: sha256 0000"):
        train(recipe(folder), run=folder / "broken", resume=True)
    Run(folder / "broken").write_json("begun.json", begun)
    broken = train(recipe(folder), run=folder / "broken", resume=True).run
    assert small.steps(broken.path) == small.steps(whole.path)
    assert (broken.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_the_states_of_a_frozen_part_are_kept_for_variants_too(folder: Path) -> None:
    runs = [
        train(recipe(folder, method="head"), [f"train.cache_frozen={kept}"], run=folder / f"head-{kept}").run
        for kept in ("true", "false")
    ]
    first, second = (small.steps(run.path) for run in runs)
    assert [step["loss"] for step in first] == pytest.approx([step["loss"] for step in second], rel=1e-4)


def test_rows_are_shown_beside_their_variants(folder: Path) -> None:
    found = prepare(recipe(folder), run=folder / "shown", show=2)
    (first, *_) = found.to_json()["shown"]
    assert {each["by"] for each in first["variants"]} <= set(AUGMENT["augmenters"]) and first["variants"]
    text = found.text()
    assert all(f"  {each['by']}: {each['text']}" in text for each in first["variants"])
    assert "variants of these rows: " in found.prepared.ledger.from_json(found.to_json()["ledger"]).text()


def test_the_report_says_what_was_made(folder: Path, whole: Run) -> None:
    evaluate(whole)
    page = (whole.path / "report.html").read_text()
    assert "Variants of training rows" in page and "typos" in page


def test_back_translation_by_two_folders_of_models(folder: Path) -> None:
    words = ["hello", "parcel", "late", "money", "lamp", "please", "order"]
    for name, seed in (("there", 1), ("back", 2)):
        translator(folder / name, words, seed=seed)
    source = recipe(folder, augmenters=["back_translation"], translators=["there", "back"])
    source["data"]["folder"] = str(folder)
    facts = prepare(source, run=folder / "translated").to_json()["augmented"]
    rows = facts["rows"]
    assert set(facts["made"]) <= {"back_translation"}
    assert sum(facts["made"].values()) + sum(facts["left_out"].values()) == rows  # one variant a row


def test_what_cannot_be_augmented_is_refused(folder: Path) -> None:
    source = recipe(folder, augmenters=["synonyms"])
    source["model"] = {"architecture": "bert", "layers": 1, "hidden": 32, "heads": 2, "tokenizer": str(folder / "base")}
    with pytest.raises(UsageError, match="built from nothing"):
        prepare(source, run=folder / "scratch")
