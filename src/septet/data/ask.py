"""What the data stage asks of a task: its columns, and what of it decides the prepared rows.

A task says its columns in `schema`. One whose columns the recipe may leave open has `needs_columns`, and `located`, which finds
them in a row of the training table; what else its `schema` says holds before. One whose rows have a form has `problems`, and
`left_out` where a row may hold turns that it does not read (see `unusable`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from septet import registry
from septet.data import columns, expect, store
from septet.data.clean import Cleaning
from septet.data.schema import Schema
from septet.data.sql import hide
from septet.data.table import Table
from septet.errors import RecipeError, SeptetError, UsageError

LOOKED_AT = 100  # rows in which columns are sought: the first ones may be malformed


def task_of(recipe: Any, located: Mapping[str, str] | None = None) -> Any:
    """Return the recipe's task.

    Args:
        located: option -> column, for options the recipe leaves open.
    """
    recipe = with_columns(recipe, located or {})
    return registry.part("task", recipe.task.name)(recipe.task)


def with_columns(recipe: Any, located: Mapping[str, Any]) -> Any:
    """Return the recipe with the columns that were found in the data, by their option."""
    found = {f"task.{option}": (value, "found in the data") for option, value in located.items()}
    return recipe.filled(found, over=found) if found else recipe


def schema_of(recipe: Any, task: Any) -> Schema | None:
    """Return the columns; None where they are to be found in the data."""
    return None if getattr(task, "needs_columns", False) else Schema.of(recipe, task)


def check_ignored(schema: Schema, recipe: Any, *, reviewed: bool) -> None:
    """Check that nothing a recipe asks of its data would be ignored, the columns being what they are.

    Args:
        reviewed: whether a sheet of doubtful rows is asked for.

    Raises:
        RecipeError: something would be.
    """
    owned = {store.ROW: "the row id", store.SOURCE: "where a row is from"}
    for own, what in (owned | ({columns.NAME: "the text of a row"} if schema.members else {})).items():
        if own in schema.columns:
            raise RecipeError(f"The column name {own!r} is Septet's own ({what}).", hint="rename the column")
    for column in recipe.data.annotations or ():
        if column in schema.texts:
            raise RecipeError(f"data.annotations names {column!r}, a column of texts.", hint="columns with labels only")
    sampled = recipe.data.sample is not None and recipe.data.sample.labels is not None
    for name, on in (
        ("balance", recipe.data.balance.on),
        ("augment", recipe.data.augment.on),
        ("sample.labels", sampled),
        ("clean.labels: merge", recipe.data.clean.labels == "merge"),
        *((f"expect.{name}", name in expect.OF_CLASSES) for name in recipe.data.expect),
    ):
        if on and not schema.classes:
            raise RecipeError(
                f"data.{name} would be ignored: it is for tasks whose rows have one of a few labels.",
                hint=f"remove data.{name}",
            )
    if not schema.classes and recipe.data.conflicts == "drop":
        raise RecipeError(
            "data.conflicts: drop would be ignored: one text may have several answers.", hint="remove data.conflicts"
        )
    if schema.media:
        _check_of_texts(recipe.data, schema.media, reviewed=reviewed)
    elif recipe.data.media is not None:
        raise RecipeError(
            "data.media would be ignored: the rows are texts.", received=recipe.data.media, hint="remove data.media"
        )
    if schema.members:
        _check_of_prose(recipe.data)
    judging = [
        key
        for key, used in (
            ("data.doubtful", recipe.data.doubtful.policy != "off"),
            ("data.corrections", recipe.data.corrections is not None),
            ("data.annotations", recipe.data.annotations is not None),
            ("--review", reviewed),
        )
        if used
    ]
    if judging and not schema.classes:
        raise RecipeError(
            f"{judging[0]} would be ignored: it is of labels that are classes.", hint=f"remove {judging[0]}"
        )


def _check_of_texts(data: Any, media: str, *, reviewed: bool) -> None:
    """Refuse what is of texts where rows are pictures or recordings."""
    usual = {name: type(data)(train="x").model_dump()[name] for name in ("clean", "near", "doubtful")}
    now = data.model_dump()
    given = {
        **{f"data.clean.{key}": now["clean"][key] != value for key, value in usual["clean"].items() if key != "labels"},
        "data.near": now["near"] != usual["near"],
        "data.doubtful": now["doubtful"] != usual["doubtful"],
        "data.augment": data.augment.on,
        "--review": reviewed,
        **{f"data.expect.{name}": name in expect.OF_TEXTS for name in data.expect},
        **{f"data.{key}": now[key] is not None for key in ("against", "corrections", "documents", "target")},
    }
    for name in (name for name, used in given.items() if used):
        raise RecipeError(f"{name} would be ignored: it is of texts, and the rows are {media}s.", hint=f"remove {name}")


def _check_of_prose(data: Any) -> None:
    """Refuse what compares or changes words and letters where rows are lists of values."""
    given = {
        "data.near": data.near != type(data.near)(),
        "data.augment": data.augment.on,
        "data.against": data.against is not None,
        **{f"data.expect.{name}": name.startswith(("near-", "semantic-")) for name in data.expect},
    }
    for name in (name for name, used in given.items() if used):
        what = f"{name} would be ignored: it is of texts in words, and a row of task.columns is a list of values."
        raise RecipeError(what, hint=f"remove {name}; or task.text, where one column holds the text")


def reads_documents(recipe: Any) -> bool:
    """Whether a `.txt` file is plain text: the rows of the recipe's task are documents, or the recipe says so of every file."""
    return recipe.data.format == "text" or task_of(recipe).schema.documents


