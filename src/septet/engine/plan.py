"""The planner: one deterministic function from lengths, seed and epoch to the groups and micro-batches of training.

A group is what one update sees: `batch` rows of a shuffled epoch, from the recipe. A token budget only splits a group into
micro-batches of rows of like length, so that speed and memory never change what is learnt. Nor do several processes (`ranks.py`): each
computes its share of every group. Where several corpora are mixed with
weights, an epoch shows an example more than once or not at all (`mixture.py`), and groups hold draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from septet.engine.mixture import Mixture
from septet.engine.versions import Versions
from septet.report import Finding

# What one more forward and backward pass costs, in tokens: its launches and the adding up of its gradients take about the same
# time in any precision, in which faster hardware computes more tokens (docs/why.md, "The price of a micro-batch").
# A constant and no measurement, so that a resumed run splits its groups as before.
PASS_COST = {"fp32": 48, "bf16": 256, "fp16": 1024}


@dataclass(frozen=True)
class Planner:
    """Splits the training rows into updates.

    Args:
        lengths: tokens of each example.
        batch: rows an update sees; the last group of an epoch may be smaller.
        seed: of the shuffles.
        token_budget: tokens a micro-batch may hold, padding included; a longer row goes alone.
        micro_batch: rows a micro-batch may hold; None leaves it to the budget.
        length: pad every micro-batch to this many tokens; None pads to its longest row.
        pass_cost: tokens of padding that one micro-batch less is worth.
        unpadded: whether the engine takes the padding out (`engine/unpad.py`), so that tokens are all that counts.
        mixture: how often an epoch shows each example, or which variant of it; None: once.
        rank, world: which of how many processes this is.
        in_step: whether every process has as many micro-batches as the others, the missing ones empty.
    """

    lengths: Sequence[int]
    batch: int
    seed: int
    token_budget: int
    micro_batch: int | None = None
    length: int | None = None
    pass_cost: int = PASS_COST["fp32"]
    unpadded: bool = False
    mixture: Mixture | Versions | None = None
    rank: int = 0
    world: int = 1
    in_step: bool = False
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def draws_per_epoch(self) -> int:
        """Examples that an epoch shows, each as often as it does."""
        return len(self.lengths) if self.mixture is None else self.mixture.draws_per_epoch

    @property
    def tokens_per_epoch(self) -> float:
        """Tokens of an epoch; where a weight is no whole number, the mean over epochs."""
        lengths = np.asarray(self.lengths)
        return float(lengths.sum() if self.mixture is None else lengths @ self.mixture.means)

    @property
    def groups_per_epoch(self) -> int:
        return math.ceil(self.draws_per_epoch / self.batch)

    @property
    def most_rows(self) -> int:
        """Rows of the largest update."""
        return min(self.batch, self.draws_per_epoch)

    def shortened(self) -> Finding | None:
        """Return what is told where an update has fewer rows than `batch` asks for."""
        rows = self.draws_per_epoch
        if self.batch <= rows:
            return None
        return Finding(
            "batch-above-rows",
            "note",
            f"train.batch is {self.batch:,}, and an epoch has {rows:,} rows: every update sees all {rows:,}, and an epoch is one update.",
            f"train.batch={rows} says the same; a smaller one makes more updates",
            {"batch": self.batch, "rows": rows},
        )

    def total_steps(self, epochs: float) -> int:
        """Return the updates in so many epochs; a part of an epoch is rounded up to whole updates."""
        return max(1, math.ceil(epochs * self.groups_per_epoch - 1e-9))

    def order(self, epoch: int) -> np.ndarray:
        """Return (M,) int64: the epoch's draws, shuffled, the same on every machine; the last one is kept."""
        if epoch not in self._orders:
            shuffle = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(self.draws_per_epoch)
            self._orders.clear()
            self._orders[epoch] = shuffle if self.mixture is None else self.mixture.draws(self.seed, epoch)[shuffle]
        return self._orders[epoch]

    def group(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch (0-based) and the draws that update `step` (0-based) sees; without weights, example indices."""
        epoch, place = divmod(step, self.groups_per_epoch)
        return epoch, self.order(epoch)[place * self.batch : (place + 1) * self.batch]

    def tokens_by_group(self, epoch: int) -> np.ndarray:
        """Return the tokens of each group of an epoch."""
        sizes = self._sizes(self.order(epoch))
        return np.add.reduceat(sizes, np.arange(0, len(sizes), self.batch))

    def micro_batches(self, group: np.ndarray) -> list[np.ndarray]:
        """Split this process's share of a group into the runs of like length that cost least: computed tokens plus a price for each pass."""
        if not self.in_step:
            return self._split(self.share(group, self.rank))
        # what the others compute is known without asking them
        splits = [self._split(self.share(group, rank)) for rank in range(self.world)]
        most, mine = max(map(len, splits)), splits[self.rank]
        return mine + [group[:0]] * (most - len(mine))

    def share(self, group: np.ndarray, rank: int) -> np.ndarray:
        """Return the draws of a group that one of the processes computes: each has as many, of like lengths; a small group may leave it none."""
        if self.world == 1:
            return group
        # longest first, dealt to and fro
        order = np.argsort(-self._sizes(group), kind="stable")
        turn, seat = np.divmod(np.arange(len(group)), self.world)
        dealt = np.where(turn % 2, self.world - 1 - seat, seat)
        return group[np.sort(order[dealt == rank])]

    def _split(self, group: np.ndarray) -> list[np.ndarray]:
        sizes = self._sizes(group)
        order = np.argsort(sizes, kind="stable")
        if self.length is not None:
            sizes = np.full(len(group), self.length)
        cuts = self._cheapest_cuts(sizes[order])
        return [group[order[a:b]] for a, b in pairwise(cuts)]

    def padding(self, groups: int = 50) -> float:
        """Return the share of padded tokens over the first groups, 0 to 1."""
        real = padded = 0
        for step in range(min(groups, self.groups_per_epoch)):
            for micro in self._split(self.group(step)[1]):
                sizes = self._sizes(micro)
                real += int(sizes.sum())
                padded += int(sizes.sum()) if self.unpadded else max(int(sizes.max()), self.length or 0) * len(micro)
        return 1 - real / padded

    def _sizes(self, draws: np.ndarray) -> np.ndarray:
        return np.asarray(self.lengths)[draws % len(self.lengths)]

    def _cheapest_cuts(self, sizes: np.ndarray) -> list[int]:
        """Return the cut points of a sorted list that cost least, by dynamic programming over the last cut."""
        n = len(sizes)
        most = self.micro_batch or n
        ends = np.concatenate([[0], np.cumsum(sizes)])
        cost = np.full(n + 1, np.inf)
        cost[0] = 0.0
        back = np.zeros(n + 1, dtype=np.int64)
        for end in range(1, n + 1):
            starts = np.arange(max(0, end - most), end)
            tokens = ends[end] - ends[starts] if self.unpadded else (end - starts) * sizes[end - 1]
            fits = (tokens <= self.token_budget) | (starts == end - 1)
            costs = np.where(fits, cost[starts] + tokens + self.pass_cost, np.inf)
            best = int(costs.argmin())
            cost[end], back[end] = costs[best], starts[best]
        cuts = [n]
        while cuts[-1] > 0:
            cuts.append(int(back[cuts[-1]]))
        return cuts[::-1]
