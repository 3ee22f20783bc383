"""Balance: how often an epoch shows the rows of each label (`data.balance`), and which remedy an imbalance calls for.

Nothing is copied or dropped. A label gets a factor, and `engine/mixture.py` shows its rows that often on average: a label that is shown
less than whole has other rows in the next epoch, until all were shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    if least >= PLENTY:
        return (
            "data.balance.sampling: under",
            f"{least:,} rows of each label are enough, an epoch is {sum(counts.values()) / (least * len(counts)):.1f} times shorter, "
            "and the next one shows other rows",
        )
    return (
        "task.class_weights: balanced",
        f'"{rare}" has {least:,} {"row" if least == 1 else "rows"}; weights gain as much as showing them {max(counts.values()) / least:.0f} times an epoch, '
        "keep probabilities nearer to what they say, and no epoch is longer",
    )
