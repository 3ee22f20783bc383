"""Septet: the seven stages of fine-tuning, from one recipe.

    import septet

    result = septet.train("recipe.yaml", "train.lr=1e-4", data={"train": table})
    septet.load("runs/first/model").predict(["Where is my parcel?"])

The verbs of the command line are functions here, documented in `septet.api`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# PyTorch then asks for huge pages for its tensors, if nothing of it was used before; a step is some 5 % faster (docs/why.md)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from septet.api import (
        check,
        deploy,
        evaluate,
        init,
        label,
        list,
        load,
        model_path,
        monitor,
        predict,
        prepare,
        run,
        serve,
        tokenizer,
        train,
    )
    from septet.recipe import Recipe

    __version__: str

__all__ = [
    "Recipe",
    "__version__",
    "check",
    "deploy",
    "evaluate",
    "init",
    "label",
    "list",
    "load",
    "model_path",
    "monitor",
    "predict",
    "prepare",
    "run",
    "serve",
    "tokenizer",
    "train",
]

# a verb is a file too (`septet/train.py`), and importing a file sets it as an attribute of the package: so the file can be called
_VERBS = {
    "check",
    "deploy",
    "evaluate",
    "init",
    "label",
    "monitor",
    "predict",
    "prepare",
    "run",
    "serve",
    "tokenizer",
    "train",
}


class _Verb(ModuleType):
    """The module of a verb; calling it is calling the function of `septet.api`."""

    @property
    def __wrapped__(self) -> Any:
        from septet import api

        return getattr(api, self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


class _Package(ModuleType):
    """The package; makes the modules of verbs callable as they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and isinstance(value, ModuleType):
            value.__class__ = _Verb
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("septet")
    if name == "Recipe":
        return importlib.import_module("septet.recipe").Recipe
    if name in _VERBS:
        return importlib.import_module(f"septet.{name}")
    if name in __all__:
        return getattr(importlib.import_module("septet.api"), name)
    raise AttributeError(f"module 'septet' has no attribute {name!r}")


def __dir__() -> Any:
    return sorted(__all__)


sys.modules[__name__].__class__ = _Package
