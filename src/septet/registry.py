"""Names to files: `tasks/classify.py` is `task: classify`.

Each kind of part (task, input, method, optimizer, metric, baseline, export, augmenter) is a folder; a file in it is one part and its
name is the registered name. Nothing is listed by hand. Others add theirs through an entry point of the group
`septet.<kind>` or with `--code file.py` (the file sets `kind = "task"`; its stem is the name).

A part is a module with a class named after the file in camel case (`methods/lora.py` → `Lora`) and, where it has
options, a pydantic model `Options`. Both can be read without importing torch. The first line of the module's docstring is its entry in
`septet list`. Metrics are smaller than files: each function marked with `@metric` in `metrics/` is one, under its own name.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from septet.errors import UsageError

FOLDERS = {
    "task": "tasks",
    "input": "inputs",
    "method": "methods",
    "optimizer": "optimizers",
    "metric": "metrics",
    "baseline": "baselines",
    "export": "exports",
    "augmenter": "augmenters",
}


@dataclass(frozen=True, slots=True)
class Code:
    """A plug-in file given with `--code`: its kind, its name, and the hash an artifact remembers."""

    kind: str
    name: str
    sha256: str
    module: ModuleType


_codes: dict[tuple[str, str], Code] = {}


def names(kind: str) -> list[str]:
    """Return every registered name of a kind, sorted.

    Raises:
        UsageError: there is no such kind.
    """
    found = set(_own(kind))
    found |= set(_entries(kind))
    found |= {name for k, name in _codes if k == kind}
    return sorted(found)


def module(kind: str, name: str) -> ModuleType:
    """Return the module registered under `name`.

    Raises:
        UsageError: unknown kind or name; the nearest names are given.
    """
    folder = _folder(kind)
    if (kind, name) in _codes:
        return _codes[kind, name].module
    if name in _entries(kind):
        return _entries(kind)[name].load()
    own = _own(kind)
    if name not in own:
        raise UsageError(
            f"There is no {kind} named {name!r}.", hint=suggest(name, names(kind)) or f"septet list {kind}"
        )
    return importlib.import_module(f"septet.{folder}.{own[name]}")


def part(kind: str, name: str) -> Any:
    """Return the class of a part: the one named after its file, in camel case. A metric is the function of its name."""
    owner = module(kind, name)
    wanted = name if kind == "metric" else "".join(word.capitalize() for word in name.split("_"))
    found = getattr(owner, wanted, None)
    if found is None:
        raise UsageError(
            f"The {kind} file {owner.__name__} must define a {'function' if kind == 'metric' else 'class'} {wanted}."
        )
    return found


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's docstring."""
    owner = part(kind, name) if kind == "metric" else module(kind, name)
    return (owner.__doc__ or "").strip().split("\n")[0]


def load_code(path: str | Path) -> Code:
    """Register the part in a user's file and return it.

    Raises:
        UsageError: the file is missing, does not import, or does not say which kind it is.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("--code names a file that is not there.", where=str(path))
    spec = importlib.util.spec_from_file_location(f"septet_code_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError("--code takes a Python file.", where=str(path))
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise UsageError(
            f"The file given with --code does not import: {type(error).__name__}: {error}", where=str(path)
        ) from error
    kind = getattr(loaded, "kind", None)
    if kind not in FOLDERS:
        raise UsageError(f"A --code file sets kind to one of {', '.join(FOLDERS)}.", where=str(path), received=kind)
    code = Code(kind, path.stem, hashlib.sha256(path.read_bytes()).hexdigest(), loaded)
    _codes[kind, path.stem] = code
    return code


def codes() -> list[Code]:
    """Return the plug-in files loaded so far."""
    return list(_codes.values())


def suggest(name: str, known: list[str]) -> str | None:
    """Return a did-you-mean line with up to three near names, or None."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else None


@functools.cache
def _entries(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    """Return the parts that installed packages add; finding them reads a file of every package, hence once."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=f"septet.{kind}")}


def _own(kind: str) -> dict[str, str]:
    """Return our own names of a kind and the module of each; a metric is a function marked with `@metric`, any other part a file."""
    package = importlib.import_module(f"septet.{_folder(kind)}")
    files = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    if kind != "metric":
        return {file: file for file in files}
    found = {}
    for file in files:
        owner = importlib.import_module(f"septet.metrics.{file}")
        found |= {
            name: file
            for name, value in vars(owner).items()
            if hasattr(value, "better") and value.__module__ == owner.__name__
        }
    return found


def _folder(kind: str) -> str:
    if kind not in FOLDERS:
        raise UsageError(
            f"There is no kind of part named {kind!r}.", hint=suggest(kind, list(FOLDERS)) or ", ".join(FOLDERS)
        )
    return FOLDERS[kind]
