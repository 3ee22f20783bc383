"""A data set in the making: its splits, the ledger of every row, and what was found so far.

Each stage of `prepare` is a function that takes the draft and changes it; rows leave it only through `keep`, which books them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from septet.data.ledger import Ledger
from septet.data.media import Media
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.watch import Watch
from septet.errors import RecipeError
from septet.registry import suggest
from septet.report import Finding, Level, Report

LIFTABLE = (
    "data-leak",
    "label-looks-missing",
    "label-missing",
    "label-unseen",
    "line-unreadable",
    "validation-is-test",
)


@dataclass(slots=True)
class Draft:
    """What the stages work on.

    Args:
        splits: `train`, `validation`, `test` or `test.<name>` -> rows.
        schema: the columns the rows were made of.
        allow: slugs of the blockers that `data.allow` lifts.
        reviewed: split as read -> places in its table of rows that someone has looked at (`data.corrections`).
        tied: split as read -> place of a row on which annotators are tied -> the labels they gave (`data.annotations`).
        undecided: split as read -> those rows, once they are dropped.
        media: what the rows' files are, where they are files.
        watch: keeps examples of what is changed and dropped, where someone asks for them (`septet prepare --dry-run`).
    """

    splits: dict[str, Rows]
    schema: Schema
    allow: Collection[str] = ()
    ledger: Ledger = field(default_factory=Ledger)
    report: Report = field(default_factory=Report)
    reviewed: dict[str, set[int]] = field(default_factory=dict)
    tied: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    undecided: dict[str, Rows] = field(default_factory=dict)
    media: Media | None = None
    watch: Watch | None = None

    @property
    def tests(self) -> list[str]:
        return [split for split in self.splits if is_test(split)]

    def origin(self, split: str) -> str:
        """Return the split that a split's rows were read for: train where it was cut from train."""
        return split if self.ledger[split].read else "train"

    def allows(self, slug: str) -> bool:
        return slug in self.allow

    def keep(self, split: str, indices: Sequence[int], *, reason: str) -> None:
        """Keep the rows at `indices`, in that order; the others are dropped for `reason`."""
        rows = self.splits[split]
        self.ledger.drop(split, reason, rows=len(rows) - len(indices))
        if self.watch is not None:
            shown = rows if self.schema.media is None else dataclasses.replace(rows, texts=[()] * len(rows))
            self.watch.dropped(split, shown, set(range(len(rows))) - set(indices), reason)
        self.splits[split] = rows.take(indices)

    def drop(self, split: str, indices: Iterable[int], *, reason: str) -> None:
        """Drop the rows at `indices` for `reason`."""
        gone = set(indices)
        self.keep(split, [i for i in range(len(self.splits[split])) if i not in gone], reason=reason)

    def changed(self, split: str, place: int, kind: str, before: str, after: str) -> None:
        """Show a change of a row that is no cleaning of its texts to whoever watches."""
        if self.watch is not None:
            self.watch.changed(split, self.splits[split], place, kind, before, after)

    def tell(self, findings: Iterable[Finding], **evidence: Any) -> None:
        """Add what was found while files were read, with more evidence."""
        for each in findings:
            self.find(each.slug, each.level, message=each.message, fix=each.fix, evidence={**evidence, **each.evidence})

    def find(
        self, slug: str, level: Level, *, message: str, fix: str = "", evidence: dict[str, Any] | None = None
    ) -> None:
        """Add a finding; a blocker that `data.allow` lifts becomes a warning."""
        found = Finding(slug, level, message, fix, evidence or {})
        if level == "blocker" and slug in LIFTABLE:
            if self.allows(slug):
                found = dataclasses.replace(found, level="warning", message=f"{message} Allowed by data.allow.", fix="")
            else:
                found = dataclasses.replace(
                    found, fix=f"{fix}; or lift it: data.allow: [{slug}]" if fix else f"data.allow: [{slug}]"
                )
        self.report.add(found)


def is_test(split: str) -> bool:
    """Whether a split's name is that of a test set."""
    return split == "test" or split.startswith("test.")


def check_allowed(allow: Sequence[str]) -> None:
    """Check that `data.allow` names blockers that can be lifted.

    Raises:
        RecipeError: it names something else.
    """
    for slug in allow:
        if slug not in LIFTABLE:
            raise RecipeError(
                "data.allow names no blocker that can be lifted.",
                received=slug,
                hint=suggest(slug, list(LIFTABLE)) or ", ".join(LIFTABLE),
            )


def share(part: int, whole: int) -> str:
    """Return `12 of 4,000 rows (0.3 %)`."""
    percent = 100 * part / max(1, whole)
    return (
        f"{part:,} of {whole:,} rows ({percent:.1f} %)" if percent >= 0.1 or not part else f"{part:,} of {whole:,} rows"
    )


def join_places(places: Sequence[str], total: int) -> str:
    """Return a few places, the file named once: `tickets.csv line 3, 17, 21 and 4 more`."""
    shown: list[str] = []
    last = ""
    for place in places:
        name, _, number = place.rpartition(" ")
        shown.append(number if name == last and number.isdigit() else place)
        last = name
    return ", ".join(shown) + (f" and {total - len(places):,} more" if total > len(places) else "")
