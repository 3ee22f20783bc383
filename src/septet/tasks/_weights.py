"""Weights of labels in a loss, from the recipe's word or numbers and the rows of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from septet.errors import DataError


def class_weights(chosen: str | Mapping[str, float], labels: Sequence[str], counts: Mapping[str, int]) -> list[float]:
    """Return the weight of each label.

    Args:
        chosen: `none`, `balanced`, or a weight for each label.
        counts: rows of each label.

    Raises:
        DataError: a label has no weight, or a weight no label.
    """
    if chosen == "none":
        return [1.0] * len(labels)
    if chosen == "balanced":
        total = sum(counts.values())
        return [total / (len(labels) * counts[label]) if counts[label] else 1.0 for label in labels]
    weights = chosen if isinstance(chosen, Mapping) else {}
    if set(weights) != set(labels):
        raise DataError(
            "task.class_weights must give one weight for each label.",
            received=sorted(weights),
            hint=f"the labels are {', '.join(labels[:20])}",
        )
    return [float(weights[label]) for label in labels]
