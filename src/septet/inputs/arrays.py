"""Files as arrays of one shape: read when a batch needs them, and kept while there is room.

A value is the address of a picture or a recording (`data/address.py`). It stays an address until a batch needs its numbers, so that a run holds no more of them than
fit; those that were read are kept, up to half a gigabyte.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.errors import DataError, ModelError

if TYPE_CHECKING:
    import numpy as np

FILE = "preprocessor_config.json"
KEPT_BYTES = 512 << 20

Arrays = dict[str, "np.ndarray"]  # what a model is called with, by name


class Processor(ABC):
    """What makes a model's arrays of files: a processor of transformers, and those files that were read.

    A subclass says what the library takes of an address, and what it makes of several.
    """

    def __init__(self, library: Any):
        self.library = library
        self._kept: dict[str, Arrays] = {}
        self._room = KEPT_BYTES

    @abstractmethod
    def read(self, address: str) -> Any:
        """Return a file as the library takes it."""

    @abstractmethod
    def of(self, values: list[Any]) -> Arrays:
        """Return the arrays of files that were read, the first axis in their order."""

    @abstractmethod
    def decides(self) -> dict[str, Any]:
        """Return the fields of a new model's config that follow from the shape of the arrays."""

    def __call__(self, addresses: Sequence[str]) -> Arrays:
        """Return the arrays of files, the first axis in the order of the addresses."""
        import numpy as np

        missing = [address for address in dict.fromkeys(addresses) if address not in self._kept]
        found = self.of([self.read(address) for address in missing]) if missing else {}
        read = {address: {name: each[i] for name, each in found.items()} for i, address in enumerate(missing)}
        whole = [self._kept[a] if a in self._kept else read[a] for a in addresses]
        for address, arrays in read.items():
            size = sum(each.nbytes for each in arrays.values())
            if size <= self._room:
                self._kept[address] = arrays
                self._room -= size
        return {name: np.stack([each[name] for each in whole]) for name in whole[0]}


def config_of(folder: str, what: str, hint: str) -> dict[str, Any]:
    """Return the config of a model folder's processor.

    Args:
        what: the files that the processor is of.

    Raises:
        ModelError: the folder has none, or it cannot be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise ModelError(f"The model folder has no {FILE}, so the model reads no {what}.", where=folder, hint=hint)
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise ModelError(f"{FILE} is not valid JSON: {error}", where=str(path)) from error
    return found


def unusable(path: Path, error: Exception) -> ModelError:
    """Return the error of a processor that transformers cannot open."""
    return ModelError(f"{FILE} cannot be used: {type(error).__name__}: {str(error)[:200]}", where=str(path))


def check_same(saved: Arrays, given: Arrays, what: str, folder: Path) -> None:
    """Check that a processor gives the same numbers once it is read back.

    Raises:
        ModelError: it does not.
    """
    import numpy as np

    if saved.keys() != given.keys() or not all(np.array_equal(saved[name], given[name]) for name in saved):
        raise ModelError(f"The {what} gives other numbers after saving than it gave in training.", where=str(folder))


def address_of(value: Any, where: str, what: str) -> str:
    """Return a value as the address of a file.

    Raises:
        DataError: it is not a path.
    """
    if not isinstance(value, str):
        raise DataError(f"The path of a {what} was expected.", where=where, received=value)
    return value


def tensors(arrays: Arrays) -> dict[str, Any]:
    """Return arrays as tensors."""
    import torch

    return {name: torch.from_numpy(each) for name, each in arrays.items()}
