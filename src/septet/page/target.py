"""The part of `data.html` on `data.target`: how far train is from the rows that the model is meant for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.page import words
from septet.page.html import Html, join, table, tag

if TYPE_CHECKING:
    from septet.page.data import Data

_TESTS = {
    "text": "texts: a kernel two-sample test on their vectors",
    "labels": "shares of the labels",
    "length": "lengths in characters",
    "coverage": "rows that lie far from train",
}
SHOWN_LABELS = 12


def target(data: Data) -> Html | None:
    """Return the tests, the labels that moved, and where the target lies and train does not."""
    found = data.facts.get("target")
    if not found:
        return None
    rows = found["rows"]
    about = (
        f"{rows['train']:,} distinct rows of train and {rows['target']:,} of the target's {rows['of_target']:,}, compared by vectors of {found['compared_by']}. "
        f"{found['in_train']:,} of the target's rows are among those of train. "
        f"All tests together raise a false alarm in {found['monitor']['false_alarm']:.2g} of the comparisons of rows of one origin."
    )
    tests = [
        [
            _TESTS[test["test"]],
            _effect(test),
            words.p_value(test["p"]),
            tag(
                "span", "differs" if test["drift"] else "alike", class_=f"mark {'warning' if test['drift'] else 'good'}"
            ),
        ]
        for test in found["tests"]
    ]
    parts: list[Any] = [tag("p", about, class_="muted")]
    if tests:
        parts.append(table(["test", "how far", "p", ""], tests, numeric=(2,), caption="Tests", class_="quiet"))
    return join([*parts, _labels(found), _regions(found)])


def _effect(test: dict[str, Any]) -> str:
    effect = test["effect"]
    if test["test"] == "text":
        return f"told apart in {effect['told_apart']:.0%} of cases; 50 % is chance"
    if test["test"] == "labels":
        return f"{effect['moved_share']:.0%} of the rows have moved to another label"
    if test["test"] == "length":
        return f"median {effect['before']['median']:,.0f} in train, {effect['now']['median']:,.0f} in the target"
    return f"{effect['far_share']:.1%} are farther than 95 % of train's own; 5 % is chance"


def _labels(found: dict[str, Any]) -> Html | None:
    if not found["labels"]:
        return None
    rows = []
    for each in found["labels"][:SHOWN_LABELS]:
        span = f"{100 * each['low']:.1f} to {100 * each['high']:.1f}" if "low" in each else words.NO_VALUE
        rows.append([each["label"], f"{100 * each['before']:.1f}", f"{100 * each['now']:.1f}", span])
    source = (
        "estimated from predictions, right where the texts of each label look as in train"
        if found["estimated"]
        else "as labelled"
    )
    more = len(found["labels"]) - len(rows)
    caption = f"Labels, per cent, the most moved first; the target's {source}" + (
        f" ({more:,} more labels)" if more > 0 else ""
    )
    return table(["label", "train", "target", "95 % interval"], rows, numeric=(1, 2, 3), caption=caption)


def _regions(found: dict[str, Any]) -> Html | None:
    if not found["regions"]:
        return None
    rows = [
        [
            f"{each['rows']:,}",
            f"{100 * each['share']:.1f}",
            ", ".join(each["words"]) or words.NO_VALUE,
            tag("ul", [tag("li", text, dir="auto") for text in each["examples"]]),
        ]
        for each in found["regions"]
    ]
    head = ["rows", "% of the target", "words", "examples"]
    return table(head, rows, numeric=(0, 1), caption="Where the target lies and train does not")
