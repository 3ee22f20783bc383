"""Which columns of a table a recipe uses, and how their values become rows.

Texts and labels become text; a missing value (None, NaN) is never turned into the text "nan". Whole numbers kept as
floats, which pandas makes of integers beside a missing value, are written as whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from septet.data.clean import whole
from septet.data.rows import Rows
from septet.data.table import Table, require_columns
from septet.errors import DataError, RecipeError


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns in use: `texts` (one, or two for a pair), `label`, and `group` of `data.split.group`."""

    texts: tuple[str, ...]
    label: str
    group: str | None = None

    @classmethod
    def of(cls, recipe: Any) -> Schema:
        """Return the columns a recipe names.

        Raises:
            RecipeError: the same column is text and label.
        """
        text, label = recipe.task.text, recipe.task.label
        texts = (text,) if isinstance(text, str) else tuple(text)
        if label in texts:
            raise RecipeError(
                f"task.text and task.label are the same column ({label!r}).", hint="name the column that holds the text"
            )
        return cls(texts, label, recipe.data.split.group)

    @property
    def keys(self) -> dict[str, str]:
        """Column -> the recipe key that names it."""
        found = dict.fromkeys(self.texts, "task.text") | {self.label: "task.label"}
        if self.group is not None and self.group not in found:
            found[self.group] = "data.split.group"
        return found

    @property
    def columns(self) -> list[str]:
        return list(self.keys)

    def extract(self, table: Table, *, without_group: bool = False) -> Rows:
        """Return the rows of a table.

        Args:
            without_group: the table need not have the group column (a test set often has none).

        Raises:
            RecipeError: a column is missing.
            DataError: a value is a list or an object where text is expected; names the row.
        """
        wanted = {column: key for column, key in self.keys.items() if not (without_group and column == self.group)}
        require_columns(list(table.columns), wanted, where=table.name)
        texts = [self._column(table, column) for column in self.texts]
        filled = [["" if value is None else value for value in column] for column in texts]
        groups = self._column(table, self.group) if self.group in table.columns and self.group is not None else None
        return Rows(
            texts=list(zip(*filled, strict=True)),
            labels=self._column(table, self.label),
            groups=groups,
            places=list(range(len(table))),
            where=table.where,
        )

    def _column(self, table: Table, column: str) -> list[str | None]:
        return _as_text(table.columns[column], column, where=table.where)


def _as_text(values: list[Any], column: str, *, where: Callable[[int], str]) -> list[str | None]:
    found: list[str | None] = []
    for index, value in enumerate(values):
        if type(value) is str or value is None:
            found.append(value if value is None else whole(value))
        elif isinstance(value, bool):
            found.append("true" if value else "false")
        elif isinstance(value, float):
            found.append(None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value))
        elif isinstance(value, (list, dict, tuple, bytes, set)) or hasattr(value, "__array__"):
            raise DataError(
                f"Column {column!r} must hold text.",
                where=where(index),
                received=value,
                hint="name another column, or turn it into text first",
            )
        else:
            found.append(str(value))
    return found
