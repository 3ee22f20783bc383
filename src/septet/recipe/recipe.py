"""The recipe: what a run is to do, typed, checked, with a reason for every value.

    recipe = Recipe.load("recipe.yaml", ["train.lr=1e-4"])
    recipe.train.lr                                     # 1e-4
    recipe = recipe.filled({"train.epochs": (3, "…")})  # only where it is still auto
    text = recipe.to_yaml()                             # every key, each with its why; loads again as an equal recipe

Data paths and `${VAR}` are resolved when they are used (`path`, `expand`), so that secrets stay out of saved files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from septet.errors import UsageError
from septet.recipe import schema, write
from septet.recipe.after import Deploy, Evaluate, Monitor, RunFolder, Serve
from septet.recipe.data import MEMORY, Data
from septet.recipe.draft import COMMAND_LINE, Draft, read
from septet.recipe.environment import expand
from septet.recipe.explain import explain
from septet.recipe.model import Model
from septet.recipe.train import Train
from septet.recipe.validate import validate

SET_IN_RECIPE = "set in the recipe"
SET_BY_OVERRIDE = f"set on the {COMMAND_LINE}"


class Recipe:
    """A checked recipe. Made by `Recipe.load`; never changed, `filled` returns a copy.

    Attributes:
        given: the text as it was given (passwords in URLs replaced), overrides as comments.
        folder: the folder that relative data paths resolve against.
        whys: the reason of each value, by dotted path.
    """

    data: Data
    task: Any
    model: Model
    method: Any
    train: Train
    optimizer: Any
    evaluate: Evaluate
    deploy: Deploy
    serve: Serve
    monitor: Monitor
    run: RunFolder

    def __init__(self, blocks: Mapping[str, BaseModel], *, given: str, base: Path, whys: Mapping[str, str]):
        self._blocks = dict(blocks)
        self.__dict__.update(self._blocks)
        self.given = given
        self.whys = dict(whys)
        self._base = base

    @classmethod
    def load(
        cls,
        source: str | Path | Mapping[str, Any] | Recipe,
        overrides: Sequence[str] = (),
        *,
        in_memory: Collection[str] = (),
    ) -> Recipe:
        """Return the recipe of a file, a dict, or another recipe, with overrides such as `train.lr=1e-4` applied.

        Args:
            in_memory: names of the splits given as tables from Python; they need no path.

        Raises:
            UsageError: there is no such file.
            RecipeError: it has a problem; `Problems` when it has several, all of them named.
        """
        if isinstance(source, Recipe):
            if not overrides and not in_memory:
                return source
            draft = _draft_of(source, overrides)
        else:
            draft = read(source, overrides)
        if in_memory:
            _put_tables(draft, in_memory)
        blocks = validate(draft)
        base = source._base if isinstance(source, Recipe) else draft.folder
        whys = _whys(draft, blocks)
        if isinstance(source, Recipe):
            whys |= {
                path: why
                for path, why in source.whys.items()
                if path in whys and not draft.by_override(tuple(path.split(".")))
            }
        blocks["data"], whys["data.folder"] = _anchored(blocks["data"], base, whys.get("data.folder", ""))
        return cls(blocks, given=write.redact(draft.given), base=base, whys=whys)

    @property
    def folder(self) -> Path:
        return self._base / Path(self.expand(self.data.folder or ".")).expanduser()

    def path(self, name: str) -> Path:
        """Return a path of the recipe: `${VAR}` and `~` expanded, relative ones against `folder`."""
        return self.folder / Path(self.expand(name)).expanduser()

    def expand(self, text: str) -> str:
        """Return a text with `${VAR}` and `${VAR:-default}` replaced from the environment.

        Raises:
            RecipeError: a variable is not set and has no default.
        """
        return expand(text)

    def filled(self, values: Mapping[str, tuple[Any, str]], *, over: Collection[str] = ()) -> Recipe:
        """Return a copy in which each dotted path that is still auto, or is one of `over`, has its derived value and reason."""
        blocks, whys = dict(self._blocks), dict(self.whys)
        for path, (value, why) in values.items():
            section, *parts = path.split(".")
            if path in over or self._at(blocks[section], parts, path) is None:
                blocks[section] = _replaced(blocks[section], parts, value)
                whys[path] = why
        return Recipe(blocks, given=self.given, base=self._base, whys=whys)

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain data; `${VAR}` unresolved."""
        return {section: block.model_dump(mode="json") for section, block in self._blocks.items()}

    def to_yaml(self) -> str:
        """Return the whole recipe, every key with its `# why:`; loading it gives an equal recipe. Passwords in URLs are replaced."""
        return write.to_yaml(
            self._blocks,
            self.whys,
            "Septet recipe, resolved: every value with its reason. `auto` is derived when it is needed.",
        )

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON schema of recipes."""
        return schema.json_schema()

    @staticmethod
    def explain(path: str) -> str:
        """Return what a section or key means, takes and defaults to."""
        return explain(path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Recipe(task={self.task.name!r}, method={self.method.name!r}, model={self.model.title!r}, folder={str(self.folder)!r})"

    @staticmethod
    def _at(block: Any, parts: Sequence[str], path: str) -> Any:
        for part in parts:
            if block is None:
                return None
            if part not in type(block).model_fields:
                raise UsageError(f"A recipe has no key {path}.", hint=f"septet explain {path.split('.')[0]}")
            block = getattr(block, part)
        return block


def _replaced(block: BaseModel, parts: Sequence[str], value: Any) -> BaseModel:
    """Return a copy of a block with one value replaced and checked."""
    name, *rest = parts
    if rest:
        value = _replaced(getattr(block, name), rest, value)
    values = {each: getattr(block, each) for each in type(block).model_fields}
    return type(block).model_validate(values | {name: value})


def _draft_of(recipe: Recipe, overrides: Sequence[str]) -> Draft:
    draft = read(recipe.to_dict(), overrides)
    draft.given = recipe.given + "".join(f"\n# on the command line: {override}" for override in overrides) + "\n"
    return draft


def _put_tables(draft: Draft, splits: Collection[str]) -> None:
    """Let a marker stand for the splits that come as tables."""
    data = draft.values.setdefault("data", {})
    if isinstance(data, dict):
        data.update(dict.fromkeys((name for name in splits if name in Data.model_fields), MEMORY))


def _whys(draft: Draft, blocks: Mapping[str, BaseModel]) -> dict[str, str]:
    """Return the reason of every value: the comment beside it, that it was set, or why the default is what it is."""
    whys: dict[str, str] = {}
    for section, block in blocks.items():
        for path, field, _value in schema.held(block, section):
            parts = tuple(path.split("."))
            if draft.by_override(parts):
                whys[path] = SET_BY_OVERRIDE
            elif parts in draft.whys:
                whys[path] = draft.whys[parts]
            elif draft.at(parts) not in (None, "auto"):
                whys[path] = SET_IN_RECIPE
            else:
                whys[path] = schema.why_of(field)
    return whys


def _anchored(block: BaseModel, base: Path, why: str) -> tuple[BaseModel, str]:
    """Return the data block with an absolute folder, so that a recipe saved elsewhere still finds its files."""
    folder = getattr(block, "folder", None)
    if folder is not None and ("${" in folder or folder.startswith("~") or Path(folder).is_absolute()):
        return block, why
    return block.model_copy(update={"folder": str((base / (folder or ".")).resolve())}), why
