"""Checkpoints and best weights straight into a folder: what the thread of `septet/engine/writer.py` commits, without run and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from septet import durable
from septet.engine import state as states


def save(folder: Path, state: states.TrainState, masters: Mapping[str, Any], moments: Mapping[str, Any]) -> None:
    """Commit a checkpoint."""
    durable.commit(states.checkpoint_folder(folder, state.step), states.checkpoint_files(state, masters, moments))


def save_best(folder: Path, masters: Mapping[str, Any], facts: dict[str, Any]) -> None:
    """Commit the weights of a validation."""
    durable.commit(states.best_folder(folder, facts["step"]), states.best_files(masters, facts))
