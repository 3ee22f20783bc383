"""A recipe before it is checked: plain values, with where each of them was written.

`read` takes a file or a dict, unfolds the shorthands (`method: lora`) and applies the overrides (`train.lr=1e-4`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septet.errors import RecipeError, SeptetError, UsageError, raise_all
from septet.recipe.scan import MAX_CHARACTERS, Scanned, scalar, scan
from septet.recipe.scan import Path as KeyPath
from septet.recipe.schema import SHORTHANDS

COMMAND_LINE = "command line"
FROM_PYTHON = "the recipe given from Python"


@dataclass(slots=True)
class Draft:
    """Plain values of a recipe and where they come from."""

    values: dict[str, Any]
    name: str
    folder: Path
    given: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    whys: dict[KeyPath, str] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)

    def where(self, path: KeyPath) -> str:
        """Return the place of a path, or of the nearest block around it."""
        begun = path not in self.lines and any(given[: len(path)] == path for given in self.overridden)
        if begun or self.by_override(path):
            return COMMAND_LINE
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.name} line {self.lines[path[:end]]}"
        return self.name

    def by_override(self, path: KeyPath) -> bool:
        return any(path[:end] in self.overridden for end in range(1, len(path) + 1))

    def at(self, path: KeyPath) -> Any:
        """Return the raw value of a path; None where nothing was given."""
        value: Any = self.values
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return None
            value = value[part]
        return value


def read(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Draft:
    """Return the draft of a recipe file or dict with the overrides applied.

    Raises:
        UsageError: there is no such file.
        RecipeError: it is no YAML mapping, or an override has no form `section.key=value`.
    """
    draft = _from_mapping(source) if isinstance(source, Mapping) else _from_file(Path(source))
    for section in SHORTHANDS:
        _unfold(draft, section)
    problems: list[SeptetError] = []
    for override in overrides:
        try:
            _override(draft, override)
        except RecipeError as error:
            problems.append(error)
    raise_all(problems)
    if overrides:
        draft.given += "".join(f"\n# on the command line: {override}" for override in overrides) + "\n"
    return draft


def _from_file(path: Path) -> Draft:
    if path.is_dir():
        inside = sorted(found.name for found in path.glob("*.y*ml"))
        raise UsageError(
            "A recipe is a file; this is a folder.",
            where=str(path),
            hint=f"{path / inside[0]}" if inside else "septet init DATA -o recipe.yaml",
        )
    if not path.exists():
        near = sorted(str(found) for found in path.parent.glob("*.y*ml"))[:3] if path.parent.is_dir() else []
        raise UsageError(
            "There is no such recipe.", where=str(path), hint=" or ".join(near) or "septet init DATA -o recipe.yaml"
        )
    raw = path.read_bytes()
    if len(raw) > 4 * MAX_CHARACTERS:
        raise RecipeError(
            f"A recipe has at most {MAX_CHARACTERS:,} characters; this file is no recipe.", where=str(path)
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            "A recipe is UTF-8 text.",
            where=f"{path} line {line}",
            received=raw[error.start : error.start + 1],
            hint="save the file as UTF-8",
        ) from error
    scanned: Scanned = scan(text, str(path))
    if not isinstance(scanned.value, dict):
        what = "The recipe is empty." if scanned.value is None else "A recipe is a mapping of sections."
        raise RecipeError(what, where=str(path), hint="septet init DATA -o recipe.yaml")
    return Draft(scanned.value, str(path), path.resolve().parent, text, scanned.lines, scanned.whys)


def _from_mapping(source: Mapping[str, Any]) -> Draft:
    values = _plain(source, ())
    given = json.dumps(values, indent=2, ensure_ascii=False) + "\n"  # JSON is YAML
    return Draft(values, FROM_PYTHON, Path.cwd(), given)


def _plain(value: Any, path: KeyPath) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, (*path, str(name))) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, (*path, index)) for index, inner in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a numpy number
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    place = ".".join(map(str, path))
    hint = f'tables go beside the recipe: data={{"{path[-1]}": table}}' if path[:1] == ("data",) else None
    raise RecipeError(
        f"{place} must be plain data: text, numbers, lists, mappings.",
        where=FROM_PYTHON,
        received=type(value).__name__,
        hint=hint,
    )


def _unfold(draft: Draft, section: str) -> None:
    """Turn `method: lora` into `method: {name: lora}`."""
    value = draft.values.get(section)
    if isinstance(value, str) and value == "auto" and section != "task":
        del draft.values[section]
    elif isinstance(value, str):
        draft.values[section] = {"name": value}
        if (section,) in draft.lines:
            draft.lines[section, "name"] = draft.lines[section,]
        if (section,) in draft.whys:
            draft.whys[section, "name"] = draft.whys.pop((section,))


def _override(draft: Draft, text: str) -> None:
    dotted, equals, raw = text.partition("=")
    path = tuple(dotted.strip().split("."))
    if not equals or not all(path):
        raise RecipeError(
            "An override has the form section.key=value.", where=COMMAND_LINE, received=text, hint="train.lr=1e-4"
        )
    block = draft.values
    for end, part in enumerate(path[:-1], start=1):
        inner = block.setdefault(part, {})
        if inner is None or inner == "auto":
            inner = block[part] = {}
        if not isinstance(inner, dict):
            here = ".".join(path[:end])
            raise RecipeError(
                f"{dotted} cannot be set: {here} is no block.",
                where=COMMAND_LINE,
                received=inner,
                hint=f"{here}={{{path[end]}: {raw}}}",
            )
        block = inner
    value = _value(dotted, raw)
    block[path[-1]] = value
    for table in (draft.lines, draft.whys):
        for known in [known for known in table if known[: len(path)] == path]:
            del table[known]
    draft.overridden.add(path)
    if len(path) == 1 and path[0] in SHORTHANDS:
        _unfold(draft, path[0])


def _value(dotted: str, raw: str) -> Any:
    """Return what an override's value means: a list, mapping or quoted text as in YAML, anything else one plain scalar."""
    raw = raw.strip()
    if raw[:1] in ("[", "{", '"', "'"):
        return scan(raw, COMMAND_LINE).value
    try:
        return scalar(raw)
    except ValueError as error:
        raise RecipeError(
            f"{dotted} has a number too long to be meant: {error}.", where=COMMAND_LINE, hint="put text into quotes"
        ) from error
