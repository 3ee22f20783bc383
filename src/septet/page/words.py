"""Figures in words: a metric's value, a difference, a duration, a size."""

from __future__ import annotations

import math
from typing import Any

from septet.errors import UsageError, amount
from septet.metrics import find

NO_VALUE = "–"
HUNDRED = (0, 100)


def number(metric: str, value: float | None, *, unit: bool = False) -> str:
    """Return a metric's value: `92.4` (with unit `92.4 %`) for one from 0 to 1, `31.7` for one from 0 to 100, three decimals for any other.

    Of metrics of texts the large values have fewer decimals (`78.0`, `1,234`): a perplexity has no bound.
    """
    if value is None or not math.isfinite(value):
        return NO_VALUE
    if is_share(metric):
        return f"{100 * value:.1f}" + ("\u202f%" if unit else "")
    return f"{value:,.{_decimals(metric, value)}f}"


def signed(metric: str, value: float) -> str:
    """Return a difference of a metric with its sign: `+0.8 points`, `−0.012`."""
    if is_share(metric):
        shown = f"{abs(100 * value):.1f} points"
    else:
        shown = f"{abs(value):,.{_decimals(metric, value)}f}" + (" points" if _range(metric) == HUNDRED else "")
    return ("+" if value >= 0 else "−") + shown


def is_share(metric: str) -> bool:
    """Whether a metric runs from 0 to 1 and is shown in per cent."""
    return _range(metric) == (0, 1)


def scale(metric: str) -> str:
    """Return what a metric of texts is counted in and which direction is better: `nats a token; lower is better`."""
    counted = {"loss": "nats a token; ", "bits_per_byte": "bits a byte; "}.get(metric, "")
    if _range(metric) == HUNDRED:
        counted = "of 100; "
    return f"{counted}{'higher' if _mark(metric, 'better') == 'higher' else 'lower'} is better"


def falls(metric: str) -> bool:
    """Whether a lower value of the metric is the better one."""
    return _mark(metric, "better") == "lower"


def duration(seconds: float | None) -> str:
    """Return `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return NO_VALUE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(num_bytes: float | None) -> str:
    """Return bytes as `340 KiB`, `1.2 GiB`."""
    return NO_VALUE if num_bytes is None else amount(num_bytes)


def p_value(p: float) -> str:
    """Return `p = 0.032`, `p < 0.001`, or `p = 0.003`, never 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _decimals(metric: str, value: float) -> int:
    if _range(metric) == HUNDRED:
        return 1
    if _mark(metric, "of") != "texts" or abs(value) < 10:
        return 3
    return 1 if abs(value) < 100 else 0


def _range(metric: str) -> Any:
    return _mark(metric, "range")


def _mark(metric: str, name: str) -> Any:
    """Return what a metric is marked with; None where it is not known."""
    try:
        return getattr(find(metric), name, None)
    except UsageError:  # a metric given with --code, read later without it
        return None
