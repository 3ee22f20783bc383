"""Cut validation and test from train by time (`data.split.time`): the newest rows become test, those before them validation.

Rows of one time stay together. Labels are not stratified, and rows that repeat each other are not kept together: time decides. What of an earlier split is
also in a later one is taken out by the stages after this one, as between splits that were given. What a time is: `times.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from septet.data.draft import Draft
from septet.errors import DataError


def cut_by_time(draft: Draft, options: Any) -> list[str]:
    """Cut the splits that are not given from train, the newest rows last; return their names.

    Args:
        options: the recipe's block `data.split`.

    Raises:
        DataError: train has fewer times than splits to be made.
    """
    rows = draft.splits["train"]
    wanted = [("test", options.test)] if not draft.tests and options.test else []
    wanted += [("validation", options.validation)] if "validation" not in draft.splits and options.validation else []
    if not wanted or not len(rows):
        return []
    times = np.asarray(rows.times, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    times = times[order]
    starts = np.flatnonzero(np.diff(times, prepend=-math.inf) > 0)  # where a time begins; a cut is nowhere else
    if len(starts) <= len(wanted):
        raise DataError(
            f"{len(starts):,} different times do not give {len(wanted) + 1} splits.",
            where=rows.place(int(order[0])),
            received=f"{len(rows):,} rows, of {len(starts):,} times",
            hint="a finer column, or no data.split.time",
        )
    end, made = len(rows), {}
    for left, (split, share) in zip(range(len(wanted), 0, -1), wanted, strict=True):
        free = starts[left : np.searchsorted(starts, end)]  # each earlier split keeps a time of its own
        begin = int(free[np.abs(free - (end - share * len(rows))).argmin()])
        made[split] = sorted(order[begin:end].tolist())
        end = begin
    for split, found in made.items():
        draft.splits[split] = rows.take(found)
        draft.ledger.move("train", split, rows=len(found))
    draft.splits["train"] = rows.take(sorted(order[:end].tolist()))
    return list(made)
