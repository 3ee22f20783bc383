"""Rows that are there more than once: duplicates, conflicting labels, and texts that several splits share.

A test split never loses a row here. What a test set shares with train leaves train; what it shares with validation leaves
validation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from septet.data.draft import Draft, is_test, share
from septet.data.rows import Rows, Texts

SAME_SHARE = 0.95  # of a validation split found in test: then it is the test set, or a piece of it
EXAMPLES = 5
_SHOWN_CHARACTERS = 120


def drop_duplicates(draft: Draft, policy: str) -> None:
    """Drop rows that repeat an earlier row's text and label, in train and validation; count them in test."""
    schema = draft.schema
    with_it = "" if schema.label is None else " and label" if schema.classes else " and answer"
    what = schema.thing + with_it
    for split, rows in list(draft.splits.items()):
        seen: set[tuple[Texts, str | None]] = set()
        first: list[int] = []
        again: list[int] = []
        for index, row in enumerate(zip(rows.texts, rows.labels, strict=True)):
            (again if row in seen else first).append(index)
            seen.add(row)
        if not again:
            continue
        kept = is_test(split) or policy == "keep"
        fate = "kept, as in every test set" if is_test(split) else "kept (data.duplicates: keep)" if kept else "dropped"
        draft.find(
            "duplicates",
            "note",
            message=f"{split}: {share(len(again), len(rows))} repeat an earlier row's {what}; {fate}.",
            fix="" if not kept or is_test(split) else "data.duplicates: drop",
            evidence={
                "split": split,
                "rows": len(again),
                "places": rows.some(again),
                "texts": _examples(draft, rows, again),
            },
        )
        if not kept:
            draft.keep(split, first, reason="duplicate")


def settle_conflicts(draft: Draft, policy: str) -> None:
    """Report texts, or files, that have several labels; drop all their rows from train and validation where asked to."""
    for split, rows in list(draft.splits.items()):
        by_text: defaultdict[Texts, list[int]] = defaultdict(list)
        for index, texts in enumerate(rows.texts):
            by_text[texts].append(index)
        torn = {
            texts: found
            for texts, found in by_text.items()
            if len(found) > 1 and len({rows.labels[i] for i in found}) > 1
        }
        if not torn:
            continue
        indices = sorted(i for found in torn.values() for i in found)
        dropped = policy == "drop" and not is_test(split)
        draft.find(
            "label-conflict",
            "note" if dropped or policy == "keep" or is_test(split) else "warning",
            message=f"{split}: {len(torn):,} {draft.schema.thing}{'' if len(torn) == 1 else 's'} with more than one label, in {share(len(indices), len(rows))}{'; these rows were dropped' if dropped else ''}.",
            fix=""
            if dropped
            else "correct the labels, or data.conflicts: drop"
            if not is_test(split)
            else "correct the labels; no model can get all of these rows right",
            evidence={
                "split": split,
                "texts": len(torn),
                "rows": len(indices),
                "examples": [_conflict(draft, rows, found) for found in list(torn.values())[:EXAMPLES]],
            },
        )
        if dropped:
            draft.drop(split, indices, reason="label conflict")


def separate_splits(draft: Draft, policy: str) -> None:
    """Find texts that two splits share, and drop them from the earlier split where the policy is `drop`."""
    known = {split: set(rows.texts) for split, rows in draft.splits.items()}
    same = _validation_in_test(draft, known)
    for earlier, later in _pairs(draft):
        if earlier == "validation" and later in same:
            continue
        rows = draft.splits[earlier]
        shared = [i for i, texts in enumerate(rows.texts) if texts in known[later]]
        if not shared:
            continue
        fate = {"drop": f"dropped from {earlier}", "stop": "data.overlap is stop", "keep": "kept (data.overlap: keep)"}[
            policy
        ]
        draft.find(
            "data-leak",
            "blocker" if policy == "stop" else "warning",
            message=f"{earlier}: {share(len(shared), len(rows))} have a {draft.schema.thing} that is also in {later}; {fate}.",
            fix={
                "drop": "",
                "stop": f"remove them from {earlier}, or data.overlap: drop",
                "keep": f"data.overlap: drop; until then the scores on {later} are too good",
            }[policy],
            evidence={
                "split": earlier,
                "with": later,
                "rows": len(shared),
                "places": rows.some(shared),
                "texts": _examples(draft, rows, shared),
            },
        )
        if policy == "drop":
            draft.drop(earlier, shared, reason=f"also in {later}")


def check_groups(draft: Draft) -> None:
    """Warn where one group (customer, thread) is in two splits that were given."""
    groups = {
        split: {g for g in rows.groups if g is not None}
        for split, rows in draft.splits.items()
        if rows.groups is not None
    }
    for earlier, later in _pairs(draft):
        shared = sorted(groups.get(earlier, set()) & groups.get(later, set()))
        if shared:
            draft.find(
                "group-leak",
                "warning",
                message=f"{earlier} and {later} share {len(shared):,} groups ({', '.join(shared[:5])}{', …' if len(shared) > 5 else ''}).",
                fix=f"leave data.{later.split('.')[0]} out, so that it is cut from train by group; or split the files by group",
                evidence={"split": earlier, "with": later, "groups": shared[:20]},
            )


def _validation_in_test(draft: Draft, known: dict[str, set[Texts]]) -> set[str]:
    """Return the test splits of which validation is a copy or a piece."""
    validation = draft.splits.get("validation")
    if validation is None or not len(validation):
        return set()
    found = set()
    for test in draft.tests:
        inside = sum(texts in known[test] for texts in validation.texts)
        if inside < SAME_SHARE * len(validation):
            continue
        found.add(test)
        draft.find(
            "validation-is-test",
            "blocker",
            message=f"validation and {test} are the same data: {share(inside, len(validation))} of validation are in {test}. A model chosen on its test set looks better than it is.",
            fix="leave data.validation out; it is then cut from train",
            evidence={"split": "validation", "with": test, "rows": inside},
        )
    return found


def _pairs(draft: Draft) -> list[tuple[str, str]]:
    given = [split for split in ("train", "validation") if split in draft.splits]
    pairs = [("train", "validation")] if len(given) == 2 else []
    return pairs + [(earlier, test) for test in draft.tests for earlier in given]


def _conflict(draft: Draft, rows: Rows, indices: list[int]) -> dict[str, Any]:
    counts = Counter(rows.labels[i] for i in indices)
    return {
        "text": _examples(draft, rows, indices)[0],
        "labels": {str(label): n for label, n in counts.items()},
        "places": rows.some(indices, 4),
    }


def _examples(draft: Draft, rows: Rows, indices: list[int]) -> list[str]:
    """Return a few texts, cut short; of files where they lie."""
    return [rows.place(i) if draft.schema.media else _short(rows.texts[i]) for i in indices[:EXAMPLES]]


def _short(texts: Texts) -> str:
    text = " | ".join(texts)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
