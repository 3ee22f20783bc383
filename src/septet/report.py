"""Findings: what every check of Septet returns.

A finding has a stable slug (`data-leak`), a level, one sentence, its evidence and a way out. A report is
a list of findings; it is shown as text, saved as JSON, and printed into `report.html`. Only blockers stop a run.
Each slug has a section in `docs/findings.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from septet.errors import CheckError
from septet.progress import Listen

Level = Literal["blocker", "warning", "note"]
LEVELS: tuple[Level, ...] = ("blocker", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found.

    Args:
        slug: stable name, words joined by hyphens.
        level: `blocker` stops the run, `warning` wants a decision, `note` is worth knowing.
        message: one sentence with the figures in it.
        fix: what to do about it.
        evidence: JSON values that show it: counts, row numbers, examples.
    """

    slug: str
    level: Level
    message: str
    fix: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Finding:
        return cls(**value)


class Report:
    """An ordered collection of findings."""

    def __init__(self, findings: Iterable[Finding] = ()):
        self.findings = list(findings)

    def add(self, *findings: Finding | None) -> None:
        self.findings.extend(f for f in findings if f is not None)

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self.findings, key=lambda f: LEVELS.index(f.level)))

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def blockers(self) -> list[Finding]:
        return [f for f in self if f.level == "blocker"]

    def tell(self, listen: Listen) -> None:
        """Tell every finding, blockers first, to whoever shows progress."""
        for finding in self:
            listen("finding", finding=finding)

    def stop_on_blockers(self) -> None:
        """Raise `CheckError` naming every blocker.

        Raises:
            CheckError: at least one finding is a blocker (exit code 3).
        """
        if not self.blockers:
            return
        first, *more = self.blockers
        what = f"[{first.slug}] {first.message}"
        for finding in more:
            what += f"\n  [{finding.slug}] {finding.message}" + (f"\n    try: {finding.fix}" if finding.fix else "")
        raise CheckError(what, hint=first.fix or None)

    def to_json(self) -> list[dict[str, Any]]:
        return [f.to_json() for f in self]

    def text(self) -> str:
        """The findings as plain lines, blockers first."""
        mark = {"blocker": "✗", "warning": "!", "note": "·"}
        lines = []
        for finding in self:
            lines.append(f"{mark[finding.level]} {finding.slug}: {finding.message}")
            if finding.fix:
                lines.append(f"    {finding.fix}")
        return "\n".join(lines)
