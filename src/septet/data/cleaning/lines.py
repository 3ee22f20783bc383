"""Lines that return in many texts: headers, footers, cookie notices.

Only texts of three lines or more are looked at, and a line counts once a text. What train repeats is taken out of every split, and of what is
served: the artifact keeps the lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

FEWEST_LINES = 3  # of a text that is looked at: shorter ones are all content
FEWEST_TEXTS = 5  # that must have a line


def repeated_lines(texts: Iterable[str], share: float) -> set[str]:
    """Return the lines that stand in more than a share of the texts that have several."""
    counts: Counter[str] = Counter()
    looked_at = 0
    for text in texts:
        lines = _lines(text)
        if len(lines) >= FEWEST_LINES:
            looked_at += 1
            counts.update(set(lines))
    least = max(FEWEST_TEXTS - 1, share * looked_at)
    return {line for line, count in counts.items() if count > least and any(map(str.isalpha, line))}


def without_lines(text: str, repeated: Collection[str]) -> str:
    """Return a text of three lines or more without the repeated ones."""
    if len(_lines(text)) < FEWEST_LINES:
        return text
    lines = text.split("\n")
    kept = [line for line in lines if _folded(line) not in repeated]
    return text if len(kept) == len(lines) else "\n".join(kept).strip("\n")


def _lines(text: str) -> list[str]:
    return [folded for line in text.split("\n") if (folded := _folded(line))]


def _folded(line: str) -> str:
    """Return what two lines must share to be the same: all but the width of white space."""
    return " ".join(line.split())
