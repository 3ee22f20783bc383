"""The texts inside a value: of a conversation kept as JSON, what its turns say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_NAMES = ("role", "from", "name", "id", "tool_call_id", "type")  # what these hold is no text of anybody


def texts_in(value: str) -> list[str]:
    """Return the texts inside a value that is the JSON of a list or object, or the value itself."""
    if value.lstrip()[:1] in ("[", "{"):
        try:
            return list(_inside(json.loads(value)))
        except (ValueError, RecursionError):
            pass  # a text that only begins as JSON does
    return [value]


def _inside(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _NAMES:
                yield from _inside(item)
    elif isinstance(value, list):
        for item in value:
            yield from _inside(item)
