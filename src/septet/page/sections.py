"""The first half of the page, what came out: headline, diagnosis, learning, scores, scores by label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from septet.diagnose import CAUSES
from septet.metrics import BY_CLASS, split_name
from septet.page import charts, words
from septet.page.curves import Curve, smooth, thin
from septet.page.curves import curves as draw_curves
from septet.page.data import data_name
from septet.page.html import Html, join, table, tag, text
from septet.page.report import TUNED, Story
from septet.page.verdict import difference, verdict

ROLES = {
    "test": "test set; nothing was chosen by it",
    "on": "other data, scored on request",
    "selection": "used for selection: it chose the checkpoint, so its scores are too good",
    "train": "rows the model was trained on; only for the diagnosis",
}


def title(story: Story) -> str:
    """Return what was tuned on what."""
    return f"{data_name(story.recipe)}: {_model_name(story)}, {story.recipe.method.name}"


def headline(story: Story) -> Html:
    """Return the top of the page: the one figure, the baselines beside it, and the verdict in a sentence."""
    split, metric = story.main, story.primary
    ours = story.line(split, TUNED, metric)
    confidence = f"{story.record['confidence']:.0%}"
    rows = story.data["splits"]["train"]["rows"]
    what = f"{_model_name(story)} tuned ({story.recipe.method.name}) {_purpose(story)}, on {rows:,} training rows"
    figure = None
    if ours is not None:
        figure = tag(
            "div",
            tag("p", f"{metric.replace('_', ' ')} on {split}", class_="eyebrow"),
            tag(
                "p",
                words.number(metric, ours["value"]),
                tag("small", "%" if words.is_share(metric) else ""),
                class_="figure",
            ),
            tag(
                "p",
                f"{confidence} interval {words.number(metric, ours['low'])} to {words.number(metric, ours['high'])}, n = {ours['n']:,}",
                class_="muted",
            ),
            tag("p", words.scale(metric), class_="muted") if story.texts else None,
            class_="score",
        )
    kind, sentence = verdict(story)
    return tag(
        "header",
        tag("p", "Septet · evaluation report", class_="eyebrow brand"),
        tag("h1", title(story)),
        tag("p", what, class_="lead"),
        tag("div", figure, tag("div", _who_charts(story, split), class_="beside"), class_="hero"),
        tag("p", tag("strong", sentence[0]), " ", sentence[1], class_=f"verdict {kind}", role="note"),
    )


def diagnosis(story: Story) -> Html | None:
    """Return what the curves and scores say of the fit, and the next step."""
    found = story.record["diagnosis"]
    if not found:
        return None
    causes = [tag("li", tag("code", cause), " ", CAUSES.get(cause, "")) for cause in found["causes"]]
    return join(
        [
            tag("p", found["message"]),
            tag("ul", causes) if causes else None,
            tag("p", tag("strong", "Next: "), found["advice"], ".") if found["advice"] else None,
            tag("pre", f"septet train {story.path.name}/recipe.yaml {found['change']}") if found["change"] else None,
            tag("details", tag("summary", "What this rests on"), _facts(found["evidence"])),
        ]
    )


def learning(story: Story) -> Html | None:
    """Return the curves of the loss and of the primary metric."""
    raw = [(float(step["step"]), float(step["loss"])) for step in story.steps if not step.get("skipped")]
    if not raw:
        return None
    best = story.files.get("best.json", {})
    validation = [(float(r["step"]), float(r["loss"])) for r in story.validation]
    lines = [
        Curve("training loss of each update", thin(raw), "faint"),
        Curve("training loss, smoothed", thin(smooth(raw)), "train"),
    ]
    if validation:
        lines.append(Curve("validation loss", validation, "validation", marked=True))
    unit = "nats a token" if story.texts else "nats"
    left = draw_curves(lines, title="Loss over the updates", across="update", up=f"loss, {unit}", best=best.get("step"))
    metric = best.get("metric", story.primary)
    found = [(float(r["step"]), float(r[metric])) for r in story.validation if metric in r]
    key = [("train", "training loss, smoothed"), ("faint", "each update"), ("validation", "validation")]
    legend = tag("p", [tag("span", tag("i", class_=kind), name) for kind, name in key], class_="legend")
    figures = [tag("figure", left, tag("figcaption", "Loss. ", legend))]
    if len(found) > 1:
        right = draw_curves(
            [Curve(f"validation {metric}", found, "validation", marked=True)],
            title=f"Validation {metric} over the updates",
            across="update",
            up=metric.replace("_", " "),
            best=best.get("step"),
            percent=words.is_share(metric),
        )
        figures.append(
            tag(
                "figure",
                right,
                tag("figcaption", f"Validation {metric.replace('_', ' ')}. The best value chose the checkpoint."),
            )
        )
    return tag("div", figures, class_="pair")


def scores(story: Story) -> Html:
    """Return every split's scores with intervals, and the paired tests."""
    parts: list[Any] = [
        tag(
            "p",
            f"Beneath each value stands its {story.record['confidence']:.0%} interval, from {story.record['bootstrap']:,} bootstrap resamples of the rows; where all are right, or all wrong, it is the exact one of a share (Clopper and Pearson). ",
            "Differences are paired: both systems answered the same rows.",
            " Where ↓ stands, lower is better; the base is the model before tuning." if story.texts else None,
            class_="muted",
        )
    ]
    for split in story.record["splits"]:
        record = story.record["splits"][split]
        parts.append(tag("h3", split, tag("small", f"{_rows(record)} · {ROLES[record['role']]}")))
        parts.append(_score_table(story, split))
        if record["paired"]:
            parts.append((_paired_texts if story.texts else _paired_table)(story, split))
        if record.get("unknown"):
            shown = ", ".join(f"{label} ({n:,})" for label, n in list(record["unknown"].items())[:10])
            parts.append(
                tag(
                    "p",
                    tag("strong", "Labels the model does not know: "),
                    shown,
                    ". Their rows count as wrong.",
                    class_="muted",
                )
            )
    return join(parts)


