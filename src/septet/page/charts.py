"""Charts as inline SVG: figures in, one still drawing out, with a title, a description and colours that follow the page.

Sizes are in the drawing's own units, which are pixels at full width. Colours are classes of `style.css`, so that light, dark and print share
one drawing. Every mark carries its figures in a `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from septet.page.html import Html, tag

POINTS = 400  # marks of a curve at most; more cannot be told apart


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


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart: `points` (x, y), and the classes it is drawn with."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str
    marked: bool = False


def drawing(width: int, height: int, *children: Any, title: str, description: str = "") -> Html:
    """Return an SVG with its accessible name; it shrinks with the page and never grows."""
    inside = [tag("desc", description) if description else None, *children]
    return tag("svg", inside, viewBox=f"0 0 {width} {height}", role="img", aria_label=title, style=f"max-width:{width}px", xmlns="http://www.w3.org/2000/svg")


def curves(lines: Sequence[Curve], *, title: str, across: str, up: str, best: float | None = None, width: int = 520, height: int = 300) -> Html:
    """Return lines over updates, with the best checkpoint marked."""
    points = [p for line in lines for p in line.points if math.isfinite(p[1])]
    if not points:
        return tag("p", "Nothing was recorded.", class_="muted")
    left, right, top, bottom = 46, 14, 14, 36
    bounds = _bounds([y for _, y in points])
    x = Scale(min(p[0] for p in points), max(p[0] for p in points), left, width - right)
    y = Scale(*bounds, height - bottom, top)
    parts: list[Any] = [_grid(x, y, across=across, up=up, size=(width, height), low=(left, bottom, right))]
    if best is not None:
        place = x(best)
        anchor, shift = ("end", -5) if place > width * 0.6 else ("start", 5)
        parts += [
            tag("line", x1=place, x2=place, y1=top, y2=height - bottom, class_="best"),
            tag("text", "best checkpoint", x=place + shift, y=top + 9, class_="label good", text_anchor=anchor),
        ]
    for line in lines:
        shown = [(x(a), y(b)) for a, b in line.points if math.isfinite(b)]
        path = "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in shown)
        parts.append(tag("path", tag("title", line.name), d=path, class_=f"line {line.kind}"))
        if line.marked:
            marks = [tag("circle", tag("title", f"{line.name}: {b:.4g} at {across} {a:,.0f}"), cx=x(a), cy=y(b), r=3.2, class_=f"dot {line.kind}") for a, b in line.points if math.isfinite(b)]
            parts.append(tag("g", marks))
    return drawing(width, height, *parts, title=title, description="; ".join(f"{line.name}: {len(line.points)} points" for line in lines))


def whiskers(rows: Sequence[dict[str, Any]], *, title: str, bounds: tuple[float, float] | None = None, width: int = 640) -> Html:
    """Return a dot with its interval for each row of `who`, `value`, `low`, `high`, `shown`, `note`, `kind`."""
    left, right, step, top = 96, 150, 34, 6
    height = top + step * len(rows) + 28
    spread = [v for row in rows for v in (row["low"], row["high"], row["value"])]
    x = Scale(*(bounds or _bounds(spread)), left, width - right)
    parts: list[Any] = []
    for tick in x.ticks(6):
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=top, y2=height - 24, class_="grid"))
        parts.append(tag("text", rows[0]["axis"](tick) if rows else "", x=x(tick), y=height - 8, class_="tick", text_anchor="middle"))
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        parts.append(
            tag(
                "g",
                tag("title", f"{row['who']}: {row['shown']} ({row['note']})"),
                tag("text", row["who"], x=left - 12, y=y + 4, class_="who " + row["kind"], text_anchor="end"),
                tag("line", x1=x(row["low"]), x2=x(row["high"]), y1=y, y2=y, class_="whisker " + row["kind"]),
                [tag("line", x1=x(row[end]), x2=x(row[end]), y1=y - 5, y2=y + 5, class_="whisker " + row["kind"]) for end in ("low", "high")],
                tag("circle", cx=x(row["value"]), cy=y, r=6 if row["kind"] == "tuned" else 4.5, class_="dot " + row["kind"]),
                tag("text", row["shown"], x=width - right + 16, y=y + 4, class_="value " + row["kind"]),
                tag("text", row["note"], x=width - right + 70, y=y + 4, class_="tick"),
            )
        )
    return drawing(width, height, *parts, title=title, description="; ".join(f"{row['who']} {row['shown']} ({row['note']})" for row in rows))


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


def reliability(bins: Sequence[dict[str, float]], *, title: str, width: int = 340, height: int = 320) -> Html:
    """Return accuracy against confidence by bin; a bar that ends on the diagonal is calibrated."""
    left, right, top, bottom = 46, 14, 14, 40
    x, y = Scale(0, 1, left, width - right), Scale(0, 1, height - bottom, top)
    most = max((b["n"] for b in bins), default=1)
    parts: list[Any] = [_grid(x, y, across="confidence", up="accuracy", size=(width, height), low=(left, bottom, right), percent=True)]
    for b in bins:
        a, c = x(b["low"]) + 1, x(b["high"]) - 1
        shown = f"confidence {b['confidence']:.1%}, accuracy {b['accuracy']:.1%}, {b['n']:,.0f} rows"
        parts.append(tag("rect", tag("title", shown), x=a, y=y(b["accuracy"]), width=c - a, height=y(0) - y(b["accuracy"]), class_="bar tuned", fill_opacity=0.3 + 0.6 * math.sqrt(b["n"] / most)))
        parts.append(tag("line", x1=a, x2=c, y1=y(b["confidence"]), y2=y(b["confidence"]), class_="expected"))
    parts.append(tag("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal"))
    return drawing(width, height, *parts, title=title, description=f"{len(bins)} bins of confidence; the diagonal is perfect calibration")


def histogram(right_counts: Sequence[int], wrong_counts: Sequence[int], *, title: str, width: int = 340, height: int = 320) -> Html:
    """Return rows by confidence, right answers below and wrong ones on top."""
    left, right, top, bottom = 46, 14, 14, 40
    n = len(right_counts)
    most = max((a + b for a, b in zip(right_counts, wrong_counts, strict=True)), default=1) or 1
    x, y = Scale(0, 1, left, width - right), Scale(0, most * 1.05, height - bottom, top)
    parts: list[Any] = [_grid(x, y, across="confidence", up="rows", size=(width, height), low=(left, bottom, right), percent=True)]
    for i, (good, bad) in enumerate(zip(right_counts, wrong_counts, strict=True)):
        a, c = x(i / n) + 1, x((i + 1) / n) - 1
        shown = f"confidence {i / n:.0%} to {(i + 1) / n:.0%}: {good:,} right, {bad:,} wrong"
        if good:
            parts.append(tag("rect", tag("title", shown), x=a, y=y(good), width=c - a, height=y(0) - y(good), class_="bar tuned"))
        if bad:
            parts.append(tag("rect", tag("title", shown), x=a, y=y(good + bad), width=c - a, height=y(good) - y(good + bad), class_="bar wrong"))
    return drawing(width, height, *parts, title=title, description=f"{sum(right_counts):,} right and {sum(wrong_counts):,} wrong answers")


def matrix(table: dict[str, dict[str, int]], labels: Sequence[str], *, title: str) -> Html:
    """Return a confusion matrix: labels down, predictions across; cells of one row add up to the label's rows.

    Up to 14 labels the cells show their counts; more labels get smaller cells, whose counts are in their titles.
    """
    rows, columns = [label for label in labels if label in table] + [label for label in table if label not in labels], list(labels)
    numbered = len(columns) <= 14
    cell = max(9, min(46, 700 // max(len(columns), 1)))
    font = min(13, max(8, cell - 2))
    left = min(190, 12 + round(font * 0.56 * max((len(_short(label)) for label in rows), default=4)))
    top = min(170, 26 + round(font * 0.56 * max((len(_short(label)) for label in columns), default=4)))
    parts: list[Any] = []
    for j, label in enumerate(columns):
        place = left + (j + 0.5) * cell + font * 0.33
        parts.append(tag("text", tag("title", label), _short(label), x=0, y=0, transform=f"translate({place:.1f} {top - 6}) rotate(-90)", class_="axis", font_size=font))
    for i, label in enumerate(rows):
        y = top + i * cell
        total = sum(table[label].values())
        parts.append(tag("text", tag("title", f"{label}: {total:,} rows"), _short(label), x=left - 6, y=y + cell / 2 + font * 0.35, class_="axis", font_size=font, text_anchor="end"))
        for j, other in enumerate(columns):
            parts.append(_cell(table[label].get(other, 0), total, place=(left + j * cell, y, cell), names=(label, other), numbered=numbered))
    frame = tag("rect", x=left, y=top, width=cell * len(columns), height=cell * len(rows), class_="frame")
    return drawing(left + cell * len(columns) + 8, top + cell * len(rows) + 8, parts, frame, title=title, description=f"{len(rows)} labels down, {len(columns)} predictions across")


def _cell(count: int, total: int, *, place: tuple[float, float, float], names: tuple[str, str], numbered: bool) -> Html | None:
    if not count:
        return None
    x, y, cell = place
    share = count / total
    kind = "hit" if names[0] == names[1] else "miss"
    shown = f"{names[0]} → {names[1]}: {count:,} of {total:,} ({share:.0%})"
    square = tag("rect", tag("title", shown), x=x + 0.5, y=y + 0.5, width=cell - 1, height=cell - 1, class_=kind, fill_opacity=0.12 + 0.88 * share)
    if not numbered:
        return square
    return tag("g", square, tag("text", f"{count:,}", x=x + cell / 2, y=y + cell / 2 + 4, class_="count strong" if share > 0.55 else "count", text_anchor="middle"))


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """Return at most so many points: the mean of each stretch."""
    if len(points) <= most:
        return list(points)
    size = len(points) / most
    stretches = [points[int(i * size) : int((i + 1) * size)] for i in range(most)]
    return [(sum(a for a, _ in s) / len(s), sum(b for _, b in s) / len(s)) for s in stretches]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.04) -> list[tuple[float, float]]:
    """Return points with exponentially smoothed values, unbiased at the start; `share` of the curve is its memory."""
    keep = 1 - 1 / max(1.0, share * len(points))
    total = weight = 0.0
    found = []
    for x, y in points:
        if math.isfinite(y):
            total, weight = keep * total + y, keep * weight + 1
        if weight:
            found.append((x, total / weight))
    return found


def _grid(x: Scale, y: Scale, *, across: str, up: str, size: tuple[int, int], low: tuple[int, int, int], percent: bool = False) -> list[Html]:
    (width, height), (left, bottom, right) = size, low
    parts = []
    for tick in y.ticks():
        parts.append(tag("line", x1=left, x2=width - right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(tag("text", f"{tick:.0%}" if percent and up != "rows" else f"{tick:,.4g}", x=left - 6, y=y(tick) + 4, class_="tick", text_anchor="end"))
    for tick in x.ticks():
        parts.append(tag("text", f"{tick:.0%}" if percent else f"{tick:,.4g}", x=x(tick), y=height - bottom + 16, class_="tick", text_anchor="middle"))
    parts.append(tag("line", x1=left, x2=width - right, y1=height - bottom, y2=height - bottom, class_="base"))
    parts.append(tag("text", across, x=width - right, y=height - 4, class_="label", text_anchor="end"))
    parts.append(tag("text", up, x=left - 38, y=height - 4, class_="label"))
    return parts


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return a range around values, with a little air."""
    low, high = min(values), max(values)
    air = (high - low) * 0.06 or abs(high) * 0.1 or 0.1
    return (max(0.0, low - air) if low >= 0 else low - air), high + air


def _short(label: str) -> str:
    return label if len(label) <= 30 else label[:29] + "…"
