"""Draw N rows of a split: exactly the rows of `datasets`' `shuffle(seed).select(range(N))`, without `datasets`.

The draw is made on the split as read, before cleaning and duplicates, so that a result published on such a sample can be repeated
on the same rows. What is dropped afterwards is in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from septet.errors import RecipeError


def draw(num_rows: int, wanted: int, *, seed: int, split: str) -> list[int]:
    """Return the indices of the drawn rows, in the order of the draw.

    Raises:
        RecipeError: more rows are asked for than there are; fewer would not be the sample that was asked for.
    """
    if wanted > num_rows:
        raise RecipeError(
            f"data.sample.{split.split('.')[0]} asks for {wanted:,} rows; {split} has {num_rows:,}.",
            hint="a smaller number, or leave it out to use all rows",
        )
    return np.random.default_rng(seed).permutation(num_rows)[:wanted].tolist()


def draw_path(num_rows: int, wanted: int, *, seed: int, path: str) -> list[int]:
    """Return the indices of the rows drawn of one path, `a.jsonl#500`, in the order of the draw; each row once.

    Raises:
        RecipeError: more rows are asked for than there are.
    """
    if wanted > num_rows:
        raise RecipeError(
            f"{path} asks for {wanted:,} rows; there are {num_rows:,}, and none is drawn twice.",
            hint=f"a smaller number; or to show rows several times an epoch: data.weights: {{{path.rpartition('#')[0]}: {wanted / max(1, num_rows):.1f}}}",
        )
    return np.random.default_rng(seed).permutation(num_rows)[:wanted].tolist()


def draw_labels(labels: Sequence[str | None], wanted: Mapping[str, int], *, seed: int) -> list[int]:
    """Return the indices of the rows that are left, in their order: so many of each named label, all of the others.

    Raises:
        RecipeError: more rows of a label are asked for than there are.
    """
    places: dict[str, list[int]] = {label: [] for label in wanted}
    for place, label in enumerate(labels):
        if label in places:
            places[label].append(place)
    gone: set[int] = set()
    for label, count in wanted.items():
        there = places[label]
        if count > len(there):
            raise RecipeError(
                f'data.sample.labels asks for {count:,} rows of "{label}"; train has {len(there):,}.',
                hint="a smaller number, or leave it out to use all rows",
            )
        kept = np.random.default_rng(seed).permutation(len(there))[:count]
        gone |= set(there) - {there[i] for i in kept}
    return [place for place in range(len(labels)) if place not in gone]
