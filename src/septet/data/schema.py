"""Which columns of a table a task uses, and how their values become rows.

Texts and labels become text; a missing value (None, NaN) is never turned into the text "nan". Whole numbers kept as
floats, which pandas makes of integers beside a missing value, are written as whole numbers. Lists and objects, such as
the turns of a conversation, are kept as JSON text, and only where the label is no class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from septet import registry
from septet.data.clean import whole
from septet.data.columns import composed
from septet.data.rows import Rows
from septet.data.table import Table, require_columns
from septet.data.times import read_times
from septet.errors import DataError, RecipeError, UsageError


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns in use, and what they hold.

    Args:
        texts: what the model reads, in order; behind it what only goes along (a task's own `texts` leave it out).
        label: what is learned; None where the texts themselves are.
        group: the column of `data.split.group`.
        time: the column of `data.split.time`; only train has it.
        classes: whether the label is one of a few classes (audited, balanced, stratified); False for free text.
        required: of the texts, those that must not be empty; all of them where nothing is given.
        keys: column -> the recipe key that names it, for messages; what is missing is filled.
        layout: whether white space is part of the text, as in text that is generated.
        documents: whether rows are documents, of any length: they come from plain text too, and are cut into windows to be learned.
        members: the columns of which the one text is made, as `columns` says; empty where it is a column itself.
        media: what is in the files that the one column of `texts` names, `picture` or `recording`: it holds what each is known by, and where it lies once it is prepared. None where it holds texts.
    """

    texts: tuple[str, ...]
    label: str | None
    group: str | None = None
    classes: bool = True
    required: tuple[str, ...] = None  # type: ignore[assignment]
    keys: Mapping[str, str] = field(default_factory=dict)
    layout: bool = False
    documents: bool = False
    time: str | None = None
    media: str | None = None
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = dict.fromkeys(self.members or self.texts, "task.text")
        if self.label is not None:
            names[self.label] = "task.label"
        if self.group is not None:
            names.setdefault(self.group, "data.split.group")
        if self.time is not None:
            names.setdefault(self.time, "data.split.time")
        object.__setattr__(self, "keys", {column: self.keys.get(column, key) for column, key in names.items()})
        if self.required is None:
            object.__setattr__(self, "required", self.texts)

    @classmethod
    def of(cls, recipe: Any, task: Any = None) -> Schema:
        """Return the columns that a recipe's task uses, and its group.

        Args:
            task: the task, where its columns were found in the data.

        Raises:
            RecipeError: a column is text and label at once.
            UsageError: the task says nothing of its columns.
        """
        task = registry.part("task", recipe.task.name)(recipe.task) if task is None else task
        schema: Schema | None = getattr(task, "schema", None)
        if schema is None:
            raise UsageError(
                f"The task {recipe.task.name} does not say which columns it reads.",
                hint="give it a property `schema` that returns a septet.data.schema.Schema",
            )
        if schema.label in (*schema.texts, *schema.members):
            raise RecipeError(
                f"The column {schema.label!r} cannot be both read and learned.",
                hint="name another column for one of them",
            )
        return replace(schema, group=recipe.data.split.group, time=recipe.data.split.time)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """Return the schema that `asdict` wrote."""
        listed = {name: tuple(value[name]) for name in ("texts", "required", "members") if value.get(name) is not None}
        younger = {name: each for name, each in value.items() if name != "pictures"}  # what `media` was before sound
        return cls(**{**younger, **listed})

    @property
    def thing(self) -> str:
        """What messages call that which is read of a row."""
        return self.media or "text"

    @property
    def key(self) -> str:
        """The recipe key that names what is read of a row, or the first of these."""
        return next(iter(self.keys.values()))

    @property
    def prose(self) -> bool:
        """Whether rows are texts whose letters and words can be compared: no files, and no lists of values."""
        return not self.media and not self.members

    @property
    def columns(self) -> list[str]:
        return list(self.keys)

    @property
    def facts(self) -> list[Any]:
        """What decides the prepared rows, as JSON values; the group and the time are the recipe's."""
        usual = replace(Schema(self.texts, self.label), group=self.group, time=self.time)
        younger = [name for name in ("documents", "media", "members") if not getattr(self, name)]
        left_out = ("texts", "label", "group", "time", *younger)
        own = [] if self == usual else [{k: v for k, v in asdict(self).items() if k not in left_out}]
        return [list(self.texts), self.label, *own]

    def extract(self, table: Table, *, without_group: bool = False) -> Rows:
        """Return the rows of a table.

        Args:
            without_group: the table need not have the columns of group and time (a test set often has none).

        Raises:
            RecipeError: a column is missing.
            DataError: a value is no text, nor a list or an object where these are possible; names the row.
        """
        wanted = {
            column: key for column, key in self.keys.items() if not (without_group and key.startswith("data.split."))
        }
        require_columns(list(table.columns), wanted, where=table.name)
        texts = [self._column(table, column) for column in self.members or self.texts]
        if self.members:
            texts = [[composed(self.members, values) for values in zip(*texts, strict=True)]]
        filled = [["" if value is None else value for value in column] for column in texts]
        none: list[str | None] = [None] * len(table)
        labels = none if self.label is None else self._column(table, self.label)
        if self.classes:
            labels = _whole(labels)  # they are not cleaned
        groups = None
        if self.group is not None and self.group in table.columns:
            groups = _whole(_as_text(table.columns[self.group], self.group, where=table.where))
        times = None
        if self.time is not None and not without_group:
            times = read_times(table.columns[self.time], self.time, where=table.where)
        return Rows(
            texts=list(zip(*filled, strict=True)),
            labels=labels,
            groups=groups,
            places=list(range(len(table))),
            where=table.where,
            times=times,
        )

    def asked(self, row: Mapping[str, Any], where: str) -> dict[str, str]:
        """Return the one text of a row whose columns make it, as `extract` does; a row that holds the text itself, as logs do, keeps it.

        Raises:
            DataError: a column is missing, or a value is a list or an object.
        """
        (made,) = self.texts
        if isinstance(row.get(made), str):
            return {made: row[made]}
        missing = [column for column in self.members if column not in row]
        if missing:
            raise DataError(f"The field {missing[0]!r} is missing.", where=where, received=sorted(map(str, row)))
        values = [_as_text([row[column]], column, where=lambda _: where)[0] for column in self.members]
        return {made: composed(self.members, values)}

    def records(self, rows: Rows) -> list[dict[str, Any]]:
        """Return rows as dicts of the columns; the group where they have it."""
        found: list[dict[str, Any]] = [dict(zip(self.texts, texts, strict=True)) for texts in rows.texts]
        if self.label is not None:
            for row, label in zip(found, rows.labels, strict=True):
                row[self.label] = label
        if self.group is not None and rows.groups is not None:
            for row, group in zip(found, rows.groups, strict=True):
                row.setdefault(self.group, group)
        return found

    def _column(self, table: Table, column: str) -> list[str | None]:
        return _as_text(table.columns[column], column, where=table.where, lists=not self.classes)


