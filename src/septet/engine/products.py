"""The sizes of matrix products that a run's updates meet: each new one takes memory on a CPU that is not given back.

oneDNN keeps the code and the buffers of the last 1,024 products, one for each size of each kind, and what is freed between tensors of ever new sizes is
not filled again. So a run's memory grows for hundreds of updates, quickly at first. The planner knows which sizes come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from septet.engine.plan import Planner
from septet.engine.unpad import shapes
from septet.model.sizes import width

# updates of a run whose sizes are looked at, evenly spread: more meet hardly any others
LOOKED_AT = 500
# sizes after which oneDNN forgets as much as it learns: some eight products each, forward and backward
MOST_SIZES = 128
# fewer new ones say nothing of the price of one
LEAST_NEW = 4


def sizes(
    planner: Planner, updates: Iterable[int], *, unpadded: bool, longest: int | None = None
) -> set[tuple[int, ...]]:
    """Return the sizes that some updates meet: rows and tokens of padded micro-batches; tokens of the others, and rows and tokens that attend together.

    Args:
        updates: their places in the run.
        unpadded: whether padding is taken out.
        longest: tokens that no row is padded beyond.
    """
    lengths = np.asarray(planner.lengths)
    found: set[tuple[int, ...]] = set()
    for update in updates:
        _, draws = planner.group(update)
        for micro in planner.micro_batches(draws):
            rows = lengths[micro % len(lengths)].tolist()
            if unpadded:
                found |= shapes(rows)
            elif rows:
                found.add((len(rows), planner.length or width(max(rows), longest)))
    return found


def spread(total: int) -> list[int]:
    """Return the updates of a run of so many that are looked at."""
    return sorted({int(update) for update in np.linspace(0, total - 1, min(total, LOOKED_AT))})


def growth(gained: int, *, warm: int, seen: int, run: int, unpadded: bool) -> int:
    """Return the bytes that a run's sizes take beyond those of the rehearsed updates.

    Without padding tokens come in few sizes, and what grows is what oneDNN keeps of each: the same for every new one. Padded micro-batches come in
    ever new sizes, and what one has freed fits the next one more and more often: each doubling of their number takes the same.

    Args:
        gained: bytes that were taken while the number of sizes rose from `warm` to `seen`.
        run: sizes of the whole run, the rehearsed ones among them.
    """
    run = min(run, MOST_SIZES)
    if gained <= 0 or seen - warm < LEAST_NEW or run <= seen:
        return 0
    share = (run - seen) / (seen - warm) if unpadded else math.log(run / seen) / math.log(seen / max(1, warm))
    return int(gained * share)
