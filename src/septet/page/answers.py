"""What the page has only where rows are answered with texts: samples of what was written, and the rows that are hardest to learn."""

from __future__ import annotations

from typing import Any

from septet.page.html import Html, join, tag
from septet.page.report import Story
from septet.scoring import BASE, SHOWN_TEXT, TUNED

SHOWN = 6  # of a list; the others are a click away
BRIEF = 360  # characters of a longer text that stand there unfolded
LINES = 9

NAMES = {TUNED: "Tuned", BASE: "Before tuning"}


def samples(story: Story) -> Html | None:
    """Return prompts with their references, and what the tuned model, the base and the baselines answered."""
    parts: list[Any] = []
    for split in _scored(story):
        record = story.record["splits"][split]
        found = record.get("samples", [])
        if found:
            drawn = record["written"] > len(found)
            about = f"{len(found):,} of the {record['written']:,} rows that were answered, evenly spread"
            parts += [
                tag("h3", split, tag("small", about) if drawn else None),
                _first(list(map(_sample, found)), "samples"),
            ]
    return join(parts) if parts else None


def hardest(story: Story) -> Html | None:
    """Return the rows whose answers the tuned model finds least likely."""
    parts: list[Any] = []
    for split in _scored(story):
        found = story.record["splits"][split].get("hardest", [])
        if found:
            parts += [tag("h3", split), _first(list(map(_hard, found)), "rows")]
    note = "The rows with the highest mean loss a token: odd, wrong, or hard. Read them first: typing errors and answers to another question are found here."
    return join([tag("p", note, class_="muted"), parts]) if parts else None


def _scored(story: Story) -> list[str]:
    """Return the splits that are shown row by row: the test sets, else the one the headline speaks of."""
    return (story.splits("test", "on") or [story.main]) if story.texts else []


def _first(cards: list[Html], what: str) -> Html:
    """Return cards, the later ones folded."""
    rest = cards[SHOWN:]
    folded = tag("details", tag("summary", f"the other {len(rest)} {what}"), rest) if rest else None
    return join([cards[:SHOWN], folded])


def _sample(sample: dict[str, Any]) -> Html:
    answers = sample["answers"]
    models = [_said(NAMES[who], answers[who], kind=who, like=sample["reference"]) for who in NAMES if who in answers]
    others = [_said(who, text, like=sample["reference"]) for who, text in answers.items() if who not in NAMES]
    baselines = tag("details", tag("summary", "What the baselines answer"), tag("div", others, class_="beside-each"))
    return tag(
        "article",
        tag("p", f"row {sample['row']}", class_="eyebrow"),
        _said("Prompt", sample["prompt"], kind="prompt", cut="front", limit=2 * SHOWN_TEXT),
        tag("div", _said("Reference", sample["reference"], kind="reference"), models, class_="beside-each"),
        baselines if others else None,
        class_="sample",
    )


def _hard(row: dict[str, Any]) -> Html:
    tokens = f"{row['tokens']:,} token{'s' if row['tokens'] != 1 else ''}"
    return tag(
        "article",
        tag("p", f"row {row['row']}: ", tag("b", f"{row['loss']:.2f}"), f" nats a token, {tokens}", class_="eyebrow"),
        tag(
            "div",
            _said("Prompt", row["prompt"], kind="prompt", cut="front"),
            _said("Reference", row["reference"], kind="reference"),
            class_="beside-each",
        ),
        class_="sample",
    )


def _said(
    name: str,
    text: str,
    *,
    kind: str = "baseline",
    like: str | None = None,
    cut: str = "end",
    limit: int = SHOWN_TEXT,
) -> Html:
    """Return a text under its name, folded where it is long.

    Args:
        like: the reference; an answer equal to it is marked.
        cut: where a text of `limit` characters was cut when it was kept, `front` or `end`.
    """
    whole = len(text) < limit
    same = like is not None and whole and text.strip() == like.strip()
    mark = tag("span", "equals the reference", class_="mark good") if same else None
    if not whole:
        text = f"… {text}" if cut == "front" else f"{text} …"
    shown = _folded(text) if text.strip() else tag("p", "no text", class_="muted")
    return tag("div", tag("h4", name, " " if mark else None, mark), shown, class_=f"said {kind}")


def _folded(text: str) -> Html:
    """Return a text; of a long one only the beginning, until it is asked for."""
    lines = text.split("\n")
    brief = "\n".join(lines[:LINES])[:BRIEF].rstrip()
    if len(lines) <= LINES and len(text) <= 1.25 * BRIEF:  # a few more characters are no reason to hide them
        return tag("p", text, dir="auto")
    beginning = tag("span", f"{brief} …", class_="brief", dir="auto")
    more = [tag("span", "show all", class_="more"), tag("span", "show less", class_="less")]
    return tag("details", tag("summary", beginning, more), tag("p", text, dir="auto"), class_="fold")
