"""The forms a limit's value may have: a count, phrases, or one of a few words. Each reads a value, and says it in words.

A count is a number, exact, or an object with `min` and `max`. Phrases are a text or a list of texts; where all of them count, an item may be a
list of alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from septet.errors import DataError


class Form(Protocol):
    """How the value of a kind of limit is written."""

    def read(self, value: Any, kind: str) -> Any:
        """Return the value in the one form that checks take.

        Raises:
            DataError: it is no such value.
        """
        ...

    def tell(self, value: Any) -> str:
        """Return a value that was read, in a few words."""
        ...


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things: `2` is exactly two, `{"max": 2}` at most, `{"min": 2, "max": 4}` from two to four.

    Args:
        noun: one of the things.
        short: what `true` stands for; None where it stands for nothing.
    """

    noun: str
    short: dict[str, int] | None = None

    def read(self, value: Any, kind: str) -> dict[str, int]:
        if value is True and self.short is not None:
            return dict(self.short)
        if _whole(value):
            value = {"min": value, "max": value}
        found = {name: end for name, end in value.items() if end is not None} if isinstance(value, Mapping) else {}
        if not found or found.keys() - {"min", "max"} or not all(map(_whole, found.values())):
            wanted = "a whole number, or an object with min and max" + (", or true" if self.short else "")
            raise DataError(f"The limit {kind} must be {wanted}.", received=value)
        if found.get("min", 0) > found.get("max", found.get("min", 0)):
            raise DataError(f"The limit {kind} has a min above its max.", received=value)
        return found

    def tell(self, value: dict[str, int]) -> str:
        low, high = value.get("min"), value.get("max")
        noun = self.noun if (low if high is None else high) == 1 else f"{self.noun}s"
        if low == high:
            return f"{high} {noun}"
        if high is None:
            return f"at least {low} {noun}"
        return f"at most {high} {noun}" if low is None else f"{low} to {high} {noun}"


@dataclass(frozen=True, slots=True)
class Phrases:
    """A text or a list of texts. With `alternatives`, an item may be a list, of which one is enough."""

    told: str
    alternatives: bool = False

    def read(self, value: Any, kind: str) -> list[Any]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(map(self._fits, items)):
            lists = " or lists of alternatives" if self.alternatives else ""
            raise DataError(f"The limit {kind} must be a text, or a list of texts{lists}.", received=value)
        if not self.alternatives:
            return list(items)
        return [[item] if isinstance(item, str) else list(item) for item in items]

    def tell(self, value: list[Any]) -> str:
        items = value if self.alternatives else [value]
        return f"{self.told} {', '.join(' or '.join(item) for item in items)}"

    def _fits(self, item: Any) -> bool:
        listed = self.alternatives and isinstance(item, list) and bool(item)
        return all(map(_phrase, item)) if listed else _phrase(item)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    told: str = ""

    def read(self, value: Any, kind: str) -> str:
        if value not in self.words:
            raise DataError(f"The limit {kind} must be one of {', '.join(self.words)}.", received=value)
        return value

    def tell(self, value: str) -> str:
        return f"{self.told} {value}".strip()


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _phrase(value: Any) -> bool:
    return isinstance(value, str) and any(letter.isalnum() for letter in value)
