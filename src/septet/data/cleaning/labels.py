"""Spelling variants of labels: `Billing`, `billing `, `BILLING` and `bil-ling` mean one thing.

Two labels are variants when they differ only in case, in what separates words (spaces, hyphens, underscores), in the width of characters, or in a
full stop, comma, colon or semicolon at the end. A separator between two digits counts, so that `1-2`, `1 2` and `12` stay three labels.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from septet.data.draft import Draft

_SHOWN = 3
_SEPARATORS = re.compile(r"(?<=\w)[\s_-]+(?=\w)|(?<=[^\W_])_+|_+(?=[^\W_])|\s+")
_END = re.compile(r"(?<=[^\s.,:;])[.,:;]+$")


def folded(label: str) -> str:
    """Return what variants of one label share."""
    text = _END.sub("", unicodedata.normalize("NFKC", label).casefold().strip())
    return _SEPARATORS.sub(_separator, text)


def variants(counts: dict[str, int], listed: Sequence[str] | None = None) -> list[list[str]]:
    """Return the groups of labels that are variants, each with the one to keep first: a listed one, or that of most rows.

    Args:
        counts: label -> rows.
        listed: the labels of `task.labels`; two of them are two labels, however alike.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[folded(label)].append(label)
    known = set(listed or ())
    found = []
    for group in groups.values():
        meant = [label for label in group if label in known]
        if len(group) > 1 and len(meant) < 2:
            found.append(sorted(group, key=lambda label: (label not in known, -counts[label], label)))
    return found


def settle_variants(draft: Draft, policy: Literal["off", "warn", "merge"], listed: Sequence[str] | None) -> None:
    """Tell of labels that are variants of each other, or give each group one spelling in every split."""
    if policy == "off":
        return
    train = Counter(label for label in draft.splits["train"].labels if label and label.strip())
    counts = Counter(dict(train))
    for rows in draft.splits.values():  # what train does not have counts less than what it has
        counts.update({label: 0 for label in rows.label_counts() if label.strip()})
    groups = variants(counts, listed)
    if not groups:
        return
    every = Counter(label for rows in draft.splits.values() for label in rows.labels)
    shown = "; ".join(" / ".join(f'"{label}" ({every[label]:,})' for label in group) for group in groups[:_SHOWN])
    more = f" and {len(groups) - _SHOWN:,} groups more" if len(groups) > _SHOWN else ""
    if policy == "warn":
        draft.find(
            "label-variants",
            "warning",
            message=f"Labels that differ only in how they are written are different labels: {shown}{more}.",
            fix="data.clean.labels: merge   gives each the spelling of most rows; or write each label in one way",
            evidence={"variants": groups},
        )
        return
    kept = {label: group[0] for group in groups for label in group[1:]}
    changed = {split: _rename(draft, split, kept) for split in draft.splits}
    draft.find(
        "label-variants",
        "note",
        message=f"Labels that differ only in how they are written were merged, in {sum(changed.values()):,} rows: {shown}{more}.",
        fix="data.clean.labels: warn   where they differ on purpose",
        evidence={"variants": groups, "rows": sum(changed.values())},
    )


def adopt(labels: list[str | None], known: Sequence[str]) -> list[str | None]:
    """Return labels, each variant of a known one in its spelling."""
    forms = {folded(label): label for label in known}
    return [label if label is None or label in known else forms.get(folded(label), label) for label in labels]


def _rename(draft: Draft, split: str, kept: dict[str, str]) -> int:
    """Give the variants in a split the spelling that is kept; book and return how many rows that changed."""
    rows, changed = draft.splits[split], 0
    for place, label in enumerate(rows.labels):
        if label in kept:
            rows.labels[place] = kept[label]
            changed += 1
            draft.changed(split, place, "labels", label, kept[label])
    if changed:
        draft.ledger[split].cleaned["labels"] = changed
    return changed


def _separator(match: re.Match[str]) -> str:
    """Return what stays of a separator: between two digits the sign in it, anywhere else nothing."""
    before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
    return (match[0].strip() or " ")[0] if before.isdigit() and after.isdigit() else ""
