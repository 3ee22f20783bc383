"""The verbs that begin with a recipe: `prepare`, `check`, `train`, `run`."""

from __future__ import annotations

import os
from typing import Any

import click

from septet.cli import recipe_options, resumable_options, septet
from septet.display import Screen
from septet.interrupt import watched


def _start(screen: Screen, name: str, recipe: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Call a verb of the journey that begins with a recipe, and print what it came to."""
    from septet import journey

    screen.run = options["run"]
    with watched(_heard), screen.progress() as listen:
        result = getattr(journey, name)(recipe, overrides, listen=listen, **options)
    screen.result(result)


def _heard(name: str) -> None:
    """Say that a signal was heard; called from within its handler, hence past all buffers."""
    os.write(2, f"\n{name}: this update is finished and committed first; once more ends at once\n".encode())


@septet.command()
@recipe_options
@click.option("--show", type=click.IntRange(1), metavar="N", help="Print N rows of train as training sees them.")
@click.option("--dry-run", is_flag=True, help="Show what each step would change and drop; write nothing.")
@click.option("--review", metavar="FILE", help="Write a sheet (CSV) of rows whose label someone should look at.")
@click.pass_obj
def prepare(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """Read, clean, de-duplicate and split the data; account for every row."""
    _start(screen, "prepare", recipe, overrides, run=folder, **options)


@septet.command()
@recipe_options
@click.pass_obj
def check(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, code: tuple[str, ...]) -> None:
    """Load the model, look at the machine, estimate memory and time."""
    _start(screen, "check", recipe, overrides, run=folder, code=code)


@septet.command()
@recipe_options
@resumable_options
@click.pass_obj
def train(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """Tune the model; leave an artifact in the run folder."""
    _start(screen, "train", recipe, overrides, run=folder, **options)


@septet.command()
@recipe_options
@resumable_options
@click.pass_obj
def run(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """All seven stages in order, from one recipe."""
    _start(screen, "run_all", recipe, overrides, run=folder, **options)
