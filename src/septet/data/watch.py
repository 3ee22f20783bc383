"""Examples of what the stages of preparing data change and drop, for someone who wants to see them before they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from septet.data.rows import Rows

MOST = 3  # examples of a step in a split
SHOWN_CHARACTERS = 400  # of a dropped row


@dataclass(frozen=True, slots=True)
class Change:
    """One text before and after a step; `after` is None where its row is dropped."""

    place: str
    before: str
    after: str | None = None


@dataclass(slots=True)
class Watch:
    """Keeps the first examples of every step.

    Args:
        changes: split -> step -> examples of texts that it changes.
        drops: split -> reason -> examples of rows that are dropped for it.
    """

    changes: dict[str, dict[str, list[Change]]] = field(default_factory=dict)
    drops: dict[str, dict[str, list[Change]]] = field(default_factory=dict)

    def of(self, split: str, rows: Rows) -> Callable[[int], Callable[[str, str, str], None]]:
        """Return what gives, for the place of a row, what is told of each change in it."""

        def row(place: int) -> Callable[[str, str, str], None]:
            return lambda kind, before, after: self.changed(split, rows, place, kind, before, after)

        return row

    def changed(self, split: str, rows: Rows, place: int, kind: str, before: str, after: str) -> None:
        """Keep a change, unless there are enough of its kind."""
        kept = self.changes.setdefault(split, {}).setdefault(kind, [])
        if len(kept) < MOST and all(change.before != before for change in kept):
            kept.append(Change(rows.place(place), before, after))

    def dropped(self, split: str, rows: Rows, gone: Iterable[int], reason: str) -> None:
        """Keep a few of the rows that are dropped for a reason."""
        kept = self.drops.setdefault(split, {}).setdefault(reason, [])
        for place in sorted(gone)[: MOST - len(kept)]:
            label = rows.labels[place]
            shown = " | ".join([*rows.texts[place], *([label] if label is not None else [])])
            kept.append(Change(rows.place(place), shown))