def media_of(recipe: Any) -> str | None:
    """Return what is in the files that are the rows of the recipe's task; None where they are texts."""
    return task_of(recipe).schema.media


def locate(task: Any, table: Table, *, without: Collection[str | None] = ()) -> tuple[Any, dict[str, Any]]:
    """Return the task with the columns it finds in a table's first row, or the first that holds what tells them, and these by their option.

    Args:
        without: columns that are used otherwise.

    Raises:
        SeptetError: the task finds none.
    """
    found = _located(task, replace(table, columns={k: v for k, v in table.columns.items() if k not in without}))
    before, after = task.options.model_dump(), found.options.model_dump()
    return found, {option: column for option, column in after.items() if column != before[option]}


def _located(task: Any, table: Table) -> Any:
    """Return the task as the first rows that it makes sense of tell it; the error is that of the first row."""
    refused: SeptetError | None = None
    for place in range(min(LOOKED_AT, len(table))):
        try:
            return task.located({column: values[place] for column, values in table.columns.items()})
        except SeptetError as error:
            refused = refused or error
    raise refused or UsageError("There are no rows to find the columns in.", where=table.name)


def facts_of(recipe: Any, task: Any, schema: Schema | None) -> list[Any]:
    """Return what of a recipe decides the prepared data, as JSON values: nothing that only learning looks at.

    Args:
        schema: None where the columns are not found yet; then the whole block of the task, since any of it may name one.
    """
    data = recipe.data.model_dump(mode="json")
    for name in ("weights", "balance", "augment"):
        data.pop(name, None)  # they decide what is learned of the prepared rows, and change none
    del data["folder"]  # the files' own hashes, or their whole paths, stand beside these facts
    if data["sample"] is not None and data["sample"]["labels"] is None:
        del data["sample"]["labels"]  # younger than data that were prepared without it
    if data["split"]["time"] is None:
        del data["split"]["time"]  # younger than data that were cut without it
    data.pop("target", None)  # train is compared with it, and stays as it is
    if len(recipe.data.files("train")) > 1:
        data["sources"] = "kept"  # younger than data that were prepared without them
    if recipe.data.doubtful.policy == "off":
        del data["doubtful"]
    elif recipe.data.doubtful.features != "tfidf":  # the rows that are found depend on what embeds them
        data["judge"] = [recipe.model.name, recipe.model.revision, recipe.model.max_length]
    if data["near"]["semantic"] is None:
        del data["near"]["semantic"]
    else:
        data["meaning"] = [recipe.model.name, recipe.model.revision, recipe.model.max_length]
    if data["against"] is None:
        del data["contamination"]
    for younger in ("corrections", "documents", "sheet", "against", "annotations", "media"):
        if data[younger] is None:
            del data[younger]  # younger than data that were prepared without it
    for younger, usual in (
        ("html", False),
        ("boilerplate", None),
        ("mask", []),
        ("labels", "warn"),
        ("language", None),
    ):
        if data["clean"][younger] == usual:
            del data["clean"][younger]
    for younger in ("min_length", "max_length"):
        if data["clean"][younger] is None:
            del data["clean"][younger]
    data |= {
        split: _without_passwords(data[split]) for split in ("train", "validation", "test", "against") if split in data
    }
    reads = [task.name, _sha256(task.name)]  # such a task looks at the rows, with code that may change
    if schema is None:
        return [data, recipe.task.model_dump(mode="json"), reads]
    data["clean"]["whitespace"] = Cleaning.of(recipe.data.clean, layout=schema.layout).whitespace
    own = [reads] if hasattr(task, "problems") else []
    return [data, *schema.facts, getattr(recipe.task, "labels", None), *own]


def _without_passwords(value: Any) -> Any:
    """Return the paths of a split as a hash may hold them."""
    if isinstance(value, dict):
        return {name: _without_passwords(each) for name, each in value.items()}
    return [hide(each) for each in value] if isinstance(value, list) else value if value is None else hide(value)


def _sha256(name: str) -> str | None:
    """Return the hash of a task given with `--code`."""
    return next((code.sha256 for code in registry.codes() if (code.kind, code.name) == ("task", name)), None)
