"""Inputs: how a column becomes what a model is called with. One file is one kind of column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from septet.errors import UsageError


def require_texts(task: Any, who: str) -> None:
    """Refuse a task whose rows are no texts, for what reads nothing else.

    Raises:
        UsageError: they are none.
    """
    if not task.input.varies:
        raise UsageError(
            f"{who} reads texts, and the rows of this task are {task.schema.thing}s.",
            hint="septet predict answers them, septet evaluate scores them",
        )


def cut_off(task: Any, tokens: int) -> str:
    """Return how much so many tokens are, as a person reads it: seconds of sound where they are these."""
    token_s = getattr(task.input, "token_s", None)
    return f"{tokens:,} tokens" if token_s is None else f"{tokens * token_s:,.2f} s"


class Input(Protocol):
    """The contract of an input.

    `encode` and `pad` take many values at once: a tokenizer is several times faster on a list than on its items. `encode` gives `truncated`,
    what was cut off, beside what is to be padded. `classifier` is the Auto class of a model that gives a value one label; `varies` says whether
    values differ in length, so that `model.max_length` means something; `size` is what a budget counts.
    """

    classifier: str
    varies: bool

    def processor(self, folder: str) -> Any: ...
    def encode(self, values: Sequence[Any], processor: Any) -> list[dict[str, Any]]: ...
    def pad(self, inputs: Sequence[dict[str, Any]], processor: Any, length: int | None = None) -> dict[str, Any]: ...
    def parse(self, value: Any, where: str) -> Any: ...
    def size(self, inputs: dict[str, Any], processor: Any) -> int: ...
    def save(self, processor: Any, folder: Path, reads: int | None) -> None: ...
