"""The shape of a recipe: its sections, its keys by dotted path, and the JSON schema that editors read.

The blocks of `task`, `method` and `optimizer` are the `Options` of the registered file (`tasks/classify.py`), found through the registry,
with the key `name` added.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from septet import registry
from septet.recipe.after import Deploy, Evaluate, Monitor, RunFolder, Serve
from septet.recipe.block import STRICT
from septet.recipe.data import Data
from septet.recipe.model import Model
from septet.recipe.train import Train

# in the order of the journey; task, method and optimizer are chosen by name
SECTIONS: dict[str, type[BaseModel] | None] = {
    "data": Data,
    "task": None,
    "model": Model,
    "method": None,
    "train": Train,
    "optimizer": None,
    "evaluate": Evaluate,
    "deploy": Deploy,
    "serve": Serve,
    "monitor": Monitor,
    "run": RunFolder,
}
CHOSEN = tuple(section for section, block in SECTIONS.items() if block is None)
SHORTHANDS = ("task", "model", "method", "optimizer")  # `method: lora` is `method: {name: lora}`
# what is meant where the recipe says nothing, and why
DEFAULTS = {
    "method": ("full", "every weight learns: the strongest; lora and layers cost less memory"),
    "optimizer": ("adamw", "what pre-trained models were trained with"),
}
_NAME_WHY = "set in the recipe"


@functools.cache
def chosen_block(kind: str, name: str) -> type[BaseModel]:
    """Return the block of a task, method or optimizer: its `Options` and the key `name`, strict.

    Raises:
        UsageError: nothing is registered under the name.
    """
    owner = registry.module(kind, name)
    options = getattr(owner, "Options", None) or create_model("Options", __config__=STRICT)
    meant, why = DEFAULTS.get(kind, ("", _NAME_WHY))
    name_key = Field(
        default=name if name == meant else ...,
        description=f"Which {kind}: {registry.summary(kind, name)}",
        json_schema_extra={"why": why},
    )
    title = f"{name.title().replace('_', '')}{kind.title()}"
    told = {"__module__": owner.__name__, "__doc__": options.__doc__, "model_config": STRICT}
    block: Any = type(title, (options,), told | {"__annotations__": {"name": Literal[name]}, "name": name_key})
    return block


def block_of(section: str, name: str | None = None) -> type[BaseModel]:
    """Return the block of a section; `name` chooses among tasks, methods or optimizers."""
    block = SECTIONS[section]
    return block if block is not None else chosen_block(section, name or default_name(section))


def default_name(section: str) -> str:
    """Return the part meant when only the section is known: full, adamw, and the first task."""
    return DEFAULTS[section][0] if section in DEFAULTS else registry.names(section)[0]


def nested(field: FieldInfo) -> type[BaseModel] | None:
    """Return the block inside a key, if it holds one."""
    for choice in choices(field.annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union (one for anything else)."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def optional(field: FieldInfo) -> bool:
    """Whether a key may be null."""
    return type(None) in choices(field.annotation)


def leaves(block: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each key of a block with its dotted path, the parts of inner blocks included."""
    for name, field in block.model_fields.items():
        path = f"{prefix}.{name}"
        inner = nested(field)
        yield path, field
        if inner is not None:
            yield from leaves(inner, path)


def held(block: BaseModel, prefix: str) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Yield each value a block holds with its dotted path and key; an inner block gives its own values."""
    for name, field in type(block).model_fields.items():
        path, value = f"{prefix}.{name}", getattr(block, name)
        if isinstance(value, BaseModel) and nested(field) is not None:
            yield from held(value, path)
        else:
            yield path, field, value


def keys() -> dict[str, FieldInfo]:
    """Return every dotted path a recipe may hold, of all registered tasks, methods and optimizers."""
    found: dict[str, FieldInfo] = {}
    for section, block in SECTIONS.items():
        blocks = [block] if block is not None else [chosen_block(section, name) for name in registry.names(section)]
        for each in blocks:
            for path, field in leaves(each, section):
                found.setdefault(path, field)
    return found


def default_of(field: FieldInfo) -> Any:
    """Return a key's default; None also where it is required."""
    return None if field.is_required() else field.get_default(call_default_factory=True)


def why_of(field: FieldInfo) -> str:
    """Return the reason of a key's default."""
    extra = field.json_schema_extra
    return str(extra.get("why", "")) if isinstance(extra, dict) else ""


def absent_word(field: FieldInfo) -> str:
    """Return how a recipe writes that a key has no value: `auto` where a verb derives one, else `null`."""
    return "auto" if why_of(field).startswith("derived") else "null"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe (2020-12), for editors and other programs."""
    told: dict[str, Any] = {}
    for section, block in SECTIONS.items():
        if block is not None:
            kind: Any = block
        else:
            kind = typing.Union[tuple(chosen_block(section, name) for name in registry.names(section))]  # noqa: UP007
        if section == "model":
            kind = kind | str
        elif section in DEFAULTS:
            kind = kind | Literal[tuple(registry.names(section))]
        required = section in ("data", "task")
        told[section] = (
            kind,
            Field(description=_section_text(section)) if required else Field(None, description=_section_text(section)),
        )
    schema = create_model("Recipe", __config__=STRICT, **told).model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Septet recipe"
    schema["description"] = "One recipe for all seven stages; only data and task are needed."
    for shape in [schema, *schema.get("$defs", {}).values()]:
        for name, value in shape.get("properties", {}).items():
            shape["properties"][name] = _with_auto(value)
    return schema


def _section_text(section: str) -> str:
    block = SECTIONS[section]
    if block is None:
        return f"The {section}: {', '.join(registry.names(section))}."
    return (block.__doc__ or "").strip()


def _with_auto(value: dict[str, Any]) -> dict[str, Any]:
    """Let `auto` stand where null stands for a derived value."""
    members = value.get("anyOf")
    if members and {"type": "null"} in members:
        value["anyOf"] = [*members, {"const": "auto"}]
    return value
