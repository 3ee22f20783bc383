"""Vectors of sets of texts, kept in the user's cache: the same texts under the same model are embedded once.

`KeptFeatures(folder).encode(texts)` is `Features(folder).encode(texts)`, and loads the model only where these texts, in this order, are
new. A set is kept whole and not text by text: a vector depends in its last bits on what it was batched with, and so what is decided from vectors
would depend on what else this machine has embedded before. What was used longest ago goes when the room is needed.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from septet import cache
from septet.progress import Listen, quiet

KIND = "vectors"
MOST_BYTES = 4 << 30  # of all files together


class KeptFeatures:
    """An untouched checkpoint as an encoder of texts; see `Features`.

    Args:
        folder: the model's.
        max_length: tokens kept of a text.
        device: where to run; the CPU when None.
    """

    def __init__(self, folder: Path, *, max_length: int = 128, device: str | None = None):
        self.folder = folder
        self.max_length = max_length
        self.device = device
        self._features: Any = None

    def encode(self, texts: list[Any], listen: Listen = quiet) -> np.ndarray:
        """Return (N, H) float32 vectors in the order of the texts."""
        path = self._path(texts)
        found = _read(path, len(texts))
        if found is None:
            found = self._embed(texts, listen)
            _write(path, found)
        return found

    def _embed(self, texts: list[Any], listen: Listen) -> np.ndarray:
        from septet.model.features import Features

        if self._features is None:
            self._features = Features(self.folder, max_length=self.max_length, device=self.device)
        return self._features.encode(texts, listen)

    def _path(self, texts: list[Any]) -> Path:
        files = [
            (each.name, each.stat().st_size, each.stat().st_mtime_ns)
            for each in sorted(self.folder.iterdir())
            if each.suffix in (".safetensors", ".json", ".txt", ".model")
        ]
        facts = [str(self.folder.resolve()), files, self.max_length, self.device, texts]
        key = hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=16)
        return cache.folder(KIND) / f"{key.hexdigest()}.npy"


def _read(path: Path, rows: int) -> np.ndarray | None:
    """Return the vectors of a file; None where there is none, or none whole."""
    raw = cache.read_bytes(path)
    if raw is None:
        return None
    try:
        found = np.load(io.BytesIO(raw), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if len(found) == rows else None


def _write(path: Path, vectors: np.ndarray) -> None:
    """Keep vectors; where the cache cannot be written, nothing is kept."""
    buffer = io.BytesIO()
    np.save(buffer, vectors.astype(np.float32, copy=False), allow_pickle=False)
    cache.write_bytes(path, buffer.getvalue(), most=MOST_BYTES)
