"""Encoded rows, kept in the user's cache: the same rows under the same tokenizer and task are tokenised once.

    found = encoded(task, processor, rows, {"rows": sha256, "tokenizer": sha256})

What is kept is the whole of a split; a digest before it tells a damaged file, which counts as absent. Few rows are tokenised sooner than
looked up, and so are never kept; nor are the examples of a task of someone else's, whose code may read what no key knows of, nor pictures,
which lie in files of their own.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from importlib.metadata import version
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from septet import cache, inputs
from septet.model.artifact import sha256
from septet.tasks import Example

KIND = "examples"
FORMAT = 1
# of all files together
MOST_BYTES = 4 << 30
# rows that take about a second to tokenise, and a tenth of it to read
LEAST_ROWS = 10_000
# of a model's folder, what tokenizers and limits are read from
READ_FROM = (".json", ".txt", ".model", ".jinja")
PACKAGES = ("septet", "tokenizers", "transformers")


def encoded(task: Any, processor: Any, rows: Sequence[Any], facts: dict[str, Any]) -> list[list[Example]]:
    """Return `task.encode(rows, processor)`, as it was kept where it was.

    Args:
        facts: JSON values; what the rows and the tokenizer depend on.
    """
    ours = type(task).__module__.startswith("septet.tasks.") and hasattr(processor, "backend_tokenizer")
    if len(rows) < LEAST_ROWS or not ours:
        return task.encode(rows, processor)
    path = cache.entry(KIND, {**facts, **_facts(task, processor)}).with_suffix(".safetensors")
    found = _read(cache.read_bytes(path))
    if found is None or len(found) != len(rows):
        found = task.encode(rows, processor)
        raw = _written(found)
        if raw is not None:
            cache.write_bytes(path, raw, most=MOST_BYTES)
    return found


def tokenizer_facts(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a model's folder that tokenizers and limits are read from."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.suffix in READ_FROM}


def _facts(task: Any, processor: Any) -> dict[str, Any]:
    """Return what examples depend on beside rows and tokenizer: the task with all it has learned, its code, and the versions."""
    code = [Path(inspect.getfile(type(task))), *sorted(Path(inputs.__file__).parent.glob("*.py"))]
    return {
        "format": FORMAT,
        "task": task.to_json(),
        # a template that a recipe names as a file is in the tokenizer alone
        "template": processor.chat_template,
        "code": {path.name: sha256(path) for path in code},
        "versions": {name: version(name) for name in PACKAGES},
    }


def _written(found: list[list[Example]]) -> bytes | None:
    """Return examples as bytes; None where they would not come back as they are."""
    examples = list(chain.from_iterable(found))
    names = list(examples[0].inputs) if examples else []
    told = [[example.row, example.target, example.size, example.meta] for example in examples]
    tables: dict[str, np.ndarray] = {"counts": np.array([len(each) for each in found], np.int32)}
    for name in names:
        values: list[Any] = [example.inputs.get(name) for example in examples]
        kind = type(values[0])
        if kind not in (list, np.ndarray) or any(type(value) is not kind for value in values):
            return None
        if kind is np.ndarray and any(value.ndim != 1 or value.dtype != np.int32 for value in values):
            return None  # pictures
        flat = np.array(list(chain.from_iterable(values))) if kind is list else np.concatenate(values)
        if kind is list and flat.dtype != np.int64:
            return None
        tables[f"{kind.__name__}.{name}"] = flat
        tables[f"ends.{name}"] = np.fromiter(accumulate(map(len, values)), np.int64, len(values))
    try:
        text = json.dumps([names, told], allow_nan=False)
    except (TypeError, ValueError):
        return None
    tables["told"] = np.frombuffer(text.encode(), np.uint8)
    return save(tables) if json.loads(text) == [names, told] else None


def _read(raw: bytes | None) -> list[list[Example]] | None:
    """Return the examples of some bytes; None where these hold none."""
    if raw is None:
        return None
    try:
        tables = load(raw)
        names, told = json.loads(tables["told"].tobytes())
        columns = [_values(tables, name) for name in names]
        examples = iter(
            [
                Example(row, dict(zip(names, values, strict=True)), target, size, meta)
                for (row, target, size, meta), *values in zip(told, *columns, strict=True)
            ]
        )
        return [[next(examples) for _ in range(count)] for count in tables["counts"].tolist()]
    except (SafetensorError, KeyError, ValueError):
        return None


def _values(tables: dict[str, np.ndarray], name: str) -> list[Any]:
    """Return what each example has of an input, as it was given: a list, or an array of its own."""
    stops = tables[f"ends.{name}"].tolist()
    spans = zip([0, *stops], stops, strict=False)
    if f"list.{name}" in tables:
        flat = tables[f"list.{name}"].tolist()
        return [flat[start:stop] for start, stop in spans]
    return [tables[f"ndarray.{name}"][start:stop].copy() for start, stop in spans]
