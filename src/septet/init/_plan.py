"""What a task would do with the data: the part of a recipe that depends on the task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

FEW_ROWS, MANY_ROWS = 1_000, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A task's part of a recipe.

    Args:
        task: its name.
        why: what of the data speaks for it.
        counted: what was found, for the headline.
        keys: the lines of the section `task`, behind the name.
        asked: the options of the command line that ask for just this.
        model: what the recipe names unless another is given.
        about: what is to be known of that model.
        rows: what is split and learned: the rows, or the documents.
        held: share of them for each split that is cut off, and why.
        used: the columns the task reads.
        data: lines of the section `data`, behind the files.
        notes: what else is to be known; comments at the top.
        packaged: whether that model comes with Septet, so that no hub is needed.
    """

    task: str
    why: str
    counted: str
    keys: Sequence[str]
    asked: str
    model: str
    about: str
    rows: int
    held: tuple[float, str]
    used: Collection[str] = ()
    data: Sequence[str] = ()
    notes: Sequence[str] = ()
    packaged: bool = True

    def rather(self, other: Plan | None) -> Plan:
        """Return the plan with a note of how to have another that the data allow too."""
        if other is None:
            return self
        note = f"Another reading: {other.task}, as {other.why}; for that, {other.asked}"
        return replace(self, notes=[*self.notes, note])


def usual_share(rows: int) -> tuple[float, str]:
    """Return the share of rows to hold out for validation, and for test."""
    if rows < FEW_ROWS:
        return 0.2, "few rows, so more of them for a steady score"
    if rows > MANY_ROWS:
        return 0.05, "many rows, so a small share is enough"
    return 0.1, "the usual share"
