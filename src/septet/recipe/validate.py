"""Check a draft against the blocks: every problem at once, each with its place, what was expected, and a way out."""

from __future__ import annotations

import copy
import difflib
import typing
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from septet import registry
from septet.errors import RecipeError, SeptetError, UsageError, raise_all
from septet.recipe.block import STRICT, Problem
from septet.recipe.draft import Draft
from septet.recipe.foreign import moved, translate
from septet.recipe.model import FILES, Model
from septet.recipe.scan import Path as KeyPath
from septet.recipe.scan import scalar
from septet.recipe.schema import CHOSEN, DEFAULTS, SECTIONS, choices, chosen_block, default_of, keys, nested, optional
from septet.recipe.train import seconds
from septet.recipe.words import expected
from septet.recipe.write import flow

# what other versions of YAML, and people, write for true and false
BOOLEANS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def validate(draft: Draft) -> dict[str, BaseModel]:
    """Return the checked block of every section.

    Raises:
        RecipeError: one problem; `Problems`: several, all named.
    """
    problems: list[SeptetError] = [
        _unknown(draft, (name,), list(SECTIONS)) for name in draft.values if name not in SECTIONS
    ]
    blocks: dict[str, BaseModel] = {}
    for section in SECTIONS:
        found = _section(draft, section, problems)
        if found is not None:
            blocks[section] = found
    problems.extend(_between(draft, blocks))
    problems.sort(key=lambda problem: _line(problem.where))
    raise_all(problems)
    return blocks


def _between(draft: Draft, blocks: dict[str, BaseModel]) -> list[SeptetError]:
    """Return what makes no sense of one section beside another."""
    task, model = blocks.get("task"), blocks.get("model")
    if task is None or not isinstance(model, Model):
        return []
    media = next((kind for kind, key in FILES.items() if getattr(task, key, None) is not None), None)
    found = [_nonsense(draft, "model", problem) for problem in model.reads(media)]
    if media == "picture" and model.architecture is not None and getattr(task, "size", None) is None:
        missing = Problem("size", "is missing: the side that pictures are scaled to for a new model.", "size: 32")
        found.append(_nonsense(draft, "task", missing))
    return found


def nearest(name: str, block: KeyPath, known: list[str]) -> list[str]:
    """Return up to three dotted paths a slip may have meant: near ones of the same block, the same word elsewhere, near ones elsewhere."""
    prefix = "".join(f"{part}." for part in block)
    low = name.lower().replace("-", "_")
    here = [prefix + each for each in difflib.get_close_matches(low, known, n=3, cutoff=0.6)]
    if here:
        return here
    everywhere = list(keys())
    if low in everywhere:
        return [low]
    same = [path for path in everywhere if path.rsplit(".", 1)[-1] == low]
    last = {path.rsplit(".", 1)[-1] for path in everywhere}
    close = difflib.get_close_matches(low, sorted(last), n=3, cutoff=0.75)
    elsewhere = [path for word in close for path in everywhere if path.rsplit(".", 1)[-1] == word]
    return list(dict.fromkeys([*same, *elsewhere]))[:3]


def _section(draft: Draft, section: str, problems: list[SeptetError]) -> BaseModel | None:
    value = draft.values.get(section)
    if value is None and section in ("data", "task"):
        hint = (
            "data: {train: train.csv}" if section == "data" else "task: {name: classify, text: COLUMN, label: COLUMN}"
        )
        problems.append(RecipeError(f"The recipe needs the section {section}.", where=draft.name, hint=hint))
        return None
    if not isinstance(value, dict | None):
        problems.append(
            RecipeError(
                f"{section} must be a block of keys.",
                where=draft.where((section,)),
                received=_raw(value),
                hint=f"septet explain {section}",
            )
        )
        return None
    block = SECTIONS[section] or _chosen(draft, section, value or {}, problems)
    if block is None:
        return None
    values = _without_auto(block, dict(value or {}))
    if section in DEFAULTS:
        values.setdefault("name", DEFAULTS[section][0])
    try:
        found = block.model_validate(values)
    except ValidationError as error:
        wrong = _explain_all(draft, section, block, error)
        problems.extend(wrong.values())
        problems.extend(_nonsense_of_rest(draft, section, block, values, list(wrong)))
        return None
    problems.extend(_nonsense(draft, section, problem) for problem in getattr(found, "problems", tuple)())
    return found


