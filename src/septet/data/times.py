"""What a column of times holds, as numbers that grow with time: `read_times(values, "created", where=table.where)`.

A value is a date or time (of Parquet, Excel or a database), a number (a year, seconds since 1970, a version that counts up), or a text that says one: ISO 8601, year first
with slashes, day first with dots, day or month first with slashes, months by their English names, and the dates of e-mail. All texts of a column must have
one form. Times without a zone are taken to be UTC.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np

from septet.errors import DataError

HINT = "one form for all rows, best 2026-01-31 or 2026-01-31T09:30:00; a row without a time is filled or left out"
_SHOWN = 40
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
_DAYS = ("%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%Y-%m")
_SLASHES = ("%d/%m/%Y", "%m/%d/%Y")


def read_times(values: Sequence[Any], column: str, *, where: Callable[[int], str]) -> list[float]:
    """Return the values of a column as numbers that grow with time.

    Raises:
        DataError: a value is missing or no time, or days and months cannot be told apart; names the row.
    """
    values = [_untexted(value) for value in values]
    for place, value in enumerate(values):
        if value is None:
            raise DataError(
                f"Column {column!r} of data.split.time has no value here.",
                where=where(place),
                received="nothing",
                hint=HINT,
            )
    if not any(isinstance(value, str) for value in values):
        kinds = {isinstance(value, (int, float)) for value in values}
        if len(kinds) > 1:
            place = next(i for i, value in enumerate(values) if isinstance(value, (int, float)))
            raise _unread(column, values[place], where(place), "a date, as in other rows")
        return [_number(value, column, where(place)) for place, value in enumerate(values)]
    readings = [_reading(values, read) for read in (_plain, _iso, _mail, *(_formed(form) for form in _forms(_DAYS)))]
    if best := next((each for each in readings if len(each) == len(values)), None):
        return best
    slashes = [_reading(values, _formed(f"{day}{clock}")) for clock in _CLOCKS for day in _SLASHES]
    whole = [each for each in slashes if len(each) == len(values)]
    if len(whole) == 2 and np.argsort(whole[0], kind="stable").tolist() != np.argsort(whole[1], kind="stable").tolist():
        raise DataError(
            f"Column {column!r} of data.split.time may have the day first or the month first.",
            where=where(0),
            received=values[0],
            hint="write the dates as 2026-01-31",
        )
    if whole:
        return whole[0]
    farthest = max((len(each) for each in [*readings, *slashes]), default=0)
    raise _unread(column, values[farthest], where(farthest), "a date, a time or a number")


def _untexted(value: Any) -> Any:
    """Return a value as None, a number, a date or a stripped text."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value != value:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return value.strip() or None
    return value


def _number(value: Any, column: str, place: str) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _unread(column, value, place, "a date, a time or a number")


def _reading(values: Sequence[Any], read: Callable[[str], float]) -> list[float]:
    """Return the values as far as this way of reading goes."""
    found: list[float] = []
    for value in values:
        try:
            found.append(read(value if isinstance(value, str) else str(value)))
        except (ValueError, TypeError, IndexError, OverflowError):
            break
    return found


def _plain(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _iso(text: str) -> float:
    return _number(datetime.fromisoformat(text), "", "")


def _mail(text: str) -> float:
    return _number(parsedate_to_datetime(text), "", "")


def _formed(form: str) -> Callable[[str], float]:
    return lambda text: _number(datetime.strptime(text, form), "", "")


def _forms(days: Sequence[str]) -> list[str]:
    return [f"{day}{clock}" for day in days for clock in _CLOCKS]


def _unread(column: str, value: Any, place: str, expected: str) -> DataError:
    return DataError(
        f"Column {column!r} of data.split.time must hold {expected}.",
        where=place,
        received=str(value)[:_SHOWN],
        hint=HINT,
    )
