"""`septet prepare RECIPE --review FILE`: a sheet of the rows whose label someone should look at, most doubtful first.

On it are rows that models of other rows doubt or cannot decide (`doubt`), rows on which annotators are tied, texts that have several labels, and near duplicates with other labels. People
fill in `corrected` or `verdict` (keep, drop); `data.corrections: FILE` reads the sheet back (`data/corrections.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from septet.data.draft import Draft
from septet.data.rows import Rows
from septet.data.sheet import name_of, write_sheet
from septet.doubt import Doubts

TIED = 2.0  # such a row is in no split until someone decides
CONFLICT, NEAR = 0.5, 0.25  # least doubt of rows whose labels contradict each other: one of the two is wrong


@dataclass(slots=True)
class _Entry:
    doubt: float
    reasons: list[str]
    suggested: str = ""
    confidence: str = ""


def write_review(
    path: Path,
    draft: Draft,
    doubts: Doubts,
    *,
    ids: Mapping[str, Mapping[int, int]],
    alike: Sequence[int] | None,
) -> int:
    """Write the sheet; return how many rows it has.

    Args:
        ids: of the rows as read, by split and place.
        alike: for each row of train, one that it resembles, or None.
    """
    lines: list[tuple[float, dict[str, str]]] = []
    for split, rows in doubts.splits.items():
        entries = _doubted(doubts, split)
        _torn(entries, rows, list(rows.texts), least=CONFLICT, told="the same text also has the label")
        if split == "train" and alike is not None:
            _torn(entries, rows, alike, least=NEAR, told="nearly the same text has the label")
        seen = draft.reviewed.get(draft.origin(split), set())
        for index, entry in entries.items():
            if rows.places[index] in seen:
                continue
            line = {
                "row": name_of(ids[draft.origin(split)][rows.places[index]]),
                "split": split,
                "place": rows.place(index),
                "text": " | ".join(rows.texts[index]),
                "label": rows.labels[index] or "",
                "suggested": entry.suggested,
                "confidence": entry.confidence,
                "reason": "; ".join(entry.reasons),
            }
            lines.append((entry.doubt, line))
    for split, rows in draft.undecided.items():
        for index, place in enumerate(rows.places):
            line = {
                "row": name_of(ids[split][place]),
                "split": split,
                "place": rows.place(index),
                "text": " | ".join(rows.texts[index]),
                "label": rows.labels[index] or "",
                "reason": f"annotators tied: {' or '.join(draft.tied[split][place])}",
            }
            lines.append((TIED, line))
    lines.sort(key=lambda each: -each[0])
    write_sheet(path, [line for _, line in lines])
    return len(lines)


def _doubted(doubts: Doubts, split: str) -> dict[int, _Entry]:
    judged = doubts.judged.get(split)
    if judged is None or doubts.weak:
        return {}
    entries: dict[int, _Entry] = {}
    for i, place in enumerate(doubts.places[split]):
        if judged.doubtful[i]:
            label = doubts.labels[int(judged.suggested[i])]
            entries[place] = _Entry(
                1.0 - float(judged.given[i]), ["likely mislabelled"], label, f"{judged.confidence[i]:.2f}"
            )
        elif judged.ambiguous[i]:
            one, other = (doubts.labels[int(k)] for k in judged.rivals[i])
            entries[place] = _Entry(0.0, [f"between {one} and {other}"])
    return entries


def _torn(entries: dict[int, _Entry], rows: Rows, keys: Sequence[Hashable], *, least: float, told: str) -> None:
    """Add rows that share a key and not a label."""
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    for group in groups.values():
        labels = dict.fromkeys(rows.labels[i] or "" for i in group)
        if len(labels) < 2:
            continue
        for index in group:
            others = ", ".join(label for label in labels if label != rows.labels[index])
            entry = entries.setdefault(index, _Entry(least, []))
            entry.doubt = max(entry.doubt, least)
            entry.reasons.append(f"{told} {others}")