def _chosen(draft: Draft, section: str, value: dict[str, Any], problems: list[SeptetError]) -> type[BaseModel] | None:
    """Return the block of the task, method or optimizer that is named."""
    name = value.get("name", DEFAULTS[section][0] if section in DEFAULTS else None)
    path = (section, "name")
    known = registry.names(section)
    if name is None:
        problems.append(
            RecipeError(
                f"{section}.name is missing: which {section} it is.",
                where=draft.where(path),
                hint=f"name: {known[0]}   (septet list {section})",
            )
        )
        return None
    try:
        return chosen_block(section, name)
    except (UsageError, TypeError):
        nearest = registry.suggest(str(name), known)
        problems.append(
            RecipeError(
                f"{section}.name must be one of {', '.join(known)}.",
                where=draft.where(path),
                received=_raw(name),
                hint=nearest or f"septet list {section}",
            )
        )
        return None


def _without_auto(block: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Leave out the keys that say `auto`: the same as not giving them."""
    for name, field in block.model_fields.items():
        value = values.get(name)
        inner = nested(field)
        if (
            value == "auto"
            and not field.is_required()
            and (optional(field) or inner is not None or not isinstance(default_of(field), str))
        ):
            del values[name]
        elif isinstance(value, dict) and inner is not None:
            values[name] = _without_auto(inner, dict(value))
    return values


def _explain_all(
    draft: Draft, section: str, block: type[BaseModel], error: ValidationError
) -> dict[KeyPath, SeptetError]:
    found: dict[KeyPath, SeptetError] = {}
    for each in error.errors(include_url=False):
        path, field, inner = _locate(block, section, each["loc"])
        if each["type"] == "extra_forbidden":
            unknown = (*path, str(each["loc"][-1]))
            found.setdefault(unknown, _unknown(draft, unknown, list(inner.model_fields)))
        elif each["type"] == "missing" and field is not None and len(path) == len(each["loc"]) + 1:
            dotted = ".".join(map(str, path))
            hint = f"{path[-1]}: {_example(field)}   (septet explain {dotted})"
            found.setdefault(
                path, RecipeError(f"{dotted} is missing: {_means(field)}", where=draft.where(path), hint=hint)
            )
        else:
            found.setdefault(path, _wrong(draft, path, field, each))
    return found


def _locate(
    block: type[BaseModel], section: str, loc: tuple[int | str, ...]
) -> tuple[KeyPath, FieldInfo | None, type[BaseModel]]:
    """Return the longest part of a pydantic location that names a key, that key, and the block around its end."""
    path: KeyPath = (section,)
    field = None
    for part in loc:
        if part not in block.model_fields:
            break
        path, field = (*path, part), block.model_fields[str(part)]
        inner = nested(field)
        if inner is None:
            break
        block = inner
    return path, field, block


def _wrong(draft: Draft, path: KeyPath, field: FieldInfo | None, each: Any) -> SeptetError:
    dotted = ".".join(map(str, path))
    received = draft.at(path)
    if each["type"] == "value_error":  # a validator of the block itself
        said = str(each["ctx"]["error"])
        what = (
            f"{dotted} {said}" if said.startswith(("must", "is ", "has ", "cannot", "names")) else f"{dotted}: {said}"
        )
        return RecipeError(
            what.rstrip(".") + ".", where=draft.where(path), received=_raw(received), hint=f"septet explain {dotted}"
        )
    if field is None:
        return RecipeError(f"{dotted} {each['msg'].lower()}.", where=draft.where(path), received=_raw(received))
    what = f"{dotted} must be {expected(field)}."
    return RecipeError(what, where=draft.where(path), received=_raw(received), hint=_way_out(path, field, received))


def _way_out(path: KeyPath, field: FieldInfo, received: Any) -> str:
    name, dotted = path[-1], ".".join(map(str, path))
    more = f"   (septet explain {dotted})"
    if isinstance(received, str) and "${" not in received:
        try:
            meant = scalar(received.strip())
        except ValueError:
            meant = received
        if meant is not None and not isinstance(meant, str) and _fits(field, meant):
            return f"{name}: {received.strip()} without the quotes{more}"
    said = received.strip().lower() if isinstance(received, str) else None
    if said in BOOLEANS and _fits(field, BOOLEANS[said]):
        return f"{name}: {flow(BOOLEANS[said])}{more}"
    number = isinstance(received, (int, float)) and not isinstance(received, bool)
    if number and field.examples and isinstance(example := field.examples[0], str) and seconds(example):
        return f"{name}: {example}, a time with its unit{more}"
    if isinstance(received, (bool, int, float)) and _fits(field, flow(received)):
        return f'{name}: "{flow(received)}", text stands in quotes{more}'
    if (
        isinstance(received, list)
        and received
        and _fits(field, [flow(each) if not isinstance(each, str) else each for each in received])
    ):
        shown = ", ".join(f'"{each if isinstance(each, str) else flow(each)}"' for each in received[:6])
        return f"{name}: [{shown}{', …' if len(received) > 6 else ''}], text stands in quotes{more}"
    if isinstance(received, float) and received.is_integer() and _fits(field, int(received)):
        return f"{name}: {int(received)}{more}"
    near = difflib.get_close_matches(received, _words(field), n=1, cutoff=0.6) if isinstance(received, str) else []
    return f"{name}: {near[0] if near else _example(field)}{more}"


def _fits(field: FieldInfo, value: Any) -> bool:
    """Whether a key would take a value."""
    trial: Any = (field.annotation, field)
    try:
        create_model("Trial", __config__=STRICT, value=trial).model_validate({"value": value})
    except ValidationError:
        return False
    return True


def _words(field: FieldInfo) -> list[str]:
    return [
        str(word)
        for choice in choices(field.annotation)
        if typing.get_origin(choice) is Literal
        for word in typing.get_args(choice)
    ]


def _example(field: FieldInfo) -> str:
    if field.examples:
        return flow(field.examples[0])
    default = default_of(field)
    if default is None:
        return "COLUMN" if field.is_required() else "auto"
    return flow(default)


def _means(field: FieldInfo) -> str:
    text = (field.description or "a value").strip()
    return text[0].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _unknown(draft: Draft, path: KeyPath, known: list[str]) -> SeptetError:
    """Explain a key that does not exist: another tool's name, a key of another section, or a slip."""
    name, dotted = str(path[-1]), ".".join(map(str, path))
    where = draft.where(path)
    foreign = moved(path, draft.at(path)) or translate(name, draft.at(path), draft.values)
    if foreign is not None:
        return RecipeError(f"{dotted} {foreign.what}", where=where, hint=foreign.hint)
    owners = _other_parts(path, name)
    if owners:
        return RecipeError(
            f"{dotted} belongs to the {path[0]} {' or '.join(owners)}.",
            where=where,
            hint=f"{path[0]}: {{name: {owners[0]}, {name}: {_shown(draft.at(path))}}}",
        )
    near = nearest(name, path[:-1], known)
    block = ".".join(map(str, path[:-1]))
    what = f"{dotted} is no key of {block}." if block else f"{name} is no section of a recipe."
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"septet explain {block}"
        if block
        else f"the sections are {', '.join(SECTIONS)}"
    )
    return RecipeError(what, where=where, hint=hint)


