"""Corrections of a review sheet (`data.corrections`), applied to the rows as they were read.

A row is found by its id, a hash of its texts and its label as the file has them. So a line whose row has since been changed in the file
names no row any more, and is an error: a correction is never given to another text. Rows that someone looked at are not doubted again.
"""

from __future__ import annotations

from collections.abc import Sequence

from septet.data.draft import Draft
from septet.data.rows import row_ids
from septet.data.sheet import Line, match, name_of
from septet.errors import DataError, raise_all
from septet.registry import suggest

SHOWN = 5


def ids_as_read(draft: Draft) -> dict[str, dict[int, int]]:
    """Return, for each split as read, its rows' ids: place in the table -> id. Run before any stage."""
    return {split: dict(zip(rows.places, row_ids(rows), strict=True)) for split, rows in draft.splits.items()}


def correct(
    draft: Draft, lines: Sequence[Line], ids: dict[str, dict[int, int]], *, labels: Sequence[str] | None = None
) -> None:
    """Change labels and drop rows as a review sheet says; book and tell it.

    Args:
        lines: those that someone filled in.
        ids: from `ids_as_read`, taken before rows were drawn or cleaned.
        labels: those the recipe lists; those of train where it lists none.

    Raises:
        DataError: a line names a row or a label that is not there; `Problems` where several name no label.
    """
    if not lines:
        draft.find(
            "review-undecided",
            "note",
            message="The review sheet decides nothing: no line has `corrected` or `verdict` filled in.",
            fix="fill in one of the two and save the sheet under the name that data.corrections says; or remove data.corrections",
        )
        return
    by_row = {line.row: line for line in lines}
    known = {row for each in ids.values() for row in each.values()}
    _check_rows([line for line in lines if line.row not in known], len(lines))
    names = list(labels or draft.splits["train"].label_counts())
    wanted = _wanted([line for line in lines if line.corrected is not None], names)
    for split, rows in list(draft.splits.items()):
        changed, gone = 0, []
        for index, place in enumerate(rows.places):
            line = by_row.get(ids[split][place])
            if line is None:
                continue
            draft.reviewed.setdefault(split, set()).add(place)
            if line.verdict == "drop":
                gone.append(index)
            elif line.corrected is not None and rows.labels[index] != wanted[line.row]:
                rows.labels[index] = wanted[line.row]
                changed += 1
        if not changed and not gone:
            continue
        draft.ledger[split].corrected = changed
        draft.find(
            "labels-corrected",
            "note",
            message=f"{split}: by the review sheet {changed:,} label{'s' * (changed != 1)} corrected, {len(gone):,} row{'s' * (len(gone) != 1)} dropped.",
            evidence={"split": split, "rows": changed, "dropped": len(gone)},
        )
        if gone:
            draft.drop(split, gone, reason="review")


def _check_rows(unknown: Sequence[Line], total: int) -> None:
    if not unknown:
        return
    shown = "; ".join(f"{line.where}: {name_of(line.row)} (then {line.place or 'unknown'})" for line in unknown[:SHOWN])
    more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
    raise DataError(
        f"{len(unknown):,} of {total:,} lines of the review sheet name rows that are not in the data: text or label were changed, or the row left the file, since the sheet was written.",
        where=shown + more,
        hint="write a new sheet: septet prepare RECIPE --review FILE; or empty `corrected` and `verdict` of these lines",
    )


def _wanted(lines: Sequence[Line], names: Sequence[str]) -> dict[int, str]:
    """Return the label of each corrected row; every label that no row has is told."""
    found = {line.row: match(line.corrected or "", names) for line in lines}
    raise_all(
        [
            DataError(
                "The review sheet gives a label that no row has.",
                where=line.where,
                received=line.corrected,
                hint=suggest(line.corrected or "", list(names)) or "a new label is listed in task.labels first",
            )
            for line in lines
            if found[line.row] is None
        ]
    )
    return {row: label for row, label in found.items() if label is not None}
