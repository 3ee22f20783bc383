"""Strict JSON: what `json` lets through and a server must not.

Refused, each with its reason: bytes that are not UTF-8, NaN and Infinity (also as `1e999`), duplicate keys, numbers of
thousands of digits, nesting beyond the limit, and half of a surrogate pair (`"\\ud800"`), which no tokenizer can read.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from septet.server.refusal import Refusal

MAX_DIGITS = 400


def loads(body: bytes, max_depth: int) -> Any:
    """Return the JSON value in `body`.

    Raises:
        Refusal: 400, with the reason; the body itself is never repeated.
    """
    if not body.strip():
        _refuse("empty_body", "The request has no body.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("not_utf8", f"The body is not UTF-8 (byte {error.start}).")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        _refuse("not_json", f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).")
    except RecursionError:
        _refuse("too_deep", f"The JSON nests deeper than {max_depth} levels.")
    if depth(value, max_depth) > max_depth:
        _refuse("too_deep", f"The JSON nests deeper than {max_depth} levels.")
    if "\\ud" in text.lower() and _has_lone_surrogate(value):
        _refuse("lone_surrogate", "A string holds half of a surrogate pair, which is not text.")
    return value


def depth(value: Any, stop: int) -> int:
    """Return how deep lists and objects nest in a JSON value; the count ends one above `stop`."""
    level, found = [value], 0
    while found <= stop:
        level = [v for v in level if isinstance(v, (list, dict))]
        if not level:
            break
        found += 1
        level = [v for parent in level for v in (parent.values() if isinstance(parent, dict) else parent)]
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        _refuse("duplicate_key", "A JSON object names the same key twice.")
    return made


def _constant(name: str) -> NoReturn:
    _refuse("not_a_number", f"{name} is not JSON.")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse("not_a_number", "A number is too large.")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        _refuse("not_a_number", f"A number has more than {MAX_DIGITS} digits.")
    return int(digits)


def _has_lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _refuse(code: str, message: str) -> NoReturn:
    raise Refusal(400, code, message=message)
