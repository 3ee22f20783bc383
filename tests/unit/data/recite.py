"""Texts that are recited: turns, a prompt and its answer, or a plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from septet.data.schema import Schema
from septet.errors import UsageError
from septet.recipe.block import Block, Positive, Text, key

kind = "task"
COLUMNS = ("messages", "prompt", "context", "answer", "text")


class Options(Block):
    """What the task takes."""

    messages: Text | None = key(None, "Column with turns.", why="derived: found in the data")
    prompt: Text | None = key(None, "Column with a prompt.", why="derived: found in the data")
    context: Text | None = key(None, "Column with what a prompt is about.", why="derived: found in the data")
    answer: Text | None = key(None, "Column with the answer.", why="derived: found in the data")
    text: Text | None = key(None, "Column with a text.", why="derived: found in the data")
    emphasis: Positive = key(1.0, "A setting of learning.", why="none")


@dataclass(frozen=True)
class Recite:
    """A task of the tests: nothing of it learns."""

    options: Options

    name = "recite"

    @property
    def needs_columns(self) -> bool:
        return not any((self.options.messages, self.options.prompt, self.options.text))

    def located(self, row: Mapping[str, Any]) -> Recite:
        found = {name: name for name in COLUMNS if name in row}
        if "messages" in found and not isinstance(row["messages"], list):
            raise UsageError("The messages are no list.", received=row["messages"])
        if not found:
            raise UsageError("No column is known.", received=", ".join(row))
        return replace(self, options=self.options.model_copy(update=found))

    @property
    def schema(self) -> Schema:
        given = {name: column for name in COLUMNS if (column := getattr(self.options, name)) is not None}
        keys = {column: f"task.{name}" for name, column in given.items()}
        label = given.pop("answer", None)
        required = tuple(column for name, column in given.items() if name != "context")
        return Schema(tuple(given.values()), label, classes=False, required=required, keys=keys, layout=True)

    def problems(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        column = self.options.messages
        found = {} if column is None else {i: _reason(row[column]) for i, row in enumerate(rows)}
        return {i: reason for i, reason in found.items() if reason}


def _reason(text: str) -> str:
    try:
        turns = json.loads(text)
    except ValueError:
        return "A list of turns was expected."
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "A list of turns was expected."
    if turns[0].get("role") != "user":
        return f"The first turn is of {turns[0].get('role')}."
    return "" if turns[-1].get("role") == "assistant" else "There is no answer."
