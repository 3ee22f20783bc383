"""The arithmetic of speed: what counts, over which time, and how repeats are put together. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.jobs import WARMUP_UPDATES


@dataclass(frozen=True, slots=True)
class Timing:
    """What was done after the warm-up updates, and the time it took, loading of rows included.

    Args:
        padded: tokens with padding; 0 where the side does not tell.
    """

    updates: int
    rows: int
    tokens: int
    padded: int
    seconds: float

    @classmethod
    def of(cls, ends: Sequence[float], made: Sequence[tuple[int, int, int]], *, warmup: int = WARMUP_UPDATES) -> Timing:
        """Return the timing from the end of the last warm-up update to the end of the last one.

        Args:
            ends: clock at the end of each update.
            made: (rows, real tokens, padded tokens) of each update, in order; what was made beyond the last update is left out.

        Raises:
            ValueError: no update is left after the warm-up.
        """
        if len(ends) <= warmup:
            raise ValueError(f"{len(ends)} updates leave none after {warmup} for warm-up: use more rows")
        counted = made[warmup : len(ends)]
        rows, tokens, padded = (sum(column) for column in zip(*counted, strict=True))
        return cls(len(counted), rows, tokens, padded, ends[-1] - ends[warmup - 1])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rows_per_s": self.rows / self.seconds, "tokens_per_s": self.tokens / self.seconds}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeats, with the least and the most."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def examples_per_s(timing: dict[str, Any], tokens_per_row: float) -> float:
    """Return real tokens a second as rows of mean length a second.

    Counted by tokens, because a side that begins with its longest rows would gain when the first updates are left out.
    """
    return timing["tokens"] / timing["seconds"] / tokens_per_row


def ceiling_share(examples: float, *, tokens_per_row: float, flops_per_token: float, gflops: float) -> float:
    """Return the share of the machine's measured rate that went into real tokens, 0 to 1."""
    return examples * tokens_per_row * flops_per_token / (gflops * 1e9)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours / theirs, repeat by repeat: what ran beside each other is compared with each other."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
