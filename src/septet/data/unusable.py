"""Rows that are of no use: without a label, without text, or of a form that the task cannot read.

They leave every split, since they can neither be learnt from nor scored. Only blank labels and missing values count as no label.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from septet.data.draft import Draft, join_places, share
from septet.data.rows import Rows
from septet.data.schema import Schema

REASONS, KEPT_REASONS = 5, 50  # reasons named in a message, and in its evidence


def drop_unusable(draft: Draft, task: Any) -> None:
    """Drop rows without a label, rows without text, and rows the task cannot read, in this order."""
    for split in list(draft.splits):
        _drop_unlabelled(draft, split)
        _drop_empty(draft, split)
        _drop_malformed(draft, split, task)


def unlabelled(rows: Rows, schema: Schema) -> list[int]:
    """Return the rows that have no label or no answer, where the task learns one."""
    if schema.label is None:
        return []
    return [i for i, label in enumerate(rows.labels) if label is None or not label.strip()]


def empty(rows: Rows, schema: Schema) -> list[int]:
    """Return the rows of which a text that is required is empty."""
    required = [place for place, column in enumerate(schema.texts) if column in schema.required]
    return [i for i, texts in enumerate(rows.texts) if not all(texts[place].strip() for place in required)]


def malformed(rows: Rows, schema: Schema, task: Any) -> dict[int, str]:
    """Return why rows cannot be read, by their place; nothing where the task reads every text."""
    problems = getattr(task, "problems", None)
    return {} if problems is None or not len(rows) else problems(schema.records(rows))


def _drop_unlabelled(draft: Draft, split: str) -> None:
    rows = draft.splits[split]
    missing = unlabelled(rows, draft.schema)
    if not missing:
        return
    places = rows.some(missing)
    evidence = {"split": split, "rows": len(missing), "places": places}
    some = f"{split}: {share(len(missing), len(rows))} have no"
    if draft.schema.classes:
        draft.find(
            "label-missing",
            "blocker",
            message=f"{some} label: {join_places(places, len(missing))}.",
            fix="label or remove these rows",
            evidence=evidence,
        )
    else:
        draft.find(
            "answer-missing",
            "warning",
            message=f"{some} answer and were dropped: {join_places(places, len(missing))}.",
            fix="answer or remove these rows",
            evidence=evidence,
        )
    draft.drop(split, missing, reason="no label" if draft.schema.classes else "no answer")


def _drop_empty(draft: Draft, split: str) -> None:
    rows = draft.splits[split]
    found = empty(rows, draft.schema)
    if not found:
        return
    places = rows.some(found)
    draft.find(
        "empty-text",
        "warning",
        message=f"{split}: {share(len(found), len(rows))} have no text after cleaning and were dropped: {join_places(places, len(found))}.",
        fix="fill or remove these rows",
        evidence={"split": split, "rows": len(found), "places": places},
    )
    draft.drop(split, found, reason="empty text")


def _drop_malformed(draft: Draft, split: str, task: Any) -> None:
    rows = draft.splits[split]
    found = malformed(rows, draft.schema, task)
    if not found:
        return
    counts = Counter(found.values()).most_common()
    shown = ", ".join(f'{n:,} "{reason.rstrip(".")}"' for reason, n in counts[:REASONS])
    more = len(counts) - REASONS
    shown += "" if more <= 0 else " and 1 more reason" if more == 1 else f" and {more:,} more reasons"
    nothing_left = split == "train" and len(found) == len(rows)
    keys = ", ".join(dict.fromkeys(draft.schema.keys[column] for column in draft.schema.texts))
    draft.find(
        "row-malformed",
        "blocker" if nothing_left else "warning",
        message=f"{split}: {share(len(found), len(rows))} cannot be read and were dropped: {shown}.",
        fix=f"check {keys}: is it the right column?" if nothing_left else "mend or remove these rows",
        evidence={
            "split": split,
            "rows": len(found),
            "reasons": dict(counts[:KEPT_REASONS]),
            "places": rows.some(sorted(found)),
        },
    )
    draft.drop(split, found, reason="malformed")