def labels(story: Story) -> Html | None:
    """Return precision, recall and F1 of each label, rarest quality first."""
    parts = []
    for split in story.splits("test", "on"):
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for line in story.scores:
            base, label = split_name(line["metric"])
            if line["split"] == split and line["who"] == TUNED and label is not None and base in BY_CLASS:
                found.setdefault(label, {})[base] = line
        if not found:
            continue
        ordered = sorted(found.items(), key=lambda item: item[1]["f1"]["value"])
        rows = [_label_row(label, values) for label, values in ordered]
        caption = f"{split}: {len(rows)} labels, the weakest first"
        whole = table(
            ["label", "rows", "precision", "recall", "F1", "interval of F1", "0 to 100"],
            rows,
            numeric=(1, 2, 3, 4, 5),
            caption=caption,
        )
        parts.append(whole if len(rows) <= 24 else _folded(rows, caption))
    return join(parts) if parts else None


def value(metric: str, line: dict[str, Any]) -> Html:
    """Return a score with its interval beneath."""
    span = f"{words.number(metric, line['low'])}–{words.number(metric, line['high'])}"
    return join([tag("b", words.number(metric, line["value"])), tag("span", span, class_="under")])


def _folded(rows: list[list[Any]], caption: str) -> Html:
    """Return a long table with its first rows shown and the others a click away."""
    head = ["label", "rows", "precision", "recall", "F1", "interval of F1", "0 to 100"]
    first = table(head, rows[:15], numeric=(1, 2, 3, 4, 5), caption=caption)
    rest = table(head, rows[15:], numeric=(1, 2, 3, 4, 5), caption="the other labels")
    return join([first, tag("details", tag("summary", f"the other {len(rows) - 15} labels"), rest)])


def _label_row(label: str, values: dict[str, dict[str, Any]]) -> list[Any]:
    f1 = values["f1"]
    if not f1["n"]:
        shown = [words.NO_VALUE] * 4 + [tag("span", "no row has this label", class_="muted")]
        return [label, "0", *shown]
    span = f"{words.number('f1', f1['low'])} to {words.number('f1', f1['high'])}"
    dot = charts.span(f1["value"], f1["low"], f1["high"], title=f"F1 {words.number('f1', f1['value'])}, {span}")
    return [
        label,
        f"{f1['n']:,}",
        *[words.number("f1", values[base]["value"]) for base in ("precision", "recall", "f1")],
        span,
        dot,
    ]


def _score_table(story: Story, split: str) -> Html:
    metrics = list(
        dict.fromkeys(
            line["metric"] for line in story.scores if line["split"] == split and split_name(line["metric"])[1] is None
        )
    )
    rows = []
    for who in story.who(split):
        cells: list[Any] = [tag("strong", who) if who == TUNED else who]
        for metric in metrics:
            line = story.line(split, who, metric)
            cells.append(value(metric, line) if line else words.NO_VALUE)
        rows.append(cells)
    head = [
        "",
        *[join([metric.replace("_", " "), tag("small", _mark(story, metric))]) for metric in metrics],
    ]
    return table(head, rows, numeric=range(1, len(head)), caption=f"Scores on {split}", class_="scores quiet")


