"""What the checks share: the error, the comparison, and what every part's file must have."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

_HEAVY = ("torch", "transformers", "peft", "sklearn")
_IMPORT = """
import importlib.util, sys
if {path!r}:
    spec = importlib.util.spec_from_file_location("part", {path!r})
    module = importlib.util.module_from_spec(spec)
    sys.modules["part"] = module
    spec.loader.exec_module(module)
else:
    __import__({name!r})
print(",".join(name for name in {heavy!r} if name in sys.modules))
"""


class ContractError(AssertionError):
    """A part breaks a promise of its contract.

    Args:
        what: the promise.
        expected: what keeping it looks like.
        received: what was found.
    """

    def __init__(self, what: str, *, expected: object, received: object):
        self.what, self.expected, self.received = what, expected, received
        super().__init__(f"{what}\n  expected: {expected}\n  received: {str(received)[:400]}")


def require(kept: bool, what: str, *, expected: object, received: object) -> None:
    """Raise `ContractError` unless the promise is kept."""
    if not kept:
        raise ContractError(what, expected=expected, received=received)


def check_file(module: ModuleType) -> None:
    """A part's file says what it is, documents every option, and can be read without torch."""
    first = (module.__doc__ or "").strip().split("\n")[0]
    require(
        len(first) > 10,
        "The file's docstring has a first line: its entry in `septet list`.",
        expected="one sentence",
        received=repr(first),
    )
    options = getattr(module, "Options", None)
    if options is not None:
        check_options(options)
    found = _imports(module)
    require(
        not found,
        "The file is readable without heavy packages: they are imported inside functions.",
        expected=f"none of {', '.join(_HEAVY)}",
        received=found,
    )


def check_options(options: Any) -> None:
    """Every option is described, and an unknown one is refused."""
    require(bool((options.__doc__ or "").strip()), "Options has a docstring.", expected="one sentence", received="none")
    for name, field in options.model_fields.items():
        require(
            bool(field.description),
            f"The option {name} is documented.",
            expected="a description: meaning, unit, range, when to change it",
            received="none",
        )
    require(
        options.model_config.get("extra") == "forbid",
        "Options refuses unknown keys.",
        expected='extra="forbid"',
        received=options.model_config.get("extra"),
    )


def _imports(module: ModuleType) -> str:
    path = module.__file__ or ""
    inside = module.__name__.startswith("septet.")
    code = _IMPORT.format(path="" if inside else path, name=module.__name__, heavy=_HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    require(
        done.returncode == 0, "The file imports in a fresh process.", expected="no error", received=done.stderr[-400:]
    )
    return done.stdout.strip()
