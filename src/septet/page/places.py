"""Paths on a page: from the run's folder or the data's, and of others the last parts. Where a machine keeps its folders is nobody else's affair."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.data.sql import is_database
from septet.errors import SeptetError
from septet.page.html import Html, text
from septet.recipe import Recipe
from septet.recipe.data import counted

OUTSIDE = "…"
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that a run's pages do not name.

    Args:
        folders: a folder -> what stands for it; an empty text where paths begin there.
    """

    folders: dict[str, str]

    @classmethod
    def of(cls, recipe: Recipe, run: Path, *, others: Iterable[str] = ()) -> Places:
        """Return those of a run: its own, the recipe's, the ones above files elsewhere (of the recipe, and others), and the user's."""
        found: dict[str, str] = {}
        for folder in (run, recipe.folder):
            _add(found, folder, "")
        for path in named(recipe, [recipe.to_dict(), list(others)]):
            _add(found, path.parent.parent, OUTSIDE)
        _add(found, Path.home(), "~")
        return cls(found)

    def shorten(self, page: Html | str) -> str:
        """Return a page, or a text, in which these folders stand for themselves no more."""
        if not self.folders:
            return page
        marks = {str(text(folder)): mark for folder, mark in self.folders.items()}
        every = "|".join(re.escape(folder) for folder in sorted(marks, key=len, reverse=True))

        def short(match: re.Match[str]) -> str:
            mark = marks[match[1]]
            return f"{mark}/" if mark and match[2] else mark or ("" if match[2] else ".")

        # a folder's name goes on where a letter follows it; only a database's address has slashes before it
        return re.sub(rf"(?:(?<={_SQLITE})|(?<![\w./~-]))({every})(/|(?![\w.-]))", short, page)


def named(recipe: Recipe, block: Any) -> Iterator[Path]:
    """Yield the paths that lie elsewhere than in the recipe's data folder, of all texts in a block that are paths."""
    if isinstance(block, dict):
        for value in block.values():
            yield from named(recipe, value)
    elif isinstance(block, (list, tuple)):
        for value in block:
            yield from named(recipe, value)
    elif isinstance(block, str) and "\n" not in block:
        value = block.removeprefix(_SQLITE).split("#")[0] if block.startswith(_SQLITE) else counted(block)[0]
        if is_database(value) or "://" in value:
            return
        try:
            path = Path(os.path.normpath(recipe.path(value)))
        except (SeptetError, RuntimeError):  # a variable that is not set any more, the home of nobody
            return
        if path.is_absolute() and not path.is_relative_to(recipe.folder):
            yield path


def _add(found: dict[str, str], folder: Path, mark: str) -> None:
    """Take a folder as it is named and as it is, but never the root of the machine."""
    for each in (folder.absolute(), folder.resolve()):
        if len(each.parts) > 1:
            found.setdefault(str(each), mark)
