"""Tables in memory: pandas, polars, pyarrow, `datasets.Dataset`, lists of dicts, dicts of columns.

They are told apart by their methods, so none of these packages is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from septet.data.jsonl import to_columns
from septet.data.parquet import name_classes
from septet.data.table import Part, Table
from septet.errors import DataError, UsageError

_KINDS = "a pandas, polars or pyarrow table, a datasets.Dataset, a list of dicts, or a dict of columns"


def read_memory(value: Any, name: str, *, columns: Sequence[str] | None = None) -> Table:
    """Return a table in memory as a `Table`.

    Args:
        name: what messages call it: `train`.
        columns: take only these, where all are there.

    Raises:
        UsageError: the value is no table that is known here.
        DataError: the table has no rows, a column twice, columns of unequal length, or a value that is nested too deeply.
    """
    try:
        found = _columns(value, name, wanted=columns)
    except RecursionError:
        raise DataError("A value of the table is nested too deeply.", where=name) from None
    lengths = {len(items) for items in found.values()}
    if len(lengths) > 1:
        raise DataError(
            "The columns have different lengths.",
            where=name,
            received={key: len(items) for key, items in found.items()},
        )
    if not lengths or lengths == {0}:
        raise DataError("The table has no rows.", where=name)
    return Table(found, [Part(name, 0)])


def _columns(value: Any, name: str, *, wanted: Sequence[str] | None) -> dict[str, list[Any]]:
    if hasattr(value, "features") and hasattr(value, "column_names"):
        return _dataset(value, name, wanted=wanted)
    if hasattr(value, "to_pylist") and hasattr(value, "column_names"):
        return {column: value.column(column).to_pylist() for column in _pick(value.column_names, wanted, name=name)}
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        return {
            column: [_plain(v) for v in value[column].tolist()]
            for column in _pick(list(value.columns), wanted, name=name)
        }
    if hasattr(value, "get_column") and hasattr(value, "to_dicts"):
        return {column: value.get_column(column).to_list() for column in _pick(value.columns, wanted, name=name)}
    if isinstance(value, Mapping):
        return {column: [_plain(v) for v in value[column]] for column in _pick(list(value), wanted, name=name)}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for index, row in enumerate(value, 1):
            if not isinstance(row, Mapping):
                raise DataError("Each row of the list must be a dict.", where=f"{name} row {index}", received=row)
        return {column: [_plain(v) for v in items] for column, items in to_columns(value).items()}
    hint = "call .collect() first" if hasattr(value, "collect") else None
    raise UsageError(f"{name} must be {_KINDS}.", received=type(value).__name__, hint=hint)


def _dataset(value: Any, name: str, *, wanted: Sequence[str] | None) -> dict[str, list[Any]]:
    if not hasattr(value, "__len__") or isinstance(value, Mapping):
        raise UsageError(
            f"{name} must be one datasets.Dataset, not a stream or a dict of splits.",
            received=type(value).__name__,
            hint="pass one split: dataset['train']",
        )
    plain = value.with_format(None)
    names = {column: getattr(feature, "names", None) for column, feature in value.features.items()}
    return {
        column: name_classes(list(plain[column]), names[column])
        for column in _pick(value.column_names, wanted, name=name)
    }


def _pick(present: Sequence[Any], wanted: Sequence[str] | None, *, name: str) -> list[Any]:
    twice = sorted({str(column) for column in present if list(present).count(column) > 1})
    if twice:
        raise DataError(f"The table has a column twice: {', '.join(twice)}.", where=name)
    return list(wanted) if wanted is not None and set(wanted) <= set(present) else list(present)


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays of objects as Python's own, also inside lists, and pandas' two missing values as None."""
    if type(value) is str or value is None:
        return value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") == "O" and hasattr(value, "tolist"):
        return [_plain(item) for item in value.tolist()]
    return value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value
