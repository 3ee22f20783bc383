"""The sections on remedies: variants of training rows, and what a remedy changed for each label beside the plain run, with both intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from septet.metrics import split_name
from septet.page import words
from septet.page.html import Html, join, table, tag
from septet.page.report import TUNED, Story

WHOLE = ("recall", "f1")


def remedies(story: Story) -> Html | None:
    """Return recall and F1 of each label of this run and of the plain run; None where there is no plain run."""
    plain = story.record.get("plain")
    if plain is None:
        return None
    theirs = {(line["split"], line["metric"]): line for line in plain["scores"]}
    ours = {(line["split"], line["metric"]): line for line in story.scores if line["who"] == TUNED}
    parts = [table_ for split in story.splits("test") if (table_ := _table(split, ours, theirs)) is not None]
    if not parts:
        return None
    rows = story.files.get("costs.json", {}).get("rows")
    learned = f" It learned from {plain['rows']:,} shown rows, this run from {rows:,}." if rows else ""
    told = tag(
        "p",
        f"The plain run {plain['run']} differs in {' and '.join(plain['changed'])}: same rows, same model.{learned} "
        "Intervals that overlap leave it open whether anything changed.",
    )
    return join([told, *parts])


def variants(story: Story) -> Html | None:
    """Return how many variants of training rows were made by whom, what was left out, and whether labels survive."""
    facts = story.data.get("augmented")
    if facts is None:
        return None
    judged = facts["agreement"]
    by = {} if judged is None else judged["by"]
    rows = [
        [name, f"{count:,}", f"{by[name]['kept']:.1%} of {by[name]['n']:,}" if name in by else words.NO_VALUE]
        for name, count in facts["made"].items()
    ]
    left = ", ".join(f"{reason} {count:,}" for reason, count in facts["left_out"].items()) or "none"
    kept = (
        "Nobody was asked whether labels survive."
        if judged is None
        else f"Models that had not learned from a row found its label in {judged['kept']:.1%} of the variants asked about "
        f"({judged['low']:.1%} to {judged['high']:.1%}, n {judged['n']:,})."
    )
    told = tag(
        "p",
        f"{facts['varied']:,} of {facts['rows']:,} rows have variants; an epoch shows one instead of the row with a chance of {facts['share']:.0%}. "
        f"Left out: {left}. {kept}",
    )
    samples = [[each["by"], each["label"], each["row"], each["variant"]] for each in facts["examples"]]
    return join(
        [
            told,
            table(["augmenter", "variants", "label kept"], rows, numeric=(1, 2), caption="Variants by who made them"),
            tag(
                "details",
                tag("summary", "Rows beside their variants"),
                table(["augmenter", "label", "row", "variant"], samples, caption="A few of them"),
            ),
        ]
    )


def _table(split: str, ours: Mapping[Any, dict[str, Any]], theirs: Mapping[Any, dict[str, Any]]) -> Html | None:
    labels = {
        label: ours[split, metric]["n"]
        for at, metric in ours
        if at == split and (label := split_name(metric)[1]) is not None and (split, f"f1[{label}]") in theirs
    }
    rows = []
    if all((split, name) in each for name in WHOLE for each in (ours, theirs)):
        pairs = [_pair(split, name, ours, theirs) for name in WHOLE]
        rows.append([tag("b", "all labels"), f"{ours[split, 'f1']['n']:,}", *pairs[0], *pairs[1]])
    for label, count in sorted(labels.items(), key=lambda item: (item[1], item[0])):
        pairs = [_pair(split, f"{name}[{label}]", ours, theirs) for name in WHOLE]
        rows.append([label, f"{count:,}", *pairs[0], *pairs[1]])
    if not rows:
        return None
    return table(
        ["label", "rows", "recall, plain", "recall, this run", "F1, plain", "F1, this run"],
        rows,
        numeric=(1, 2, 3, 4, 5),
        caption=f"{split}: the rarest label first; of all labels the plain mean",
    )


def _pair(split: str, metric: str, ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> list[str]:
    return [_value(each.get((split, metric))) for each in (theirs, ours)]


def _value(line: dict[str, Any] | None) -> str:
    if line is None or not line["n"]:
        return words.NO_VALUE
    name = split_name(line["metric"])[0]
    return (
        f"{words.number(name, line['value'])} ({words.number(name, line['low'])} to {words.number(name, line['high'])})"
    )
