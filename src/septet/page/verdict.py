"""The verdict in a sentence: what the tuned model beats, by how much, and whether the fit is sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from septet.metrics import higher_is_better
from septet.page import words
from septet.page.report import Story
from septet.scoring import BASE

Verdict = tuple[str, tuple[str, str]]


def verdict(story: Story) -> Verdict:
    """Return the kind of the verdict (`good`, `bad`, `plain`) and its sentence, the weighty part first."""
    paired = story.record["splits"][story.main]["paired"]
    fit = (story.record["diagnosis"] or {}).get("verdict", "healthy")
    after = "The fit is healthy." if fit == "healthy" else f"The fit shows {fit}; see the diagnosis."
    if not paired:
        return ("plain" if fit == "healthy" else "bad"), ("No baseline was measured.", after)
    kind = "good" if fit == "healthy" and all(pair["beaten"] for pair in paired) else "bad"
    base = [pair for pair in paired if pair["who"] == BASE]
    others = [pair for pair in paired if pair["who"] != BASE]
    if base:
        return kind, _against_base(base[0], others, after)
    return kind, _against_baselines(others, after)


def difference(pair: dict[str, Any]) -> str:
    """Return a paired difference with its interval: `+0.8 points (+0.1 to +1.5)`."""
    metric = pair["metric"]
    low, high = (words.signed(metric, pair[end]).removesuffix(" points") for end in ("low", "high"))
    return f"{words.signed(metric, pair['value'])} ({low} to {high})"


def _against_baselines(paired: Sequence[dict[str, Any]], after: str) -> tuple[str, str]:
    unbeaten = [pair for pair in paired if not pair["beaten"]]
    pair = _closest(unbeaten or paired)
    if unbeaten:
        return f"The tuned model does not beat {_named(unbeaten)}.", f"Against {pair['who']}, {_told(pair)} {after}"
    return (
        "The tuned model beats every baseline measured.",
        f"Against the strongest, {pair['who']}, {_told(pair)} {after}",
    )


def _against_base(base: dict[str, Any], others: Sequence[dict[str, Any]], after: str) -> tuple[str, str]:
    unbeaten = [pair for pair in others if not pair["beaten"]]
    rest = f"Against the base, {_told(base)}"
    if others:
        pair = _closest(unbeaten or others)
        rest += f" Against {pair['who']}, {_told(pair)}"
    every = len(unbeaten) == len(others) > 1
    first = f"The tuned model {'beats' if base['beaten'] else 'does not beat'} the model before tuning"
    if unbeaten and base["beaten"]:
        first += ", but no baseline" if every else f", but not {_named(unbeaten)}"
    elif unbeaten:
        first += f", nor {'any baseline' if every else _named(unbeaten)}"
    elif others and base["beaten"]:
        first += " and every baseline measured"
    return f"{first}.", f"{rest} {after}"


def _closest(paired: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the pair that the tuned model does worst against."""
    return min(paired, key=lambda pair: pair["value"] * (1 if higher_is_better(pair["metric"]) else -1))


def _named(paired: Sequence[dict[str, Any]]) -> str:
    names = " and ".join(pair["who"] for pair in paired)
    return f"{'the baseline' if len(paired) == 1 else 'the baselines'} {names}"


def _told(pair: dict[str, Any]) -> str:
    return f"{pair['metric']} differs by {difference(pair)}, {words.p_value(pair['p'])}."
