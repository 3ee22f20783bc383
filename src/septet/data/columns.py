"""Rows of several columns as one text: a list of `name: value`, which is how language models classify tables.

    {"age": 42, "glucose": 148.0, "plan": None, "note": "new  client"}  ->  "age: 42; glucose: 148; note: new client"

A missing or blank value is left out with its name. A number is written in its short exact form, whether a file had it as a number or as text: `148.0`, `148.00` and
148 are one value. All other values stay as they are, but for runs of white space.

Source:  Hegselmann et al. 2023, "TabLLM: Few-shot Classification of Tabular Data with Large Language Models", the list template; here in one line, and
without what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NAME = "columns"  # of the one text column that prepared rows have
_DECIMAL = re.compile(r"-?\d+\.\d+")


def composed(names: Sequence[str], values: Sequence[str | None]) -> str:
    """Return the text of a row, of its values as text."""
    cells = ((name, _cell(value or "")) for name, value in zip(names, values, strict=True))
    return "; ".join(f"{name}: {cell}" for name, cell in cells if cell)


def _cell(text: str) -> str:
    text = " ".join(text.split())
    if _DECIMAL.fullmatch(text):
        text = text.rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return text