def derived(schema: Schema) -> dict[str, tuple[Any, str]]:
    """Return what the columns say of a recipe's open values: dotted path -> value and reason."""
    if schema.media:
        return {}
    learned = "learned" if schema.documents else "generated"
    why = f"white space is part of text that is {learned}" if schema.layout else "tokenizers ignore it anyway"
    return {"data.clean.whitespace": (not schema.layout, why)}


def _as_text(values: list[Any], column: str, *, where: Callable[[int], str], lists: bool = False) -> list[str | None]:
    found: list[str | None] = []
    for index, value in enumerate(values):
        if type(value) is str or value is None:
            found.append(value)
        elif isinstance(value, bool):
            found.append("true" if value else "false")
        elif isinstance(value, float):
            found.append(None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value))
        elif lists and isinstance(value, (list, dict, tuple)) and (text := _as_json(value)) is not None:
            found.append(text or None)
        elif isinstance(value, (list, dict, tuple, bytes, set)) or hasattr(value, "__array__"):
            raise DataError(
                f"Column {column!r} must hold text{' or lists of turns' if lists else ''}.",
                where=where(index),
                received=value,
                hint="name another column, or turn it into text first",
            )
        else:
            found.append(str(value))
    return found


def as_labels(values: list[Any], column: str, *, where: Callable[[int], str]) -> list[str | None]:
    """Return the values of a column as labels are read; errors as in `Schema.extract`."""
    return [text or None for text in _whole(_as_text(values, column, where=where))]


def _whole(texts: list[str | None]) -> list[str | None]:
    return [text if text is None else whole(text) for text in texts]


def _as_json(value: Any) -> str | None:
    """Return a list or object as JSON text, an empty one as empty text; None where JSON has no form for what is in it."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_moment) if value else ""
    except (TypeError, ValueError, RecursionError):
        return None


def _moment(value: Any) -> str:
    """Return a date or a time, which Parquet has and JSON has not, as text."""
    if not hasattr(value, "isoformat"):
        raise TypeError(f"JSON has no form for {type(value).__name__}.")
    return value.isoformat()
