"""JSON lines and JSON: one object a line, an array of objects, `{"data": [...]}`, columns, or SQuAD (`squad`).

Errors name the line and the column, and how many other lines cannot be read. `null` and `NaN` are missing values; the text "NaN"
is text. A byte order mark before a line, as where files were joined, is no part of it.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from septet.data import squad
from septet.errors import DataError

UNREADABLE = "line-unreadable"  # the finding of lines that are left out
SHOWN_LINES = 5
_NO_TEXT = re.compile("[\udc80-\udcff]")  # what `decode` makes of a byte that is no text, where it is lenient

Columns = dict[str, list[Any]]


def parse_lines(text: str, name: str, *, unread: list[DataError] | None = None) -> tuple[Columns, array]:
    """Return the columns of JSON lines, and the line of each row; blank lines are skipped.

    Args:
        unread: is given what is wrong with each line that cannot be read, which is then left out; None: one such line is an error.

    Raises:
        DataError: a line, or every line, is not JSON or not an object.
    """
    rows: list[dict[str, Any]] = []
    lines = array("q")
    broken: list[DataError] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.lstrip("\ufeff")
        if not line.strip():
            continue
        try:
            rows.append(row(line, name, line=number))
            lines.append(number)
        except DataError as error:
            broken.append(error)
    if broken and (unread is None or not rows):
        raise _broken(broken)
    if unread is not None:
        unread += broken
    return to_columns(rows), lines


def parse(text: str, name: str, *, unread: list[DataError] | None = None) -> tuple[Columns, array | None]:
    """Return the columns of a JSON file, and line numbers where it turns out to be JSON lines; then `unread` is as in `parse_lines`.

    Raises:
        DataError: the file is not JSON, or holds no table.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[:1] == "{":
            return parse_lines(text, name, unread=unread)
        raise _invalid(error, name, line=error.lineno) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"The JSON cannot be read: {_reason(error)}.", where=name) from None
    return _columns(value, name), None


def row(text: str, name: str, *, line: int) -> dict[str, Any]:
    """Return the object that a line of JSON lines holds.

    Raises:
        DataError: it is not JSON, or no object.
    """
    if not text.isascii() and _NO_TEXT.search(text):
        raise DataError("Bytes of the line are no text in this encoding.", where=f"{name} line {line}")
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _invalid(error, name, line=line) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"The JSON cannot be read: {_reason(error)}.", where=f"{name} line {line}") from None
    if not isinstance(found, dict):
        raise DataError(
            'A line of JSON lines must be an object such as {"text": "…", "label": "…"}.',
            where=f"{name} line {line}",
            received=found,
        )
    return found


def to_columns(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Return rows as columns; a key that a row lacks is None there."""
    rows = list(rows)
    names = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [row.get(key) for row in rows] for key in names}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a key that is there twice one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:i]))
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _columns(value: Any, name: str) -> Columns:
    if squad.is_squad(value):
        return squad.columns(value, name)
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


def _broken(problems: Sequence[DataError]) -> DataError:
    """Return the error of lines that cannot be read: what is wrong with the first, and where the others are."""
    first, others = problems[0], problems[1:]
    what = first.what
    if others:
        numbers = ", ".join((error.where or "").rpartition(" ")[2] for error in others[:SHOWN_LINES])
        more = ", …" if len(others) > SHOWN_LINES else ""
        counted = "1 more line cannot be read" if len(others) == 1 else f"{len(others):,} more lines cannot be read"
        what = f"{what} {counted} (line {numbers}{more})."
    return DataError(what, where=first.where, hint=f"mend them; or leave them out, counted: data.allow: [{UNREADABLE}]")


def _invalid(error: json.JSONDecodeError, name: str, *, line: int) -> DataError:
    start = max(0, error.pos - 20)
    return DataError(
        f"Invalid JSON at column {error.colno}: {error.msg}.",
        where=f"{name} line {line}",
        received=error.doc[start : error.pos + 40].split("\n")[0],
    )


def _reason(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
