"""The prompt itself as the answer: what a task leaves as it is."""

from __future__ import annotations

from typing import Any, ClassVar

from septet.baselines import Kind, Options


class Copy:
    """What doing nothing gives."""

    answers: ClassVar[Kind] = "texts"

    def __init__(self, options: Options):
        self.facts: dict[str, Any] = {}

    def fit(self, prompts: list[str], references: list[str]) -> Copy:
        """Learn nothing."""
        return self

    def write(self, prompts: list[str]) -> list[str]:
        """Return the prompts."""
        return list(prompts)
