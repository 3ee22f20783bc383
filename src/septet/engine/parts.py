"""Tensors of a checkpoint that several processes have written, each its rows, and any number of processes reads, each what it needs.

`index.json` says for each tensor its shape and which rows of it lie in which file; the files are plain safetensors. A checkpoint without an
index has one file with whole tensors, and is read the same way. Numbers without an axis are alike on all processes and written by the leading one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

INDEX = "index.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Share:
    """Which rows of each tensor one of several processes holds: as FSDP2 cuts the first axis, in equal runs but for the last ones.

    Args:
        rank, world: which of how many processes.
    """

    rank: int
    world: int

    def rows(self, size: int, rank: int | None = None) -> tuple[int, int]:
        """Return the first row and the one after the last, of this process or another; both are the same where it has none."""
        each = -(-size // self.world)
        first = (self.rank if rank is None else rank) * each
        return min(first, size), min(first + each, size)

    def file(self, kind: str, rank: int | None = None) -> str:
        """Return the name of the file that a process writes."""
        return f"{kind}-{(self.rank if rank is None else rank) + 1:05d}-of-{self.world:05d}.safetensors"

    def own(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what this process writes of its tensors."""
        return {name: t for name, t in tensors.items() if (len(t) if t.dim() else self.rank == 0)}


@dataclass(frozen=True, slots=True)
class Cut:
    """How the tensors of a model lie over the files of its processes.

    Args:
        share: of this process.
        sizes: rows of each whole parameter.
    """

    share: Share
    sizes: Mapping[str, int]

    def index(self, kinds: Mapping[str, Mapping[str, torch.Tensor]]) -> bytes:
        """Return `index.json` for masters by name, and for moments by `<what>.<name>`, of which this process holds its rows."""
        record: dict[str, Any] = {"format": FORMAT, "processes": self.share.world}
        for kind, tensors in kinds.items():
            record[kind] = {key: self._entry(kind, key, tensor) for key, tensor in tensors.items()}
        return json.dumps(record).encode() + b"\n"

    def _entry(self, kind: str, key: str, tensor: torch.Tensor) -> dict[str, Any]:
        share = self.share
        if not tensor.dim():
            return {"shape": [], "parts": [{"file": share.file(kind, 0)}]}
        size = self.sizes[key if key in self.sizes else key.partition(".")[2]]
        cuts = [(rank, *share.rows(size, rank)) for rank in range(share.world)]
        parts = [{"file": share.file(kind, rank), "rows": [a, b]} for rank, a, b in cuts if b > a]
        return {"shape": [size, *tensor.shape[1:]], "parts": parts}


class Stored(Mapping[str, torch.Tensor]):
    """The tensors of one kind in a committed folder, read when they are asked for.

    Args:
        folder: whole, as `durable.damage` has found.
        kind: `masters` or `optimizer`.
    """

    def __init__(self, folder: Path, kind: str):
        self._folder = folder
        self._files: dict[str, Any] = {}
        index = folder / INDEX
        if index.exists():
            self._entries = json.loads(index.read_text())[kind]
        else:
            file = f"{kind}.safetensors"
            self._entries = {
                name: {"shape": self._open(file).get_slice(name).get_shape(), "parts": [{"file": file}]}
                for name in self._open(file).keys()  # noqa: SIM118  (an opened file is no mapping)
            }

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> torch.Tensor:
        shape = self.shape(name)
        return self.rows(name, 0, shape[0]) if shape else self._open(self._parts(name)[0]["file"]).get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a whole tensor; nothing of it is read."""
        return tuple(self._entries[name]["shape"])

    def rows(self, name: str, first: int, end: int) -> torch.Tensor:
        """Return rows of a tensor, from `first` up to and without `end`; no other bytes are read."""
        size, parts = self.shape(name)[0], self._parts(name)
        if first == end:
            return self._open(parts[0]["file"]).get_slice(name)[0:0]
        found = []
        for part in parts:
            start, stop = part.get("rows", (0, size))
            a, b = max(first, start), min(end, stop)
            if a < b:
                found.append(self._open(part["file"]).get_slice(name)[a - start : b - start])
        return found[0] if len(found) == 1 else torch.cat(found)

    def _parts(self, name: str) -> list[dict[str, Any]]:
        return self._entries[name]["parts"]

    def _open(self, file: str) -> Any:
        if file not in self._files:
            from safetensors import safe_open

            self._files[file] = safe_open(str(self._folder / file), framework="pt")
        return self._files[file]


def rows_of(saved: Mapping[str, torch.Tensor], name: str, first: int, end: int) -> torch.Tensor:
    """Return rows of a tensor, read alone where it lies in a file."""
    return saved.rows(name, first, end) if isinstance(saved, Stored) else saved[name][first:end]


def shape_of(saved: Mapping[str, torch.Tensor], name: str) -> tuple[int, ...]:
    """Return the shape of a tensor, without reading it where it lies in a file."""
    return saved.shape(name) if isinstance(saved, Stored) else tuple(saved[name].shape)
