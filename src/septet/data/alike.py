"""Rows that are nearly the same as others, in their letters (`near.py`) or in what they say (`meaning.py`): within a split, between train and what it is tested on, and in one cut.

A test split never loses a row here. What is nearly a test row may leave train and validation, what is nearly a validation row may leave
train. Rows that resemble each other are cut into the same split, so that a cut leaks none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.data.draft import Draft, is_test, share
from septet.data.near import Near, near_duplicates
from septet.data.rows import Rows

EXAMPLES = 5
# groups of more than this share of train are no duplicates but the way its texts are made (a form, a template)
LARGEST, AT_LEAST = 0.05, 10
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class _Kind:
    """How rows resemble each other, and what that is called."""

    across: str
    within: str
    are: str
    repeat: str
    reason: str


LETTERS = _Kind(
    "near-leak",
    "near-duplicates",
    "are near duplicates of rows in",
    "nearly repeat an earlier row's text",
    "near duplicate",
)
MEANING = _Kind(
    "semantic-leak",
    "semantic-duplicates",
    "say nearly what rows say in",
    "say nearly what an earlier row says",
    "same meaning",
)


def look_alike(
    draft: Draft, options: Any, *, cut: Collection[str] = (), by_meaning: Callable[[list[str]], Near] | None = None
) -> list[int] | None:
    """Report near duplicates, and drop them where `data.near` says so.

    Args:
        options: the recipe's block `data.near`.
        cut: splits of which earlier ones keep no near duplicate, whatever the policy: those cut by time, which keeps nothing together.
        by_meaning: what finds texts that say the same; None where that is not asked.

    Returns:
        For each row of train that is left, one that it resembles and must be cut with, often itself; None where nothing was looked for.
    """
    if options.policy == "off":
        return None
    drops = options.policy == "drop"
    _, left = _settle(
        draft, lambda texts: near_duplicates(texts, threshold=options.threshold), LETTERS, drops=drops, cut=cut
    )
    if by_meaning is None:
        return left
    kept, meant = _settle(draft, by_meaning, MEANING, drops=drops, cut=cut)
    return _joined([left[i] for i in kept], meant)


def _settle(
    draft: Draft, find: Callable[[list[str]], Near], kind: _Kind, *, drops: bool, cut: Collection[str]
) -> tuple[list[int], list[int]]:
    """Report and drop rows that resemble others in a way; return the rows of train that stay, and for each one that it resembles."""
    order = [*draft.tests, *(split for split in ("validation", "train") if split in draft.splits)]
    near = find([text for split in order for text in _texts(draft.splits[split])])
    starts = np.concatenate([[0], np.cumsum([len(draft.splits[split]) for split in order])]).tolist()
    places = {split: (starts[i], starts[i + 1]) for i, split in enumerate(order)}
    leaving: dict[str, set[int]] = {split: set() for split in order}
    for split in ("train", "validation"):
        if split in draft.splits:
            for later in [name for name in order if is_test(name) or (split == "train" and name == "validation")]:
                leave = drops or later in cut
                found = _across(draft, near, places, kind, split=split, later=later, drops=leave)
                leaving[split] |= found if leave else set()
    for split in order:
        leave = drops and not is_test(split)
        found = _within(draft, near, places[split], kind, split=split, drops=leave)
        leaving[split] |= found if leave else set()
    for split, indices in leaving.items():
        if indices:
            draft.drop(split, indices, reason=kind.reason)
    left = near.first[slice(*places["train"])].tolist()
    kept = [i for i in range(len(left)) if i not in leaving["train"]]
    return kept, _together([left[i] for i in kept])


def _across(
    draft: Draft, near: Near, places: dict[str, tuple[int, int]], kind: _Kind, *, split: str, later: str, drops: bool
) -> set[int]:
    """Find rows of a split that resemble rows of a later one; return them."""
    (start, end), (from_, to) = places[split], places[later]
    other = set(near.first[from_:to].tolist())
    rows = draft.splits[split]
    found = [i for i, group in enumerate(near.first[start:end].tolist()) if group in other]
    if not found:
        return set()
    fate = "dropped" if drops else "kept (data.near.policy: warn)"
    twins = {group: at for at, group in enumerate(near.first[from_:to].tolist())}
    draft.find(
        kind.across,
        "note" if drops else "warning",
        message=f"{split}: {share(len(found), len(rows))} {kind.are} {later}; {fate}.",
        fix="" if drops else f"data.near.policy: drop; until then scores on {later} may be too good",
        evidence={
            "split": split,
            "with": later,
            "rows": len(found),
            "places": rows.some(found),
            "pairs": [
                [_short(rows, i), _short(draft.splits[later], twins[int(near.first[start + i])])]
                for i in found[:EXAMPLES]
            ],
        },
    )
    return set(found)


def _within(draft: Draft, near: Near, place: tuple[int, int], kind: _Kind, *, split: str, drops: bool) -> set[int]:
    """Find rows that resemble an earlier row of their split; return them."""
    rows, groups = draft.splits[split], near.first[place[0] : place[1]].tolist()
    firsts: dict[int, int] = {}
    again = [i for i, group in enumerate(groups) if firsts.setdefault(group, i) != i]
    if not again:
        return set()
    torn = [i for i in again if draft.schema.classes and rows.labels[i] != rows.labels[firsts[groups[i]]]]
    largest = Counter(groups).most_common(1)[0][1]
    other = f", {len(torn):,} of them with another label" if torn else ""
    draft.find(
        kind.within,
        "warning" if torn and not drops and not is_test(split) else "note",
        message=f"{split}: {share(len(again), len(rows))} {kind.repeat}{other}; "
        f"{'dropped' if drops else 'kept'}. The largest group has {largest:,} rows.",
        fix="look at those with another label: one of the two may be wrong" if torn and not drops else "",
        evidence={
            "split": split,
            "rows": len(again),
            "other_label": len(torn),
            "places": rows.some(again),
            "pairs": [[_short(rows, firsts[groups[i]]), _short(rows, i)] for i in [*torn, *again][:EXAMPLES]],
        },
    )
    return set(again)


def _together(groups: list[int]) -> list[int]:
    """Return the first member of each one's group; its own place in groups that are too large to be kept together."""
    sizes = Counter(groups)
    limit = max(AT_LEAST, LARGEST * len(groups))
    firsts: dict[int, int] = {}
    return [i if sizes[group] > limit else firsts.setdefault(group, i) for i, group in enumerate(groups)]


def _joined(one: list[int], other: list[int]) -> list[int]:
    """Return the first member of each one's group, of rows that are joined by either list."""
    parents = list(range(len(one)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for groups in (one, other):
        first: dict[int, int] = {}
        for i, group in enumerate(groups):
            a, b = sorted((root(first.setdefault(group, i)), root(i)))
            parents[b] = a
    return [root(i) for i in range(len(one))]


def _texts(rows: Rows) -> list[str]:
    return [" ".join(texts) for texts in rows.texts]


def _short(rows: Rows, index: int) -> str:
    text = " | ".join(rows.texts[index])
    text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return text if rows.labels[index] is None else f"{text} [{(rows.labels[index] or '')[:40]}]"
