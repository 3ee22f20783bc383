"""Rows that are of no use: lines that are no row, rows without a label, without text, or of a form that the task cannot read.

They leave every split, since they can neither be learnt from nor scored. Only blank labels and missing values count as no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from septet.data.draft import Draft, join_places, share
from septet.data.jsonl import UNREADABLE
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.table import Table
from septet.errors import DataError

REASONS, KEPT_REASONS = 5, 50  # reasons named in a message, and in its evidence


def book_unread(draft: Draft, split: str, errors: Sequence[DataError]) -> None:
    """Book lines of a split's files that could not be read, and were left out."""
    if not errors:
        return
    lines, places = draft.ledger[split].read + len(errors), [error.where or "" for error in errors[:10]]
    draft.ledger[split].read = lines
    draft.ledger.drop(split, "unreadable line", rows=len(errors))
    reasons = Counter(error.reason for error in errors)
    draft.find(
        UNREADABLE,
        "blocker",
        message=f"{split}: {share(len(errors), lines)} are lines that cannot be read and were left out: {_counted(reasons)}; {join_places(places, len(errors))}.",
        fix="mend or remove these lines",
        evidence={
            "split": split,
            "rows": len(errors),
            "reasons": dict(reasons.most_common(KEPT_REASONS)),
            "places": places,
        },
    )


def book_left_out(draft: Draft, split: str, table: Table) -> None:
    """Book rows of a split's files that were left out while they were read, and tell what was found then."""
    for reason, rows in table.left_out.items():
        draft.ledger[split].read += rows
        draft.ledger.drop(split, reason, rows=rows)
    draft.tell(table.findings, split=split)


def drop_unusable(draft: Draft, task: Any) -> None:
    """Drop rows without a label, rows without text, and rows the task cannot read, in this order; tell what of the others is not read."""
    for split in list(draft.splits):
        _drop_unlabelled(draft, split)
        _drop_empty(draft, split)
        _drop_malformed(draft, split, task)
        _tell_left_out(draft, split, task)


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
    counts = Counter(found.values())
    nothing_left = split == "train" and len(found) == len(rows)
    keys = ", ".join(dict.fromkeys(draft.schema.keys[column] for column in draft.schema.texts))
    draft.find(
        "row-malformed",
        "blocker" if nothing_left else "warning",
        message=f"{split}: {share(len(found), len(rows))} cannot be read and were dropped: {_counted(counts)}.",
        fix=f"check {keys}: is it the right column?" if nothing_left else "mend or remove these rows",
        evidence={
            "split": split,
            "rows": len(found),
            "reasons": dict(counts.most_common(KEPT_REASONS)),
            "places": rows.some(sorted(found)),
        },
    )
    draft.drop(split, found, reason="malformed")


def _tell_left_out(draft: Draft, split: str, task: Any) -> None:
    """Report turns that rows hold and nothing is learned from: they come after the last answer."""
    left_out = getattr(task, "left_out", None)
    rows = draft.splits[split]
    found: Mapping[int, int] = {} if left_out is None or not len(rows) else left_out(draft.schema.records(rows))
    if not found:
        return
    places, turns = rows.some(sorted(found)), sum(found.values())
    draft.find(
        "turns-left-out",
        "note",
        message=f"{split}: {share(len(found), len(rows))} go on after their last answer; nobody answers these {turns:,} turns, and they are left out: {join_places(places, len(found))}.",
        fix="nothing, if the conversations were cut there",
        evidence={"split": split, "rows": len(found), "turns": turns, "places": places},
    )


def _counted(reasons: Counter[str]) -> str:
    """Return reasons with their counts, the most frequent first."""
    counts = reasons.most_common()
    shown = ", ".join(f'{n:,} "{reason.rstrip(".")}"' for reason, n in counts[:REASONS])
    more = len(counts) - REASONS
    return shown + ("" if more <= 0 else " and 1 more reason" if more == 1 else f" and {more:,} more reasons")