def _mark(story: Story, metric: str) -> str:
    """Return what stands behind a metric's name: per cent, and where texts are written, that lower is better."""
    return " %" if words.is_share(metric) else " ↓" if story.texts and words.falls(metric) else ""


def _rows(record: dict[str, Any]) -> str:
    """Return how many rows a split has and, where texts are written, to how many of them."""
    rows = f"{record['n']:,} rows"
    if not record.get("written"):
        return rows
    whole = record["written"] == record["n"]
    written = f"{rows}, answers written to {'all' if whole else format(record['written'], ',')}"
    return f"{written}, {record['unfinished']:,} of them cut off" if record.get("unfinished") else written


def _paired_table(story: Story, split: str) -> Html:
    rows = []
    for pair in story.record["splits"][split]["paired"]:
        test = pair["mcnemar"]
        rows.append(
            [
                pair["who"],
                difference(pair),
                words.p_value(pair["p"]),
                f"{test['only_ours_right']:,} / {test['only_theirs_right']:,}",
                words.p_value(test["p"]),
                _beaten(pair),
            ]
        )
    head = [
        "tuned against",
        f"difference in {story.primary}",
        "bootstrap",
        "only tuned / only it right",
        "McNemar, exact",
        "",
    ]
    return table(head, rows, numeric=(1, 2, 3, 4), caption=f"Paired tests on {split}")


def _paired_texts(story: Story, split: str) -> Html:
    rows = [
        [pair["who"], pair["metric"], difference(pair), f"{pair['n']:,}", words.p_value(pair["p"]), _beaten(pair)]
        for pair in story.record["splits"][split]["paired"]
    ]
    head = ["tuned against", "metric", "difference", "rows", "bootstrap", ""]
    return table(head, rows, numeric=(2, 3, 4), caption=f"Paired tests on {split}")


def _beaten(pair: dict[str, Any]) -> Html:
    beaten = pair["beaten"]
    return tag("span", "beaten" if beaten else "not beaten", class_="mark " + ("good" if beaten else "bad"))


def _who_charts(story: Story, split: str) -> Html:
    """Return the primary metric by who answered; where texts are written, the loss and the metric of what was written."""
    if not story.texts:
        return _who_chart(story, split, story.primary)
    metrics = [metric for metric in dict.fromkeys([story.primary, "loss", story.writing(split)]) if metric is not None]
    compared = [metric for metric in metrics if any(story.line(split, who, metric) for who in story.who(split)[1:])]
    drawn = []
    for metric in compared or [story.primary]:
        ours = story.line(split, TUNED, metric)
        rows = f" (n = {ours['n']:,})" if ours is not None else ""
        about = f"{metric.replace('_', ' ')}, {words.scale(metric)}{rows}"
        drawn += [tag("p", about, class_="eyebrow"), _who_chart(story, split, metric)]
    return tag("div", drawn, class_="charts")


def _who_chart(story: Story, split: str, metric: str) -> Html:
    rows = []
    for who in story.who(split):
        line = story.line(split, who, metric)
        if line is None:
            continue
        span = f"{words.number(metric, line['low'])}–{words.number(metric, line['high'])}"
        shown, kind = words.number(metric, line["value"]), TUNED if who == TUNED else "baseline"
        rows.append(
            {
                "who": who,
                "value": line["value"],
                "low": line["low"],
                "high": line["high"],
                "shown": shown,
                "note": span,
                "kind": kind,
                "axis": lambda v: _tick(story, metric, v),
            }
        )
    return charts.whiskers(rows, title=f"{metric} on {split}, by who answered") if rows else text("")


def _tick(story: Story, metric: str, value: float) -> str:
    if story.texts and not words.is_share(metric):
        return f"{value:,.4g}"
    return words.number(metric, value).removesuffix(".0")


def _facts(evidence: dict[str, Any]) -> Html:
    rows = [
        [
            key.replace("_", " "),
            f"{value:,.4g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else _plain(value),
        ]
        for key, value in evidence.items()
    ]
    return table(["sign", "value"], rows, numeric=(1,), caption="Signs")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return words.NO_VALUE if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _purpose(story: Story) -> str:
    """Return what the model was tuned to do."""
    if story.texts:
        return f"to answer as {data_name(story.recipe)} does"
    return f"to tell {len(story.record['labels'])} labels of {data_name(story.recipe)}"


def _model_name(story: Story) -> str:
    name = story.recipe.model.title
    return Path(name).name if "/" in name and (name.startswith((".", "/", "~"))) else name
