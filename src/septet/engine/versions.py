"""Versions: rows that an epoch shows as they are, or as one of their variants (`data.augment`).

Every draw of a row, with or without a `Mixture` below, is of the row itself or of one variant. Which one follows from seed, epoch, row and how often the epoch showed
it before, by a counter: nothing is remembered, so a resumed run and every rank draw the same. An epoch has as many draws as without variants.

Examples are numbered as the engine holds them: N rows, then their C variants. A draw is `example + time * (N + C)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from septet.engine.mixture import Mixture

_A, _B, _GOLD = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Versions:
    """What an epoch shows of which row.

    Args:
        rows: (N,) ids of the rows.
        owners: (C,) of each variant the place of its row, ascending.
        share: of the draws of a row with variants that are one of these.
        mixture: how often an epoch shows each row; None: once.
    """

    rows: Sequence[int]
    owners: Sequence[int]
    share: float
    mixture: Mixture | None = None

    @property
    def draws_per_epoch(self) -> int:
        return len(self.rows) if self.mixture is None else self.mixture.draws_per_epoch

    @property
    def means(self) -> np.ndarray:
        """(N + C,) float64: how often an epoch shows each example on average."""
        of_rows = np.ones(len(self.rows)) if self.mixture is None else self.mixture.means
        counts = self._counts
        kept = of_rows * np.where(counts > 0, 1 - self.share, 1.0)
        owners = np.asarray(self.owners, dtype=np.int64)
        return np.concatenate([kept, (of_rows * self.share / np.maximum(counts, 1))[owners]])

    def draws(self, seed: int, epoch: int) -> np.ndarray:
        """Return (M,) int64: the epoch's draws."""
        num = len(self.rows)
        of_rows = np.arange(num) if self.mixture is None else self.mixture.draws(seed, epoch)
        times, places = np.divmod(of_rows, num)
        chance = _chance(seed, epoch, np.asarray(self.rows, dtype=np.int64)[places], times)
        counts = self._counts[places]
        chosen = np.minimum((chance / self.share * counts).astype(np.int64), counts - 1)
        first = np.searchsorted(np.asarray(self.owners, dtype=np.int64), places)
        shown = np.where((chance < self.share) & (counts > 0), num + first + chosen, places)
        return shown + times * (num + len(self.owners))

    @cached_property
    def _counts(self) -> np.ndarray:
        """(N,) int64: variants of each row."""
        return np.bincount(np.asarray(self.owners, dtype=np.int64), minlength=len(self.rows))


def _chance(seed: int, epoch: int, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (M,) float64 from 0 to below 1: a hash of the four (the mixer of splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        word = _mixed(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) * _GOLD + np.uint64(epoch) + np.uint64(1))
        word = _mixed(word ^ rows.astype(np.uint64))
        word = _mixed(word + times.astype(np.uint64) * _GOLD)
    return (word >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(word: Any) -> Any:
    word = (word ^ (word >> np.uint64(30))) * _A
    word = (word ^ (word >> np.uint64(27))) * _B
    return word ^ (word >> np.uint64(31))
