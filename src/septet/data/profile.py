"""The shape of the prepared rows in figures: rows, label counts, and lengths in characters."""

from __future__ import annotations

from typing import Any

import numpy as np

from septet.data.rows import Rows

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def describe(rows: Rows, *, classes: bool = True) -> dict[str, Any]:
    """Return rows, labels (most frequent first) and character lengths of one split; a pair counts both texts.

    Args:
        classes: whether the label is one of a few classes; a free text has no counts, and its characters are counted too.
    """
    lengths = np.array(rows.lengths(labels=not classes), dtype=np.int64)
    characters: dict[str, float] = {}
    if len(lengths):
        found = np.quantile(lengths, QUANTILES)
        characters = {
            "min": int(lengths.min()),
            **{f"p{100 * q:.0f}": round(float(v), 1) for q, v in zip(QUANTILES, found, strict=True)},
        }
        characters |= {"max": int(lengths.max()), "mean": round(float(lengths.mean()), 1)}
    return {"rows": len(rows), "labels": rows.label_counts() if classes else {}, "characters": characters}
