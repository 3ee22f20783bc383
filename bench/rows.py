"""Which rows: a recipe by name, made smaller on the command line, prepared once for all sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from bench.jobs import RECIPES, Job, Learning, Tuning
from bench.launch import launch
from septet.recipe import Recipe

# a number of rows; all of them; or what the recipe draws
Wanted = int | Literal["all"] | None


def overrides(recipe: Path, *, train: Wanted, validation: Wanted, test: Wanted) -> tuple[str, ...]:
    """Return the overrides that draw so many rows of the splits that the recipe gives; None leaves the recipe's own draw."""
    data = Recipe.load(recipe).data
    given = {"train": True, "validation": data.validation is not None, "test": data.test is not None}
    wanted = {"train": train, "validation": validation, "test": test}
    found = []
    for split, count in wanted.items():
        if not given[split] or count is None or (count == "all" and data.sample is None):
            continue
        found.append(f"data.sample.{split}={'auto' if count == 'all' else count}")
    return tuple(found)


def recipe_file(name: str, folder: Path = RECIPES) -> Path:
    """Return the recipe of a data set's name in a folder, or the path itself.

    Raises:
        FileNotFoundError: there is no such recipe.
    """
    for path in (folder / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"no recipe {name}: neither {folder / f'{name}.yaml'} nor a file")


def learning_of(recipe: Path, **changed: Any) -> Learning:
    """Return the learning settings of a recipe's sections train and optimizer, some of them changed."""
    loaded = Recipe.load(recipe)
    adam = ("betas", "eps")  # of the optimizer, which is AdamW on both sides
    values = {name: getattr(loaded.optimizer if name in adam else loaded.train, name) for name in Learning.__slots__}
    return Learning(**{**values, **changed})


def length_of(recipe: Path) -> int:
    """Return the tokens a row is cut at on both sides.

    Raises:
        ValueError: the recipe leaves it open; then the sides might cut differently.
    """
    length = Recipe.load(recipe).model.max_length
    if length is None:
        raise ValueError(f"{recipe} must set model.max_length, so that both sides cut the same rows")
    return length


def ready(recipe: Path, drawn: tuple[str, ...], work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare the rows and look at the machine; return what `facts.prepare` and `facts.facts` found.

    All Septet runs are put into `work`, beside the prepared rows, so that none prepares them again.
    """
    prepared = launch(Job("prepare", "prepare", str(work / "prepare"), str(recipe), drawn))
    tuning = Tuning(length=length_of(recipe))
    facts = launch(Job("facts", "facts", str(work / "facts"), str(recipe), drawn, prepared["prepared"], tuning=tuning))
    (work / "rows.json").write_text(json.dumps(prepared, indent=1))
    return prepared, facts
