"""Raw text that is learned: whole documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from septet.data.schema import Schema
from septet.recipe.block import Block, Text, key

kind = "task"


class Options(Block):
    """What the task takes."""

    text: Text | None = key(None, "Column with the documents.", why="derived: found in the data")


@dataclass(frozen=True)
class Scribe:
    """A task of the tests: nothing of it learns."""

    options: Options

    name = "scribe"

    @property
    def needs_columns(self) -> bool:
        return self.options.text is None

    def located(self, row: Mapping[str, Any]) -> Scribe:
        return replace(self, options=self.options.model_copy(update={"text": next(iter(row))}))

    @property
    def schema(self) -> Schema:
        return Schema((self.options.text or "text",), None, classes=False, layout=True, documents=True)
