"""JSON lines and JSON: one object a line, an array of objects, `{"data": [...]}`, or columns.

Errors name the line and the column. `null` and `NaN` are missing values; the text "NaN" is text.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from septet.errors import DataError

Columns = dict[str, list[Any]]


def parse_lines(text: str, name: str) -> tuple[Columns, array]:
    """Return the columns of JSON lines, and the line of each row; blank lines are skipped.

    Raises:
        DataError: a line is not JSON or not an object.
    """
    rows: list[dict[str, Any]] = []
    lines = array("q")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = _load(line, name, line=number)
        if not isinstance(row, dict):
            raise DataError(
                'A line of JSON lines must be an object such as {"text": "…", "label": "…"}.',
                where=f"{name} line {number}",
                received=row,
            )
        rows.append(row)
        lines.append(number)
    return to_columns(rows), lines


def parse(text: str, name: str) -> tuple[Columns, array | None]:
    """Return the columns of a JSON file, and line numbers where it turns out to be JSON lines.

    Raises:
        DataError: the file is not JSON, or holds no table.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[:1] == "{":
            return parse_lines(text, name)
        raise _invalid(error, name, line=error.lineno) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"The JSON cannot be read: {_reason(error)}.", where=name) from None
    return _columns(value, name), None


def to_columns(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Return rows as columns; a key that a row lacks is None there."""
    rows = list(rows)
    names = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [row.get(key) for row in rows] for key in names}


def _columns(value: Any, name: str) -> Columns:
    if isinstance(value, dict) and value:
        tables = [key for key, item in value.items() if isinstance(item, list) and item and isinstance(item[0], dict)]
        if "data" in tables or len(tables) == 1:
            value = value["data" if "data" in tables else tables[0]]
        elif all(isinstance(item, list) for item in value.values()):
            return _equal(value, name)
        elif all(isinstance(item, dict) for item in value.values()):
            return _equal({key: list(item.values()) for key, item in value.items()}, name)
    if not isinstance(value, list):
        raise DataError(
            'The JSON holds no table; it must be an array of objects, {"data": [...]}, or columns.',
            where=name,
            received=type(value).__name__,
        )
    if not value:
        raise DataError("The file has no rows.", where=name, received="[]")
    for index, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise DataError("Each item of the array must be an object.", where=f"{name} row {index}", received=item)
    return to_columns(value)


def _equal(columns: dict[str, list[Any]], name: str) -> Columns:
    lengths = {key: len(items) for key, items in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError("The columns of the JSON have different lengths.", where=name, received=lengths)
    if not next(iter(lengths.values())):
        raise DataError("The file has no rows.", where=name)
    return columns


def _load(text: str, name: str, *, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _invalid(error, name, line=line) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"The JSON cannot be read: {_reason(error)}.", where=f"{name} line {line}") from None


def _invalid(error: json.JSONDecodeError, name: str, *, line: int) -> DataError:
    start = max(0, error.pos - 20)
    return DataError(
        f"Invalid JSON at column {error.colno}: {error.msg}.",
        where=f"{name} line {line}",
        received=error.doc[start : error.pos + 40].split("\n")[0],
    )


def _reason(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
