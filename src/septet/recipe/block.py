"""What a recipe block is made of: a strict pydantic model whose every key explains itself.

`Options` of a task or method derives from `Block` and declares its keys with `key(...)`: the meaning, the unit, when to
change it, and why the default is what it is. From these come the validation, `septet explain`, `septet schema` and the comments of a saved recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from septet import registry

STRICT = ConfigDict(
    strict=True,
    extra="forbid",
    frozen=True,
    allow_inf_nan=False,
    protected_namespaces=(),
    use_attribute_docstrings=False,
)

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]

_Item = TypeVar("_Item")
Pair = Annotated[tuple[_Item, _Item], Field(strict=False)]  # YAML has lists only; the items stay strict

_REQUIRED: Any = ...


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that has the right type and makes no sense: its key inside the block, a sentence, and a way out."""

    key: str
    what: str
    hint: str


class Block(BaseModel):
    """One section of a recipe, or a part of one: strict types, no unknown keys, frozen."""

    model_config = STRICT

    def problems(self) -> Iterator[Problem]:
        """Yield what no single value shows: keys that contradict each other."""
        yield from ()


def unregistered(kind: str, key: str, wanted: Sequence[str], *, sure: Sequence[str] = ()) -> Iterator[Problem]:
    """Yield the names of a key that no part of a kind has, and those that are named twice.

    Args:
        wanted: of metrics also such as `f1[refund]`, of one class.
        sure: names that need not be looked up.
    """
    unsure = [each for each in wanted if each not in sure]
    known = registry.names(kind) if unsure else []
    for each in unsure:
        name = each.partition("[")[0] if kind == "metric" and each.endswith("]") else each
        if name not in known:
            hint = registry.suggest(name, known) or f"septet list {kind}"
            yield Problem(key, f"names {each!r}, which is no {kind}.", hint)
    for twice in sorted({each for each in wanted if wanted.count(each) > 1}):
        yield Problem(key, f"names {twice!r} twice.", "name each one once")


def key(
    default: Any = _REQUIRED,
    means: str = "",
    *,
    why: str = "",
    unit: str = "",
    change: str = "",
    example: Any = None,
    **limits: Any,
) -> Any:
    """Declare a key of a block.

    Args:
        default: its value when the recipe does not give one; left out, the key is required. None stands for `auto`.
        means: what the key does, one sentence.
        why: the reason for the default, written beside it in a resolved recipe.
        unit: rows, steps, tokens, seconds …
        change: when a user would change it.
        example: a good value, shown in error messages.
        limits: pydantic constraints (`ge`, `gt`, `le`, `lt`, `min_length`) of a plain type.
    """
    told = [means, f"Unit: {unit}." if unit else "", f"Change it when {change}." if change else ""]
    extra: dict[str, Any] = {name: text for name, text in (("why", why), ("unit", unit), ("change", change)) if text}
    shown = [example] if example is not None else None
    description = " ".join(part for part in told if part)
    if isinstance(default, (list, dict, Block)):
        return Field(
            default_factory=_copier(default), description=description, json_schema_extra=extra, examples=shown, **limits
        )
    return Field(default, description=description, json_schema_extra=extra, examples=shown, **limits)


def _copier(default: Any) -> Any:
    return (lambda: default) if isinstance(default, Block) else (lambda: type(default)(default))
