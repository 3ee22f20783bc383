"""What the data tests share: recipes as dicts, and a prepare that needs no run folder of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from septet import registry
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.recipe.schema import chosen_block
from septet.run import Run

TASK = {"name": "classify", "text": "text", "label": "label"}


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """`recipe({"train": path}, text="body")` → a recipe for classification."""

    def make(data: dict[str, Any], **task: Any) -> Recipe:
        return Recipe.load({"data": data, "task": TASK | task, "model": "starter"})

    return make


@pytest.fixture
def prepared(tmp_path: Path, recipe: Callable[..., Recipe]) -> Callable[..., Any]:
    """`prepared({"train": [dicts], …}, options…)` → the prepared data of tables in memory."""

    def make(tables: dict[str, Any], data: dict[str, Any] | None = None, **task: Any) -> Any:
        names = {split: "<memory>" for split in tables if not split.startswith("test.")}
        return prepare(recipe(names | (data or {}), **task), Run(tmp_path / "runs" / "one"), tables=tables)

    return make


@pytest.fixture
def rows() -> Callable[..., list[dict[str, str]]]:
    """`rows(10, "abc")` → rows with distinct texts, and the labels in turn."""

    def make(n: int, labels: str = "ab", prefix: str = "row") -> list[dict[str, str]]:
        return [{"text": f"{prefix} number {i}", "label": labels[i % len(labels)]} for i in range(n)]

    return make


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The names of the files opened so far, whoever opens them."""
    names: list[str] = []
    active = [True]

    def hook(event: str, args: Any) -> None:
        if active[0] and event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            names.append(os.fsdecode(args[0]))

    sys.addaudithook(hook)
    yield names
    active[0] = False


@pytest.fixture
def recite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The task of `recite.py`, which generates text, registered as `--code` registers it."""
    yield from _registered("recite", monkeypatch)


@pytest.fixture
def scribe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The task of `scribe.py`, whose rows are documents, registered as `--code` registers it."""
    yield from _registered("scribe", monkeypatch)


def _registered(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_codes", {})
    chosen_block.cache_clear()
    registry.load_code(Path(__file__).parent / f"{name}.py")
    yield
    chosen_block.cache_clear()
    sys.modules.pop(f"septet_code_{name}", None)
