"""How a verb tells what it is doing: it calls `listen(event, **facts)`; whoever called the verb decides what to show.

Events: `run` (path) · `stage` (name) · `progress` (what, done, total) · `step` (step, total, loss, lr, tokens_per_s, share, left_s) ·
`evaluation` (step, epoch, scores) · `finding` (finding) · `note` (text).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Listen = Callable[..., None]


def quiet(event: str, **facts: Any) -> None:
    """Show nothing."""
