"""Draw N rows of a split: exactly the rows of `datasets`' `shuffle(seed).select(range(N))`, without `datasets`.

The draw is made on the split as read, before cleaning and duplicates, so that a result published on such a sample can be repeated
on the same rows. What is dropped afterwards is in the ledger.
"""

from __future__ import annotations

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
