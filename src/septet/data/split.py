"""Cut validation and test from train: stratified, seeded, with groups, equal and nearly equal texts kept together.

Rows are joined into units (one group, or all rows of one text and of those nearly like it), sorted by label, size and a seeded hash of their row ids,
and dealt out in that order: each unit goes to the split that is furthest behind its share. Because the debt is carried
from one label to the next, every label and the whole are within a unit or two of the shares asked for. The result does not depend on the
order of the rows. Every label keeps at least one unit in train.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from septet.data.rows import Rows


def cut(
    rows: Rows,
    ids: Sequence[int],
    *,
    shares: Mapping[str, float],
    seed: int,
    stratify: bool = True,
    alike: Sequence[int] | None = None,
) -> dict[str, list[int]]:
    """Return split -> indices of its rows, in their old order; `train` gets what `shares` leaves.

    Args:
        shares: split -> share of the rows, each 0 to 1, sum below 1.
        alike: for each row, a row that must be in the same split.
    """
    units = _units(rows, alike)
    keys = [_key(min(ids[i] for i in unit), seed) for unit in units]
    strata = [_stratum(rows, unit) if stratify else "" for unit in units]
    order = sorted(range(len(units)), key=lambda u: (strata[u], -len(units[u]), keys[u]))
    dealt = _deal([units[u] for u in order], rows, shares={"train": 1.0 - sum(shares.values()), **shares})
    _fill_empty(dealt, rows)
    return {split: sorted(i for unit in found for i in unit) for split, found in dealt.items()}


def _units(rows: Rows, alike: Sequence[int] | None) -> list[list[int]]:
    """Return the rows joined by equal texts, by equal groups, and with those they are alike."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, texts in enumerate(rows.texts):
        joins: list[Hashable] = [texts]
        if rows.groups is not None and rows.groups[i] is not None:
            joins.append(("group", rows.groups[i], None))
        for join in joins:
            parent[root(i)] = root(first.setdefault(join, i))
        if alike is not None:
            parent[root(i)] = root(alike[i])
    units: dict[int, list[int]] = {}
    for i in range(len(rows)):
        units.setdefault(root(i), []).append(i)
    return list(units.values())


def _deal(units: Sequence[list[int]], rows: Rows, *, shares: Mapping[str, float]) -> dict[str, list[list[int]]]:
    dealt: dict[str, list[list[int]]] = {split: [] for split in shares}
    behind = dict.fromkeys(shares, 0.0)
    learnt: set[str | None] = set()
    for unit in units:
        for split, part in shares.items():
            behind[split] += part * len(unit)
        labels = {rows.labels[i] for i in unit}
        split = "train" if labels - learnt else max(shares, key=lambda name: behind[name] if shares[name] else -1e18)
        behind[split] -= len(unit)
        dealt[split].append(unit)
        if split == "train":
            learnt |= labels
    return dealt


def _fill_empty(dealt: dict[str, list[list[int]]], rows: Rows) -> None:
    """Give a split that got nothing, because train is small, one unit that train can spare."""
    counts = Counter(rows.labels[i] for unit in dealt["train"] for i in unit)
    for split, found in dealt.items():
        if found or split == "train":
            continue
        for unit in sorted(dealt["train"], key=len):
            own = Counter(rows.labels[i] for i in unit)
            if all(counts[label] > count for label, count in own.items()):
                dealt["train"].remove(unit)
                found.append(unit)
                counts -= own
                break


def _stratum(rows: Rows, unit: Sequence[int]) -> str:
    if len(unit) == 1:
        return rows.labels[unit[0]] or ""
    counts = Counter(rows.labels[i] or "" for i in unit)
    return min(counts, key=lambda label: (-counts[label], label))


def _key(row: int, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {row}".encode(), digest_size=8).digest()
