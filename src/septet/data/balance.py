"""Balance: how often an epoch shows the rows of each label (`data.balance`), and which remedy an imbalance calls for.

Nothing is copied or dropped. A label gets a factor, and `engine/mixture.py` shows its rows that often on average: a label that is shown
less than whole has other rows in the next epoch, until all were shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEW = 10  # rows of a label; below, a repeated row is learned by heart
PLENTY = 2000  # rows of the rarest label; from there on, as many of each other label are enough to learn from


def factors(sizes: Mapping[str, float], options: Any) -> dict[str, float]:
    """Return how often an epoch shows each row of a label on average.

    Args:
        sizes: label -> rows that an epoch would show, above 0.
        options: the recipe's block `data.balance`.
    """
    capped = {label: size if options.cap is None else min(size, options.cap) for label, size in sizes.items()}
    if options.sampling == "none":
        goals = capped
    else:
        goal = (max if options.sampling == "over" else min)(capped.values())
        goals = dict.fromkeys(sizes, goal)
    return {label: goals[label] / size for label, size in sizes.items()}


def remedy(counts: Mapping[str, int]) -> tuple[str, str]:
    """Return the setting that an imbalance calls for, and why, by the rows of the labels."""
    rare, least = min(counts.items(), key=lambda item: item[1])
    most = max(counts.values())
    if least < FEW:
        return (
            "task.class_weights: balanced",
            f'"{rare}" has {least:,} rows, which would be learned by heart if they were shown {most / least:.0f} times an epoch; '
            "more rows of it help most",
        )
    if least >= PLENTY:
        return (
            "data.balance.sampling: under",
            f"{least:,} rows of each label are enough, an epoch is {sum(counts.values()) / (least * len(counts)):.1f} times shorter, "
            "and the next one shows other rows",
        )
    return (
        "data.balance.sampling: over",
        f'the {least:,} rows of "{rare}" are shown {most / least:.0f} times an epoch, so that every update has some; '
        "class weights would give few updates a large step",
    )