def _shown(value: Any) -> str:
    return flow(value) if value is not None else "…"


class _Raw:
    """A received value that an error shows as the recipe writes it (`true`, not `True`)."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return flow(self.value)


def _raw(value: Any) -> Any:
    return value if isinstance(value, str) else _Raw(value)


def _other_parts(path: KeyPath, name: str) -> list[str]:
    """Return the methods (or tasks, or optimizers) that do have the key."""
    if path[0] not in CHOSEN or len(path) != 2:
        return []
    return [part for part in registry.names(str(path[0])) if name in chosen_block(str(path[0]), part).model_fields]


def _nonsense_of_rest(
    draft: Draft, section: str, block: type[BaseModel], values: dict[str, Any], wrong: list[KeyPath]
) -> list[SeptetError]:
    """Return what makes no sense among the values that are right, the wrong ones left out."""
    rest: Any = copy.deepcopy(values)
    for path in wrong:
        inside = rest
        for part in path[1:-1]:
            inside = inside.get(part) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside.pop(path[-1], None)
    try:
        found = block.model_validate(rest)
    except ValidationError:
        return []
    seen = [
        problem
        for problem in getattr(found, "problems", tuple)()
        if draft.at((section, *problem.key.split("."))) is not None
    ]
    return [_nonsense(draft, section, problem) for problem in seen if (section, *problem.key.split(".")) not in wrong]


def _nonsense(draft: Draft, section: str, problem: Problem) -> SeptetError:
    path = (section, *problem.key.split("."))
    received = draft.at(path)
    hint = problem.hint
    what = f"{'.'.join(path)} {problem.what}"
    if received is None or isinstance(received, dict):
        return RecipeError(what, where=draft.where(path), hint=hint)
    return RecipeError(what, where=draft.where(path), received=_raw(received), hint=hint)


def _line(where: str | None) -> tuple[int, int]:
    """Sort by line, problems without one last."""
    number = (where or "").rpartition(" line ")[2]
    return (0, int(number)) if number.isdigit() else (1, 0)
