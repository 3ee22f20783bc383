"""Types in words: what a key expects, as an error message says it."""

from __future__ import annotations

import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from septet.recipe.schema import absent_word, choices, optional


def expected(field: FieldInfo) -> str:
    """Return what a key takes, such as `a whole number from 1 to 512`."""
    words = _choice(field.annotation, _limits(field.metadata))
    return f"{words}, or {absent_word(field)}" if optional(field) else words


def _choice(annotation: Any, limits: dict[str, Any]) -> str:
    words = [_one(member, limits) for member in choices(annotation) if member is not type(None)]
    return ", or ".join(dict.fromkeys(words))


def _one(annotation: Any, limits: dict[str, Any]) -> str:
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _choice(inside[0], limits | _limits(inside[1:]))
    if origin is Literal:
        return inside[0] if len(inside) == 1 else f"one of {', '.join(map(str, inside))}"
    if origin is list:
        return f"a list of {_plural(inside[0])}"
    if origin is tuple:
        return f"a list of {len(inside)} {_plural(inside[0])}"
    if origin is dict:
        return f"a mapping of names to {_plural(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a block with the keys {', '.join(annotation.model_fields)}"
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return "a whole number" + _range(limits, " of {} or more")
    if annotation is float:
        return "a number" + _range(limits, " of {} or more")
    if annotation is str:
        return "text"
    return "a value"


def _plural(annotation: Any) -> str:
    plain = annotation
    limits: dict[str, Any] = {}
    if typing.get_origin(annotation) is typing.Annotated:
        plain, *metadata = typing.get_args(annotation)
        limits = _limits(metadata)
    if len(choices(plain)) > 1:
        return "text or lists of text" if str in choices(plain) or "str" in str(plain) else "values"
    if typing.get_origin(plain) is Literal:
        *first, last = map(str, typing.get_args(plain))
        return f"{', '.join(first)} or {last}" if first else last
    names = {str: "texts", int: "whole numbers", float: "numbers"}
    return names.get(plain, "values") + _range(limits, " of {} or more")


def _limits(metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(each, name, None) is not None:
                found[name] = getattr(each, name)
        if isinstance(each, FieldInfo):
            found |= _limits(each.metadata)
    return found


def _range(limits: dict[str, Any], at_least: str) -> str:
    low, above = limits.get("ge"), limits.get("gt")
    high, below = limits.get("le"), limits.get("lt")
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if low is not None and below is not None:
        return f" from {low:,} to below {below:,}"
    if above is not None and (below is not None or high is not None):
        return f" above {above:,} and " + (f"below {below:,}" if below is not None else f"at most {high:,}")
    if low is not None:
        return at_least.format(f"{low:,}")
    if above is not None:
        return f" above {above:,}"
    return ""
