"""Where the seconds of a run go: one clock that always runs for exactly one part, so that the parts add up to the whole.

    timer = Timer()
    with timer("validation"):
        ...                      # what is timed within stops the outer part: every second counts once

Reading the clock costs less than a microsecond a change. A GPU works behind the program's back: its work counts where the program next waits
for it, unless `sync` makes every change wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# of a step; of a run around its steps; and what is none of them
STEP_PARTS = ("data", "forward", "backward", "optimizer")
RUN_PARTS = (*STEP_PARTS, "validation", "saving", "setup", "frozen", "finish", "profile")
OTHER = "other"


class Timer:
    """Adds up the seconds of each part, in `spent`.

    Attributes:
        sync: waits for the accelerator; called at each change of part where it is set.
        scope: opens a scope for a tracer around each part, where it is set.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.sync: Callable[[], Any] | None = None
        self.scope: Callable[[str], Any] | None = None
        self._part = OTHER
        self._since = time.perf_counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what is done within as `part`."""
        outer = self._switch(part)
        try:
            if self.scope is None:
                yield
            else:
                with self.scope(part):
                    yield
        finally:
            self._switch(outer)

    def add(self, earlier: dict[str, float]) -> None:
        """Add what a run had spent before it was resumed."""
        for part, seconds in earlier.items():
            self.spent[part] = self.spent.get(part, 0.0) + seconds

    def settle(self) -> dict[str, float]:
        """Count the part under way up to now, and return a copy of the seconds."""
        self._switch(self._part)
        return dict(self.spent)

    def _switch(self, part: str) -> str:
        """Close the part under way, begin another, and return which one it was."""
        if self.sync is not None:
            self.sync()
        now = time.perf_counter()
        self.spent[self._part] = self.spent.get(self._part, 0.0) + now - self._since
        self._since = now
        outer, self._part = self._part, part
        return outer
