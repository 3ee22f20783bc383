"""How a verb begins: a recipe's name becomes a `Recipe`, a folder's a `Run`; where `torchrun` started several processes, one decides.

`together()` finds the other processes; without `torchrun` it does nothing and imports nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from septet import registry
from septet import resume as resumption
from septet.data.sql import is_database, title
from septet.errors import RunError, UsageError
from septet.launch import launched
from septet.progress import Listen
from septet.recipe import Recipe
from septet.recipe.data import counted
from septet.run import Onlooker, Run

Source = str | Path | Mapping[str, Any] | Recipe


def open_run(recipe: Recipe, folder: str | Path | None, *, resume: bool = False) -> Run:
    """Return the run folder to write: the one named, or a fresh one.

    Raises:
        RunError: the folder holds another recipe's run.
    """
    if folder is None:
        if resume:
            raise RunError("--resume needs the run to resume.", hint="--run DIR")
        folder = Path(recipe.run.folder) / (recipe.run.name or Run.name(recipe.task.name, _data_name(recipe)))
    opened = Run(folder).create()
    if opened.done and not resume:
        raise RunError("This folder holds a finished run.", where=str(opened.path), hint="another folder: --run DIR")
    return opened


def begin(
    source: Source,
    overrides: Sequence[str],
    folder: str | Path | None,
    code: Sequence[str],
    tables: Mapping[str, Any] | None,
    listen: Listen,
    *,
    resume: bool = False,
    force: bool = False,
) -> tuple[Recipe, Run, list[resumption.Difference]]:
    """Return the recipe, its run folder, and what has changed in the recipe since the run was begun, where it is gone on with."""
    for path in code:
        registry.load_code(path)
    recipe = Recipe.load(source, overrides, in_memory=tuple(tables or ()))
    opened = open_run(recipe, folder, resume=resume)
    listen("run", path=opened.path)
    given = opened.path / resumption.GIVEN
    changed = []
    if resume and opened.started and given.exists():
        changed = resumption.recipe_differences(recipe, opened, tuple(tables or ()))
        if changed and force:
            opened.write_text(resumption.GIVEN, recipe.given)
        elif changed and opened.done:
            resumption.refuse(opened, changed)
        elif (opened.path / "recipe.yaml").exists():
            recipe = Recipe.load(opened.path / "recipe.yaml", in_memory=tuple(tables or ()))
    elif not opened.started:
        opened.write_text(resumption.GIVEN, recipe.given)
    return recipe, opened, changed


def begin_training(
    source: Source,
    overrides: Sequence[str],
    folder: str | Path | None,
    code: Sequence[str],
    tables: Mapping[str, Any] | None,
    listen: Listen,
    *,
    resume: bool,
    force: bool,
) -> tuple[Recipe, Run, dict[str, Any]]:
    """Return the recipe, the run, and what `train` is told of a resume; where there are several processes, the leading one decides."""
    launch = launched()
    if folder is None and (launch.world > 1 or launch.restarted):
        settings = Recipe.load(source, overrides, in_memory=tuple(tables or ())).run
        if settings.name is None:
            raise UsageError("Several processes need a run folder that each of them finds.", hint="--run DIR")
        folder = Path(settings.folder) / settings.name
    if launch.world == 1:
        resume = resume or (launch.restarted and Run(folder or "").started)
        recipe, opened, changed = begin(source, overrides, folder, code, tables, listen, resume=resume, force=force)
        return recipe, opened, {"resume": resume, "force": force, "changed": changed}
    from septet.engine.ranks import here

    if launch.follows:
        told = here().decide(dict)
        for path in code:
            registry.load_code(path)
        opened = Onlooker(folder or "")
        given = (opened.path / "recipe.yaml", ()) if told["resolved"] else (source, overrides)
        return Recipe.load(*given, in_memory=tuple(tables or ())), opened, {"resume": told["resume"]}
    # a run whose processes were started again goes on by itself
    resume = resume or (launch.restarted and Run(folder or "").started)
    recipe, opened, changed = begin(source, overrides, folder, code, tables, listen, resume=resume, force=force)
    resolved = resume and not changed and (opened.path / "recipe.yaml").exists()
    here().decide(lambda: {"resume": resume, "resolved": resolved})
    return recipe, opened, {"resume": resume, "force": force, "changed": changed}


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Find the other processes that `torchrun` has started, if there are any, and end as they end."""
    if launched().world == 1:
        yield
        return
    from septet.engine.ranks import join, leave

    with join().together():
        yield
    leave()


def alone() -> contextlib.AbstractContextManager[None]:
    """Return a context in which this process asks none of the others."""
    if launched().world == 1:
        return contextlib.nullcontext()
    from septet.engine import ranks

    return ranks.alone()


def _data_name(recipe: Recipe) -> str:
    if recipe.data.hub is not None:
        return recipe.data.hub.path.rstrip("/").split("/")[-1]
    files = recipe.data.files("train")
    if files and is_database(files[0]):
        return title(files[0])
    return Path(counted(files[0])[0]).name.split(".")[0] if files else "data"
