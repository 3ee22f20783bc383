"""How rows are labelled: the columns, the labels, the files beside the data, and the command that comes next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.data.read import read
from septet.data.rows import Texts, row_id
from septet.errors import DataError, RecipeError, UsageError
from septet.progress import Listen, quiet
from septet.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Wanted:
    """How rows are labelled: columns, labels, model, and the files.

    Args:
        texts: the columns of text.
        label: the column to fill in.
        labels: those that can be given; none: whatever is written.
        model: that embeds.
        known: the table of labelled rows.
        recipe: whose columns, labels and model they are.
        named: how the recipe was named, for commands.
    """

    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    model: str
    known: Path
    recipe: Recipe | None = None
    named: str = "RECIPE"


def columns_of(
    data: str | Path,
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    labels: Sequence[str] = (),
    model: str | None = None,
    known: str | Path | None = None,
    recipe: Recipe | None = None,
    named: str = "RECIPE",
) -> Wanted:
    """Return how rows are labelled, from a recipe or from what is named.

    Raises:
        UsageError: a column is named beside a recipe, or no column of text is named and there is none to guess.
    """
    path = Path(known) if known is not None else _beside(Path(data), "labelled")
    if recipe is None:
        found = tuple(text) or _only_text(data, label)
        return Wanted(found, label or "label", tuple(labels), model or "starter", path)
    if recipe.task.name != "classify":
        raise UsageError("septet label is for the task classify.", received=f"task: {recipe.task.name}")
    if text or label or labels or model:
        raise UsageError(
            "With a recipe, columns, labels and model are the recipe's.",
            hint="leave --text, --label, --labels and --model out",
        )
    task: Any = recipe.task
    if task.columns is not None:
        raise UsageError("septet label is for texts, and the rows of this recipe are columns.", received=task.columns)
    if task.text is None:
        what = "pictures" if task.audio is None else "recordings"
        raise UsageError(
            f"septet label is for texts, and the rows of this recipe are {what}.", received=task.image or task.audio
        )
    texts = (task.text,) if isinstance(task.text, str) else tuple(task.text)
    return Wanted(texts, task.label, tuple(task.labels or ()), recipe.model.name or "starter", path, recipe, named)


def pool_of(
    data: str | Path, wanted: Wanted, *, listen: Listen = quiet
) -> tuple[dict[int, dict[str, str]], Callable[[int], str]]:
    """Return the distinct rows of a file that have text: id -> columns of text; and where the row of an id stands."""
    table = read(data, columns=dict.fromkeys(wanted.texts, "task.text" if wanted.recipe else "--text"))
    for finding in table.findings:
        listen("finding", finding=finding)
    found: dict[int, dict[str, str]] = {}
    places: dict[int, int] = {}
    for place, values in enumerate(zip(*(table.columns[column] for column in wanted.texts), strict=True)):
        texts: Texts = tuple("" if value is None else str(value) for value in values)
        if any(text.strip() for text in texts):
            row = row_id(texts, None)
            found.setdefault(row, dict(zip(wanted.texts, texts, strict=True)))
            places.setdefault(row, place)
    if not found:
        raise DataError("There is no row with text to label.", where=table.name)
    return found, lambda row: table.where(places[row])


def trained_rows(wanted: Wanted) -> list[tuple[Texts, str]]:
    """Return the texts and labels that a recipe learns from, where its training rows are files."""
    recipe = wanted.recipe
    if recipe is None or recipe.data.train is None:
        return []
    paths = [recipe.path(path) for path in recipe.data.files("train")]
    columns = dict.fromkeys(wanted.texts, "task.text") | {wanted.label: "task.label"}
    table = read(paths, columns=columns)
    texts = zip(*(table.columns[column] for column in wanted.texts), strict=True)
    rows = zip(texts, table.columns[wanted.label], strict=True)
    return [(tuple(str(value or "") for value in each), str(given)) for each, given in rows if given not in (None, "")]


def next_sheet(data: Path, wanted: Wanted, known: dict[int, str]) -> Path:
    """Return the name of the next sheet.

    Raises:
        UsageError: nothing of the last one was read back, and it would be the same again.
    """
    number = 1
    while (path := _beside(data, f"sheet-{number}")).exists():
        number += 1
    if number > 1:
        last = _beside(data, f"sheet-{number - 1}")
        rows = set(_ids(last))
        if rows and not rows & known.keys():
            raise UsageError(
                "The last sheet was not read back yet; the next would have the same rows.",
                where=str(last),
                hint=f"septet label {quoted(data)}{options_of(data, wanted)} --read {quoted(last)}, or remove it",
            )
    return path


def _ids(sheet: Path) -> list[int]:
    try:
        names = read(sheet, columns={"row": "--read"}).columns["row"]
    except (DataError, RecipeError):
        return []
    return [int(str(name)[1:], 16) for name in names if str(name)[:1] == "r" and str(name)[1:].isalnum()]


def _beside(data: Path, what: str) -> Path:
    """Return a CSV beside the data: `tickets.csv` and `sheet-1` give `tickets.sheet-1.csv`."""
    return data.with_name(f"{data.name.split('.')[0]}.{what}.csv")


def next_command(data: str | Path, wanted: Wanted) -> str:
    if wanted.recipe is None:
        options = "".join(f" --text {quoted(text)}" for text in wanted.texts)
        recipe = _beside(Path(data), "recipe").with_suffix(".yaml")
        return f"septet init {quoted(wanted.known)}{options} --label {quoted(wanted.label)} -o {quoted(recipe)} && septet run {quoted(recipe)}"
    return f"septet run {quoted(wanted.named)} {quoted(train_override(wanted))}"


def train_override(wanted: Wanted) -> str:
    """Return the override that adds the labelled rows to what a recipe learns from."""
    assert wanted.recipe is not None
    names = [*wanted.recipe.data.files("train"), wanted.known.resolve()]
    return "data.train=[" + ", ".join(f'"{name}"' for name in dict.fromkeys(names)) + "]"


def options_of(data: str | Path, wanted: Wanted) -> str:
    """Return the options that say to the next command what was said to this one."""
    known = f" --known {quoted(wanted.known)}" if wanted.known != _beside(Path(data), "labelled") else ""
    if wanted.recipe is not None:
        return f" --recipe {quoted(wanted.named)}{known}"
    texts = "".join(f" --text {quoted(text)}" for text in wanted.texts)
    labels = f" --labels {quoted(','.join(wanted.labels))}" if wanted.labels else ""
    return texts + ("" if wanted.label == "label" else f" --label {quoted(wanted.label)}") + labels + known


def quoted(value: Any) -> str:
    return shlex.quote(str(value))


def _only_text(data: str | Path, label: str | None) -> tuple[str, ...]:
    names = [name for name in read(data).columns if name != label]
    if len(names) == 1:
        return (names[0],)
    for usual in ("text", "body", "sentence", "message"):
        if usual in names:
            return (usual,)
    raise UsageError("Which column holds the text?", received=", ".join(names[:12]), hint=f"--text {names[0]}")
