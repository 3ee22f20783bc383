"""Learning-rate schedules: a factor of the peak rate for each step."""

from __future__ import annotations

import math

KINDS = ("linear", "cosine", "constant")


def warmup_steps(warmup: float, total: int) -> int:
    """Return the steps of warm-up: a share of all steps below 1, else a number of steps."""
    return math.ceil(warmup * total) if warmup < 1 else min(int(warmup), total)


def factor(kind: str, step: int, total: int, warmup: int) -> float:
    """Return the factor of step `step` (0-based): linear from 0 to 1 over the warm-up, then down to 0 (constant: stays 1).

    The first step after a warm-up of w steps has factor 1, the step after the last would have 0, as in transformers' schedules.
    """
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    if kind == "linear":
        return max(0.0, 1.0 - done)
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return 1.0
