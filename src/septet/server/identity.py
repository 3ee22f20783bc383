"""Which model answered: the name and the hash that answers, metrics and the request log carry."""

from __future__ import annotations

import hashlib
from pathlib import Path


def model_name(folder: Path) -> str:
    """Return how a model is called: its run's folder, or its own."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def model_hash(folder: Path) -> str:
    """Return 16 hexadecimal digits that change when any file of the artifact does."""
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()[:16]
