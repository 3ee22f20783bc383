"""Measurements of this machine, kept in the cache so that a run starts at once.

A measurement belongs to the machine, the versions that compute, and the shapes. One that was taken while the machine was busy must not
rule for ever: each of the first `SETTLED` runs measures again and the best counts, and after `DAYS` days all is measured anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from septet import cache
from septet.engine.machine import cores, cpu_flags, cpu_name, version

FOLDER = "measured"
SETTLED, DAYS = 3, 30


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures, and where they come from.

    Args:
        figures: name -> figure.
        told: `measured now`, or when they were measured and where they are kept.
    """

    figures: dict[str, float]
    told: str


def measured(
    kind: str, facts: Mapping[str, Any], measure: Callable[[], dict[str, float]], *, better: Callable[..., float] = max
) -> Measured:
    """Return the best figures of this machine for these facts: those that are kept, or measured now and kept.

    Args:
        kind: what is measured.
        facts: the shapes, beside what `fingerprint` says.
        measure: takes the figures, the same names each time.
        better: `max` for rates, `min` for times.
    """
    key = {"kind": kind, **fingerprint(), **facts}
    kept = _whole(cache.read(FOLDER, key))
    if kept is not None and len(kept["days"]) >= SETTLED:
        return Measured(
            kept["figures"],
            f"measured on {kept['days'][-1]}, kept in {cache.folder(FOLDER)}: remove it to measure anew",
        )
    found = measure()
    before = kept or {"figures": found, "days": [], "time": time.time()}
    figures = {name: better(value, before["figures"].get(name, value)) for name, value in found.items()}
    days = [*before["days"], time.strftime("%Y-%m-%d")]
    cache.write(FOLDER, key, {"figures": figures, "days": days, "time": before["time"]})
    before_now = {0: "", 1: " and once before"}.get(len(days) - 1, f" and {len(days) - 1} times before")
    return Measured(figures, f"measured now{before_now}")


def fingerprint() -> dict[str, Any]:
    """Return what a measurement of this machine depends on beside its shapes."""
    return {
        "cpu": cpu_name(),
        "flags": cpu_flags(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


def _whole(kept: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a kept entry that has its form and is not too old."""
    if kept is None:
        return None
    figures, days, taken = kept.get("figures"), kept.get("days"), kept.get("time")
    if not isinstance(figures, dict) or not isinstance(days, list) or not isinstance(taken, (int, float)):
        return None
    young = 0 <= time.time() - taken < DAYS * 86400
    return kept if young and all(isinstance(value, (int, float)) for value in figures.values()) else None
