"""Flipped labels and their repair, for the study `repair` of `python -m bench.remedies`.

A share of a seed's training labels is flipped to another label, drawn evenly. A variant may read the rows as nobody flipped them (the most that
repair can reach), or mend them as a person would who looks at each row of the sheet that `septet prepare --review` writes and knows the right label.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

TRUE = "rows: as nobody flipped them"
SHEET = "rows: mended by the sheet"
WORDS = (TRUE, SHEET)


def flip(rows: list[dict[str, str]], share: float, rng: np.random.Generator) -> list[dict[str, str]]:
    """Return the rows with a share of the labels flipped to another one of theirs; a text that stands twice is flipped alike."""
    labels = sorted({row["label"] for row in rows})
    texts = list(dict.fromkeys(row["text"] for row in rows))
    chosen = {texts[i] for i in rng.permutation(len(texts))[: round(share * len(texts))]}
    turns = {text: int(rng.integers(1, len(labels))) for text in texts if text in chosen}
    return [
        {**row, "label": labels[(labels.index(row["label"]) + turns[row["text"]]) % len(labels)]}
        if row["text"] in turns
        else row
        for row in rows
    ]


def fill(sheet: Path, truth: list[dict[str, str]]) -> dict[str, int]:
    """Fill in a review sheet with the true labels; return how many of its rows someone looked at, and how many were changed."""
    right = {row["text"]: row["label"] for row in truth}
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lines, names = list(reader), list(reader.fieldnames or [])
    changed = 0
    for line in lines:
        label = right.get(line["text"], line["label"]) if line["split"] == "train" else line["label"]
        if label != line["label"]:
            line["corrected"] = label
            changed += 1
        else:
            line["verdict"] = "keep"
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)
    return {"looked_at": len(lines), "changed": changed}


def sheet_of(
    source: dict[str, Any],
    overrides: list[str],
    tables: dict[str, Any],
    truth: list[dict[str, str]],
    *,
    work: Path,
) -> tuple[Path, dict[str, int]]:
    """Return a filled-in review sheet of the training rows, and what was looked at."""
    import shutil

    from septet import journey

    sheet, folder = work / "review.csv", work / "review-run"
    sheet.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    journey.prepare(source, overrides, run=folder, tables=tables, review=sheet)
    return sheet, fill(sheet, truth)
