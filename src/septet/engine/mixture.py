"""The mixture: how often an epoch shows each example, where several corpora are learned from with weights.

A source of n examples and weight w gives an epoch n * w of them, rounded to a whole number, and one at least. All are shown equally
often, and those of the rest once more: they are a stretch of the source's own shuffled order, which the next epoch goes on with, so that
no example is in the rest again before all others were. Everything follows from seed, epoch and place; nothing is remembered, and every
epoch of a run has the same length.

A *draw* is one showing of an example: the number `example + time * N`, where `time` is 0 when the epoch shows it first, and N is how
many examples there are. So without weights a draw is the place of its example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_MASK63 = (1 << 63) - 1
_APART = 0xD1B54A32D192ED03  # an odd multiplier, of bits unlike those that keep the windows of a row apart


@dataclass(frozen=True, eq=False)
class Mixture:
    """What an epoch shows of which source.

    Args:
        sources: (N,) the source of each example, counted from 0.
        weights: of each source: how often an epoch shows each of its examples on average, above 0.
    """

    sources: Sequence[int] | np.ndarray
    weights: Sequence[float]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S,) int64: examples of each source."""
        return np.bincount(np.asarray(self.sources, dtype=np.int64), minlength=len(self.weights))

    @cached_property
    def shown(self) -> np.ndarray:
        """(S,) int64: draws an epoch takes of each source."""
        wanted = np.floor(self.sizes * np.asarray(self.weights, dtype=np.float64) + 0.5).astype(np.int64)
        return np.where(self.sizes > 0, np.maximum(wanted, 1), 0)

    @property
    def draws_per_epoch(self) -> int:
        return int(self.shown.sum())

    @property
    def means(self) -> np.ndarray:
        """(N,) float64: how often an epoch shows each example on average."""
        return (self.shown / np.maximum(self.sizes, 1))[np.asarray(self.sources, dtype=np.int64)]

    def draws(self, seed: int, epoch: int) -> np.ndarray:
        """Return (M,) int64: the epoch's draws, in the order of the examples."""
        num = len(self.sources)
        counts = self._counts(seed, epoch)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        times = np.arange(len(first)) - first
        return np.repeat(np.arange(num), counts) + times * num

    def _counts(self, seed: int, epoch: int) -> np.ndarray:
        """Return (N,) int64: how often this epoch shows each example."""
        sources = np.asarray(self.sources, dtype=np.int64)
        counts = (self.shown // np.maximum(self.sizes, 1))[sources]
        for source, (size, shown) in enumerate(zip(self.sizes.tolist(), self.shown.tolist(), strict=True)):
            rest = shown % size if size else 0
            if rest:
                # a stream of its own: that of [seed, epoch] is the epoch's shuffle
                shuffles = np.random.SeedSequence(seed, spawn_key=(source,))
                order = np.random.Generator(np.random.PCG64(shuffles)).permutation(np.flatnonzero(sources == source))
                counts[order[(epoch * rest + np.arange(rest)) % size]] += 1
        return counts


def again(row: int, time: int) -> int:
    """Return the id by which an epoch's randomness knows a row that it shows for the `time`-th time, counted from 0."""
    return row ^ (time * _APART & _MASK63)
