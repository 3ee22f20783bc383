"""Charts as inline SVG: figures in, one still drawing out, with a title, a description and colours that follow the page.

Sizes are in the drawing's own units, which are pixels at full width. Colours are classes of `style.css`, so that light, dark and print share
one drawing. Every mark carries its figures in a `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from septet.page.html import Html, tag

COLUMN = 500  # a little more than half of the page: such a drawing fills its column of two


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map of values onto drawing units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values inside the range, 1, 2 or 5 apart."""
        span = self.high - self.low
        if span <= 0 or not math.isfinite(span):
            return [self.low]
        raw = span / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def drawing(width: int, height: int, *children: Any, title: str, description: str = "") -> Html:
    """Return an SVG with its accessible name; it shrinks with the page and never grows."""
    inside = [tag("desc", description) if description else None, *children]
    return tag(
        "svg",
        inside,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=title,
        style=f"max-width:{width}px",
        xmlns="http://www.w3.org/2000/svg",
    )


def whiskers(
    rows: Sequence[dict[str, Any]], *, title: str, bounds: tuple[float, float] | None = None, width: int = 640
) -> Html:
    """Return a dot with its interval for each row of `who`, `value`, `low`, `high`, `shown`, `note`, `kind`."""
    left, right, step, top = 96, 150, 34, 6
    height = top + step * len(rows) + 28
    spread = [v for row in rows for v in (row["low"], row["high"], row["value"])]
    x = Scale(*(bounds or around(spread)), left, width - right)
    parts: list[Any] = []
    for tick in x.ticks(6):
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=top, y2=height - 24, class_="grid"))
        parts.append(
            tag(
                "text",
                rows[0]["axis"](tick) if rows else "",
                x=x(tick),
                y=height - 8,
                class_="tick",
                text_anchor="middle",
            )
        )
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        parts.append(
            tag(
                "g",
                tag("title", f"{row['who']}: {row['shown']} ({row['note']})"),
                tag("text", row["who"], x=left - 12, y=y + 4, class_="who " + row["kind"], text_anchor="end"),
                tag("line", x1=x(row["low"]), x2=x(row["high"]), y1=y, y2=y, class_="whisker " + row["kind"]),
                [
                    tag("line", x1=x(row[end]), x2=x(row[end]), y1=y - 5, y2=y + 5, class_="whisker " + row["kind"])
                    for end in ("low", "high")
                ],
                tag(
                    "circle",
                    cx=x(row["value"]),
                    cy=y,
                    r=6 if row["kind"] == "tuned" else 4.5,
                    class_="dot " + row["kind"],
                ),
                tag("text", row["shown"], x=width - right + 16, y=y + 4, class_="value " + row["kind"]),
                tag("text", row["note"], x=width - right + 70, y=y + 4, class_="tick"),
            )
        )
    return drawing(
        width,
        height,
        *parts,
        title=title,
        description="; ".join(f"{row['who']} {row['shown']} ({row['note']})" for row in rows),
    )


def span(value: float, low: float, high: float, *, title: str, width: int = 120) -> Html:
    """Return a small dot with its interval between 0 and 1, for a table cell."""
    x = Scale(0, 1, 4, width - 4)
    return tag(
        "svg",
        tag("title", title),
        tag("line", x1=4, x2=width - 4, y1=8, y2=8, class_="rail"),
        tag("line", x1=x(low), x2=x(high), y1=8, y2=8, class_="whisker tuned"),
        tag("circle", cx=x(value), cy=8, r=3.6, class_="dot tuned"),
        viewBox=f"0 0 {width} 16",
        width=width,
        height=16,
        role="img",
        aria_label=title,
        class_="span",
    )


def shares(parts: Mapping[str, float], *, title: str, width: int = 640) -> Html:
    """Return one bar of parts, each as wide as its share; the names of those that are wide enough stand in them."""
    x = Scale(0, max(1.0, sum(parts.values())), 0, width)
    marks, done = [], 0.0
    for i, (name, share) in enumerate(parts.items()):
        start, end = x(done), x(done + share)
        done += share
        label = tag("text", name, x=start + 4, y=18, class_="tick") if end - start > 7 * len(name) + 8 else None
        bar = tag(
            "rect",
            x=start,
            y=4,
            width=max(0.0, end - start - 1),
            height=20,
            class_="bar tuned",
            fill_opacity=0.35 if i % 2 else 0.2,
        )
        marks.append(tag("g", tag("title", f"{name}: {share:.1%}"), bar, label))
    return drawing(
        width, 28, *marks, title=title, description="; ".join(f"{name} {share:.1%}" for name, share in parts.items())
    )


def reliability(bins: Sequence[dict[str, float]], *, title: str, width: int = COLUMN, height: int = 320) -> Html:
    """Return accuracy against confidence by bin; a bar that ends on the diagonal is calibrated."""
    left, right, top, bottom = 46, 20, 26, 36
    x, y = Scale(0, 1, left, width - right), Scale(0, 1, height - bottom, top)
    most = max((b["n"] for b in bins), default=1)
    parts: list[Any] = [
        grid(x, y, across="confidence", up="accuracy", size=(width, height), low=(left, bottom, right), percent="xy")
    ]
    for b in bins:
        a, c = x(b["low"]) + 1, x(b["high"]) - 1
        shown = f"confidence {b['confidence']:.1%}, accuracy {b['accuracy']:.1%}, {b['n']:,.0f} rows"
        parts.append(
            tag(
                "rect",
                tag("title", shown),
                x=a,
                y=y(b["accuracy"]),
                width=c - a,
                height=y(0) - y(b["accuracy"]),
                class_="bar tuned",
                fill_opacity=0.3 + 0.6 * math.sqrt(b["n"] / most),
            )
        )
        parts.append(tag("line", x1=a, x2=c, y1=y(b["confidence"]), y2=y(b["confidence"]), class_="expected"))
    parts.append(tag("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal"))
    return drawing(
        width,
        height,
        *parts,
        title=title,
        description=f"{len(bins)} bins of confidence; the diagonal is perfect calibration",
    )


