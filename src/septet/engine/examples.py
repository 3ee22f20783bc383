"""Encoded rows, kept in the user's cache: the same rows under the same tokenizer and task are tokenised once.

    found = encoded(task, processor, rows, sha256_of_the_split, folder_of_the_tokenizer)

What is kept is the whole of a split; a digest before it tells a damaged file, which counts as absent. Few rows are tokenised sooner than
looked up, and so are never kept; nor are the examples of a task of someone else's, whose code may read what no key knows of, nor pictures,
which lie in files of their own.
"""

from __future__ import annotations

import inspect
import json
from array import array
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
FORMAT = 2
# of all files together
MOST_BYTES = 4 << 30
# rows that take about a second to tokenise, and a tenth of it to read
LEAST_ROWS = 10_000
# of a model's folder, what tokenizers and limits are read from
READ_FROM = (".json", ".txt", ".model", ".jinja")
PACKAGES = ("septet", "tokenizers", "transformers")


def encoded(task: Any, processor: Any, rows: Sequence[Any], split: str | None, folder: Path) -> list[list[Example]]:
    """Return `task.encode(rows, processor)`, as it was kept where it was.

    Args:
        split: sha256 of the rows; None where there are none.
        folder: that the tokenizer was read from.
    """
    ours = type(task).__module__.startswith("septet.tasks.") and hasattr(processor, "backend_tokenizer")
    if len(rows) < LEAST_ROWS or not ours:
        return task.encode(rows, processor)
    path = cache.entry(KIND, {"rows": split, **_facts(task, processor, folder)}).with_suffix(".safetensors")
    found = _read(cache.read_bytes(path))
    if found is None or len(found) != len(rows):
        found = task.encode(rows, processor)
        raw = _written(found)
        if raw is not None:
            cache.write_bytes(path, raw, most=MOST_BYTES)
    return found


def _facts(task: Any, processor: Any, folder: Path) -> dict[str, Any]:
    """Return what examples depend on beside the rows: the tokenizer's files, the task with all it has learned, its code, and the versions."""
    code = [Path(inspect.getfile(type(task))), *sorted(Path(inputs.__file__).parent.glob("*.py"))]
    return {
        "format": FORMAT,
        "tokenizer": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.suffix in READ_FROM},
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
    tables: dict[str, np.ndarray] = {
        "counts": np.fromiter(map(len, found), np.int32, len(found)),
        "rows": np.fromiter((example.row for example in examples), np.int64, len(examples)),
        "sizes": np.fromiter((example.size for example in examples), np.int32, len(examples)),
    }
    for name in names:
        values: list[Any] = [example.inputs.get(name) for example in examples]
        kind = type(values[0])
        if kind not in (list, np.ndarray) or any(type(value) is not kind for value in values):
            return None
        ends = np.fromiter(accumulate(map(len, values)), np.int64, len(values))
        if kind is list:
            flat = _joined(values)
            if flat is None:
                return None
        elif any(value.ndim != 1 or value.dtype != np.int32 for value in values):
            return None  # pictures
        else:
            flat = np.concatenate(values)
        tables[f"{kind.__name__}.{name}"] = flat
        tables[f"ends.{name}"] = ends
    # few differ: most rows of a label are cut nowhere
    known: dict[str, int] = {}
    try:
        told = [json.dumps([example.target, example.meta], allow_nan=False) for example in examples]
    except (TypeError, ValueError):
        return None
    tables["told"] = np.fromiter((known.setdefault(each, len(known)) for each in told), np.int64, len(told))
    firsts = np.unique(tables["told"], return_index=True)[1]
    if any(json.loads(told[i]) != [examples[i].target, examples[i].meta] for i in firsts):
        return None
    tables["texts"] = np.frombuffer(json.dumps([names, list(known)]).encode(), np.uint8)
    return save(tables)


def _joined(values: list[list[Any]]) -> np.ndarray | None:
    """Return lists of whole numbers end to end; None where they hold anything else."""
    joined = array("q")
    if any(type(each) is bool for each in values[0]):
        return None
    try:
        for each in values:
            joined.extend(each)
    except TypeError:
        return None
    flat = np.frombuffer(joined, np.int64)
    small = flat.astype(np.int32)
    return small if np.array_equal(small, flat) else flat


def _read(raw: bytes | None) -> list[list[Example]] | None:
    """Return the examples of some bytes; None where these hold none."""
    if raw is None:
        return None
    try:
        tables = load(raw)
        names, known = json.loads(tables["texts"].tobytes())
        columns = [_values(tables, name) for name in names]
        texts = [json.loads(each) for each in known]
        told = (texts[place] for place in tables["told"].tolist())
        examples = iter(
            [
                Example(row, dict(zip(names, values, strict=True)), target, size, dict(meta))
                for row, size, (target, meta), *values in zip(
                    tables["rows"].tolist(), tables["sizes"].tolist(), told, *columns, strict=True
                )
            ]
        )
        return [[next(examples) for _ in range(count)] for count in tables["counts"].tolist()]
    except (SafetensorError, KeyError, ValueError, IndexError):
        return None


def _values(tables: dict[str, np.ndarray], name: str) -> list[Any]:
    """Return what each example has of an input, as it was given: a list, or an array of its own."""
    stops = tables[f"ends.{name}"].tolist()
    spans = zip([0, *stops], stops, strict=False)
    if f"list.{name}" in tables:
        flat = tables[f"list.{name}"].tolist()
        return [flat[start:stop] for start, stop in spans]
    return [tables[f"ndarray.{name}"][start:stop].copy() for start, stop in spans]
