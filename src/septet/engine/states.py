"""The file of a frozen part's hidden states: written in order, found by a key, checked by its hash, read where it lies.

A file is safetensors, with one tensor `states` (N, H). Beside it a JSON file of the same name says what it is of, and its sha256; it is written last,
so that states without it, or with another hash, count as absent. The folder is the user's cache (`septet/cache.py`), where a second run
over the same rows finds them. What was used longest ago goes when a new file needs the room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from septet import cache
from septet.run import write_atomic

KIND = "frozen"
# bytes of all files together, and the share of the free disk that a new one may take
MOST_BYTES, FREE_SHARE = 32 << 30, 0.5
# a file that is being written and has not grown for so long belongs to a process that was killed
ABANDONED_S = 24 * 3600
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


class StatesFile:
    """The states of some examples under one model, in the user's cache.

    Args:
        facts: JSON values; all that the states depend on.
        shape: rows and width of the table.
        dtype: of the states.
    """

    def __init__(self, facts: dict[str, Any], shape: tuple[int, int], dtype: torch.dtype):
        self.about = cache.entry(KIND, facts)
        self.path = self.about.with_suffix(".safetensors")
        self.facts = facts
        self.shape = shape
        self.dtype = dtype

    def read(self) -> torch.Tensor | None:
        """Return the table, mapped into memory; None where there is none, or none whole."""
        try:
            known = json.loads(self.about.read_text())
            if known["facts"] != self.facts or self.path.stat().st_size != known["bytes"]:
                return None
            if _sha256(self.path) != known["sha256"]:
                return None
            os.utime(self.about)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        header = self._header()
        kept = np.memmap(self.path, np.uint8, mode="c", offset=len(header))
        return torch.from_numpy(kept).view(self.dtype).view(self.shape)

    def write(self, parts: Iterable[torch.Tensor]) -> None:
        """Write the table from its rows, in parts.

        Raises:
            OSError: there is no room, or no permission.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(self.path.parent, bytes_of(self.shape, self.dtype))
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        digest = hashlib.sha256()
        size = 0
        try:
            with temporary.open("wb") as file:
                for chunk in self._chunks(parts):
                    digest.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            self.about.unlink(missing_ok=True)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        about = {"facts": self.facts, "bytes": size, "sha256": digest.hexdigest()}
        write_atomic(self.about, (json.dumps(about, indent=1) + "\n").encode())

    def _header(self) -> bytes:
        size = bytes_of(self.shape, self.dtype)
        entry = {"dtype": NAMES[self.dtype], "shape": list(self.shape), "data_offsets": [0, size]}
        text = json.dumps({"states": entry}).encode()
        text += b" " * (-(len(text) + 8) % 64)
        return struct.pack("<Q", len(text)) + text

    def _chunks(self, parts: Iterable[torch.Tensor]) -> Iterable[bytes]:
        yield self._header()
        for part in parts:
            yield part.to("cpu", self.dtype).contiguous().view(torch.uint8).numpy().tobytes()


def bytes_of(shape: tuple[int, int], dtype: torch.dtype) -> int:
    """Return the bytes of a table."""
    return shape[0] * shape[1] * dtype.itemsize


def no_room(needed: int) -> str:
    """Return why so many bytes cannot be kept; empty where they can."""
    if needed > MOST_BYTES:
        return f"{needed / 2**30:.1f} GiB of states are more than the {MOST_BYTES >> 30} GiB that are kept"
    place = cache.folder(KIND)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > FREE_SHARE * free:
        return f"{needed / 2**30:.1f} GiB of states are more than half of the {free / 2**30:.1f} GiB that are free at {place}"
    return ""


def _sweep(folder: Path, needed: int) -> None:
    """Remove what was used longest ago until a new file fits, and what killed processes left."""
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                left.unlink()
    kept = []
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):
            about = path.with_suffix(".json")
            used = about.stat().st_mtime if about.exists() else path.stat().st_mtime
            kept.append((used, path.stat().st_size, path))
    total = needed + sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= MOST_BYTES:
            return
        with contextlib.suppress(OSError):
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink()
            total -= size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
