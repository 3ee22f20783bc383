"""What the page has only where rows are answered with texts: samples of what was written, limits kept, and the rows hardest to learn."""

from __future__ import annotations

from typing import Any

from septet.metrics import BY_KIND, split_name
from septet.page import words
from septet.page.html import Html, join, table, tag
from septet.page.report import Story
from septet.page.sections import value
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


def limits(story: Story) -> Html | None:
    """Return the share of answers that keep the limits stated for them, by who answered; in all, and by kind of limit."""
    parts: list[Any] = []
    for split in _scored(story):
        stated = {
            line["metric"]: line["n"]
            for line in story.scores
            if line["split"] == split and split_name(line["metric"])[0] == BY_KIND
        }
        if stated:
            rows = [_kept(story, split, metric, n) for metric, n in stated.items()]
            head = ["", "rows", *story.who(split)]
            caption = f"Limits kept on {split}, per cent"
            whole = table(head, rows, numeric=range(1, len(head)), caption=caption, class_="scores quiet")
            parts += [tag("h3", split), whole]
    note = "What an instruction demands is checked by rules that count and look for words; a tone, or whether an answer is true, takes a reader. The first line is of rows that keep all their limits."
    return join([tag("p", note, class_="muted"), parts]) if parts else None


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


def _kept(story: Story, split: str, metric: str, n: int) -> list[Any]:
    cells: list[Any] = [split_name(metric)[1] or tag("strong", "all limits"), f"{n:,}"]
    for who in story.who(split):
        line = story.line(split, who, metric)
        cells.append(value(metric, line) if line else words.NO_VALUE)
    return cells


def _sample(sample: dict[str, Any]) -> Html:
    answers, reference, lost = sample["answers"], sample["reference"], sample.get("broken", {})
    models = [
        _said(NAMES[who], answers[who], kind=who, like=reference, broken=lost.get(who))
        for who in NAMES
        if who in answers
    ]
    others = [
        _said(who, text, like=reference, broken=lost.get(who)) for who, text in answers.items() if who not in NAMES
    ]
    baselines = tag("details", tag("summary", "What the baselines answer"), tag("div", others, class_="beside-each"))
    return tag(
        "article",
        tag("p", f"row {sample['row']}", class_="eyebrow"),
        _said("Prompt", sample["prompt"], kind="prompt", cut="front", limit=2 * SHOWN_TEXT),
        tag("p", tag("b", "Limits: "), sample["limits"], class_="muted") if "limits" in sample else None,
        tag(
            "div",
            _said("Reference", reference, kind="reference", broken=lost.get("reference")),
            models,
            class_="beside-each",
        ),
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
    broken: list[str] | None = None,
    cut: str = "end",
    limit: int = SHOWN_TEXT,
) -> Html:
    """Return a text under its name, folded where it is long.

    Args:
        like: the reference; an answer equal to it is marked.
        broken: the kinds of limit that the text does not keep; None where none are stated.
        cut: where a text of `limit` characters was cut when it was kept, `front` or `end`.
    """
    whole = len(text) < limit
    same = like is not None and whole and text.strip() == like.strip()
    marks = [tag("span", "equals the reference", class_="mark good")] if same else []
    if broken is not None:
        told = f"breaks {', '.join(broken)}" if broken else "keeps its limits"
        marks.append(tag("span", told, class_=f"mark {'bad' if broken else 'good'}"))
    if not whole:
        text = f"… {text}" if cut == "front" else f"{text} …"
    shown = _folded(text) if text.strip() else tag("p", "no text", class_="muted")
    return tag("div", tag("h4", name, [[" ", mark] for mark in marks]), shown, class_=f"said {kind}")


def _folded(text: str) -> Html:
    """Return a text; of a long one only the beginning, until it is asked for."""
    lines = text.split("\n")
    brief = "\n".join(lines[:LINES])[:BRIEF].rstrip()
    if len(lines) <= LINES and len(text) <= 1.25 * BRIEF:  # a few more characters are no reason to hide them
        return tag("p", text, dir="auto")
    beginning = tag("span", f"{brief} …", class_="brief", dir="auto")
    more = [tag("span", "show all", class_="more"), tag("span", "show less", class_="less")]
    return tag("details", tag("summary", beginning, more), tag("p", text, dir="auto"), class_="fold")
