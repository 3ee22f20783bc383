"""Inputs: how a column becomes what a model is called with. One file is one kind of column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Input(Protocol):
    """The contract of an input.

    `encode` and `pad` take many values at once: a tokenizer is several times faster on a list than on its items.
    """

    def processor(self, folder: str) -> Any: ...
    def encode(self, values: Sequence[Any], processor: Any) -> list[dict[str, Any]]: ...
    def pad(self, inputs: Sequence[dict[str, Any]], processor: Any, length: int | None = None) -> dict[str, Any]: ...
    def parse(self, value: Any, where: str) -> Any: ...