def histogram(
    right_counts: Sequence[int], wrong_counts: Sequence[int], *, title: str, width: int = COLUMN, height: int = 320
) -> Html:
    """Return rows by confidence, right answers below and wrong ones on top."""
    left, right, top, bottom = 46, 20, 26, 36
    n = len(right_counts)
    most = max((a + b for a, b in zip(right_counts, wrong_counts, strict=True)), default=1) or 1
    x, y = Scale(0, 1, left, width - right), Scale(0, most * 1.05, height - bottom, top)
    parts: list[Any] = [
        grid(x, y, across="confidence", up="rows", size=(width, height), low=(left, bottom, right), percent="x")
    ]
    for i, (good, bad) in enumerate(zip(right_counts, wrong_counts, strict=True)):
        a, c = x(i / n) + 1, x((i + 1) / n) - 1
        shown = f"confidence {i / n:.0%} to {(i + 1) / n:.0%}: {good:,} right, {bad:,} wrong"
        if good:
            parts.append(
                tag("rect", tag("title", shown), x=a, y=y(good), width=c - a, height=y(0) - y(good), class_="bar tuned")
            )
        if bad:
            parts.append(
                tag(
                    "rect",
                    tag("title", shown),
                    x=a,
                    y=y(good + bad),
                    width=c - a,
                    height=y(good) - y(good + bad),
                    class_="bar wrong",
                )
            )
    return drawing(
        width,
        height,
        *parts,
        title=title,
        description=f"{sum(right_counts):,} right and {sum(wrong_counts):,} wrong answers",
    )


def lengths(
    spread: Mapping[str, Any],
    *,
    unit: str,
    title: str,
    limit: int | None = None,
    width: int = COLUMN,
    height: int = 220,
) -> Html:
    """Return how many rows have which length; the last bar holds what is above the 99th percentile.

    Args:
        spread: `histogram` with `edges` and `counts`, and `max`.
        limit: a length that is marked.
    """
    left, right, top, bottom = 46, 20, 26, 36
    edges, counts = spread["histogram"]["edges"], spread["histogram"]["counts"]
    x = Scale(
        edges[0], max(edges[-1], limit if limit is not None and limit < 2 * edges[-1] else 0), left, width - right
    )
    y = Scale(0, (max(counts, default=0) or 1) * 1.05, height - bottom, top)
    parts: list[Any] = [grid(x, y, across=unit, up="rows", size=(width, height), low=(left, bottom, right))]
    last = len(counts) - 1
    for i, count in enumerate(counts):
        to = f"{edges[i + 1]:,}" if i < last else f"{spread['max']:,}"
        a, c = x(edges[i]) + 0.5, x(edges[i + 1]) - 0.5
        shown = tag("title", f"{edges[i]:,} to {to} {unit}: {count:,} rows")
        parts.append(
            tag("rect", shown, x=a, y=y(count), width=max(0.5, c - a), height=y(0) - y(count), class_="bar tuned")
        )
    if limit is not None and limit <= x.high:
        shown = tag("title", f"the model reads {limit:,} {unit}")
        parts.append(tag("line", shown, x1=x(limit), x2=x(limit), y1=top, y2=height - bottom, class_="limit"))
        parts.append(tag("text", f"limit {limit:,}", x=x(limit) - 5, y=top + 9, class_="tick", text_anchor="end"))
    return drawing(width, height, *parts, title=title, description=f"{sum(counts):,} rows")


def bar(share: float, most: float, *, title: str, width: int = 120) -> Html:
    """Return a small bar for a table cell, as wide as its share of the largest."""
    x = Scale(0, most or 1, 0, width)
    return tag(
        "svg",
        tag("title", title),
        tag("rect", x=0, y=3, width=max(1.0, x(share)) if share else 0.0, height=10, class_="bar tuned"),
        viewBox=f"0 0 {width} 16",
        width=width,
        height=16,
        role="img",
        aria_label=title,
        class_="span",
    )


def grid(
    x: Scale, y: Scale, *, across: str, up: str, size: tuple[int, int], low: tuple[int, int, int], percent: str = ""
) -> list[Html]:
    (width, height), (left, bottom, right) = size, low
    parts = []
    for tick in y.ticks():
        parts.append(tag("line", x1=left, x2=width - right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(
            tag(
                "text",
                f"{100 * tick:.4g}%" if "y" in percent else f"{tick:,.4g}",
                x=left - 6,
                y=y(tick) + 4,
                class_="tick",
                text_anchor="end",
            )
        )
    for tick in x.ticks():
        parts.append(
            tag(
                "text",
                f"{tick:.0%}" if "x" in percent else f"{tick:,.4g}",
                x=x(tick),
                y=height - bottom + 16,
                class_="tick",
                text_anchor="middle",
            )
        )
    parts.append(tag("line", x1=left, x2=width - right, y1=height - bottom, y2=height - bottom, class_="base"))
    parts.append(tag("text", across, x=width - right, y=height - 4, class_="label", text_anchor="end"))
    parts.append(tag("text", up, x=0, y=11, class_="label"))
    return parts


def around(values: Sequence[float]) -> tuple[float, float]:
    """Return a range around values, with a little air."""
    low, high = min(values), max(values)
    air = (high - low) * 0.06 or abs(high) * 0.1 or 0.1
    return (max(0.0, low - air) if low >= 0 else low - air), high + air
