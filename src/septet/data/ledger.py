"""The ledger: every row read is kept, dropped for a stated reason, or moved to another split.

For each split: read + received = kept + dropped + moved, and over all splits: read = kept + dropped. `check` raises when
a book does not balance, so that no row is lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from septet.errors import DataError, SeptetError
from septet.run import Run

_SHOWN = 8
_SILENT = (
    "control",
    "surrogates",
    "unicode",
    "whitespace",
)  # cleaning that nobody needs to decide on; the page of the data has it


@dataclass(slots=True)
class Account:
    """The book of one split, in rows; `corrected` counts labels changed by a review, `cleaned` changed rows by kind, `truncated_*` are filled when rows are encoded.

    `sources` holds, where train is mixed of several of the recipe's paths, the rows `read` from each and `kept`; a run's own copy the `weight` too.
    `labels` holds in a run's copy, where labels are balanced, the rows `kept` of each and those `shown` in an epoch;
    `variants` the variants of its rows by who made them (`data.augment`), which are no rows of the books.
    """

    read: int = 0
    received: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    cleaned: dict[str, int] = field(default_factory=dict)
    corrected: int = 0
    truncated_rows: int | None = None
    truncated_tokens: int | None = None
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    variants: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        return self.read + self.received == self.kept + sum(self.dropped.values()) + sum(self.moved.values())

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Ledger:
    """The books of all splits."""

    def __init__(self, accounts: dict[str, Account] | None = None):
        self.accounts = accounts or {}

    def __getitem__(self, split: str) -> Account:
        return self.accounts.setdefault(split, Account())

    def drop(self, split: str, reason: str, *, rows: int) -> None:
        """Book rows that leave the data."""
        if rows:
            dropped = self[split].dropped
            dropped[reason] = dropped.get(reason, 0) + rows

    def move(self, source: str, target: str, *, rows: int) -> None:
        """Book rows cut from one split to make another."""
        if rows:
            self[source].moved[target] = self[source].moved.get(target, 0) + rows
            self[target].received += rows

    def check(self) -> None:
        """Raise when a book does not balance.

        Raises:
            SeptetError: rows were lost or counted twice; a defect of Septet, not of the data.
        """
        wrong = [split for split, account in self.accounts.items() if not account.balanced]
        total = sum(a.read for a in self.accounts.values()) - sum(
            a.kept + sum(a.dropped.values()) for a in self.accounts.values()
        )
        if wrong or total:
            raise SeptetError(
                f"The ledger does not balance for {', '.join(wrong) or 'the splits together'}.",
                where=self.text(),
                hint="please report this",
            )

    def to_json(self) -> dict[str, Any]:
        return {split: account.to_json() for split, account in self.accounts.items()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        return cls({split: Account(**account) for split, account in value.items()})

    def text(self) -> str:
        """The books as a small table, one split a line."""
        lines = [f"{'split':<12}{'read':>10}{'received':>10}{'moved':>10}{'dropped':>10}{'kept':>10}"]
        for split, a in self.accounts.items():
            reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in a.dropped.items())
            cut = f"truncated {a.truncated_rows:,} ({a.truncated_tokens:,} tokens)" if a.truncated_rows else ""
            mended = f"labels corrected {a.corrected:,}" if a.corrected else ""
            changed = ", ".join(f"{kind} {rows:,}" for kind, rows in a.cleaned.items() if kind not in _SILENT)
            parts = (reasons and f"dropped: {reasons}", changed and f"cleaned: {changed}", mended, cut)
            notes = "; ".join(note for note in parts if note)
            figures = "".join(
                f"{n:>10,}" for n in (a.read, a.received, sum(a.moved.values()), sum(a.dropped.values()), a.kept)
            )
            lines.append(f"{split:<12}{figures}{'   ' + notes if notes else ''}")
            for path, rows in a.sources.items():
                weight = f"   weight {rows['weight']:g}" if rows.get("weight", 1) != 1 else ""
                lines.append(f"{'':<12}{rows['read']:>10,}{'':>30}{rows['kept']:>10,}   {path}{weight}")
            if a.variants:
                made = ", ".join(f"{name} {count:,}" for name, count in a.variants.items())
                lines.append(f"{'':<12}{'':>40}{sum(a.variants.values()):>10,}   variants of these rows: {made}")
            if a.labels:
                shown = sum(rows["shown"] for rows in a.labels.values())
                each = ", ".join(f"{label} {rows['shown']:,}" for label, rows in list(a.labels.items())[:_SHOWN])
                more = f", {len(a.labels) - _SHOWN:,} more labels" if len(a.labels) > _SHOWN else ""
                lines.append(f"{'':<12}{'':>40}{shown:>10,}   shown in an epoch: {each}{more}")
        return "\n".join(lines)


def record_truncation(run: Run, split: str, *, rows: int, tokens: int) -> None:
    """Write into the run's `data.json` how many rows of a split were cut to the maximum length, and by how many tokens.

    Raises:
        DataError: the run's data have no such split.
    """
    data = run.read_json("data.json")
    if split not in data["ledger"]:
        raise DataError(f"The run has no split {split!r}.", where=str(run.path), hint=_names(data["ledger"]))
    data["ledger"][split] |= {"truncated_rows": rows, "truncated_tokens": tokens}
    run.write_json("data.json", data)


def _names(splits: Iterable[str]) -> str:
    return f"its splits: {', '.join(splits)}"
