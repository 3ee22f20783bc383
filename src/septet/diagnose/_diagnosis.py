"""What a diagnosis is, and the words that every kind of answer shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from septet.report import Finding
from septet.signs import Signs

VERDICTS = ("overfitting", "underfitting")
CAUSES = {
    "lr-too-high": "the learning rate is too high",
    "lr-too-low": "the learning rate is too low",
    "too-short": "the run is too short",
    "too-few-weights": "too few weights learn",
    "no-signal": "the labels may not follow from the texts",
    "too-little-data": "there is too little data",
    "too-many-epochs": "it ran for too many epochs",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a fit, why, and what to change next (`change`, a `key=value` for the command line)."""

    verdict: str
    causes: list[str]
    message: str
    change: str = ""
    advice: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("verdict", "causes", "message", "change", "advice", "evidence")}

    def finding(self) -> Finding | None:
        """Return the diagnosis as a finding; None when healthy."""
        if self.verdict == "healthy":
            return None
        return Finding(
            self.verdict,
            "warning",
            self.message,
            self.advice,
            {"causes": self.causes, "change": self.change, **self.evidence},
        )


def say(verdict: str, causes: list[str], facts: str) -> str:
    """Return the message of a verdict: what it is, why, and the facts."""
    return f"{verdict}: {' and '.join(CAUSES[cause] for cause in causes)}. {facts[0].upper()}{facts[1:]}."


def turned(signs: Signs) -> str:
    """Return where the validation loss was lowest and how far above that it ended."""
    return f"the validation loss was lowest at epoch {signs.best_epoch:.3g} and ended {signs.rise:.0%} above that"
