"""Curves over the updates of a run, as inline SVG, with the best checkpoint marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from septet.page.charts import Scale, around, drawing, grid
from septet.page.html import Html, tag

POINTS = 400  # marks of a curve at most; more cannot be told apart


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart: `points` (x, y), and the classes it is drawn with."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: str
    marked: bool = False


def curves(
    lines: Sequence[Curve],
    *,
    title: str,
    across: str,
    up: str,
    best: float | None = None,
    percent: bool = False,
    width: int = 520,
    height: int = 300,
) -> Html:
    """Return lines over updates, with the best checkpoint marked."""
    points = [p for line in lines for p in line.points if math.isfinite(p[1])]
    if not points:
        return tag("p", "Nothing was recorded.", class_="muted")
    left, right, top, bottom = 46, 18, 26, 36
    bounds = around([y for _, y in points])
    x = Scale(min(p[0] for p in points), max(p[0] for p in points), left, width - right)
    y = Scale(*bounds, height - bottom, top)
    parts: list[Any] = [
        grid(
            x, y, across=across, up=up, size=(width, height), low=(left, bottom, right), percent="y" if percent else ""
        )
    ]
    if best is not None:
        place = x(best)
        anchor, shift = ("end", -5) if place > width * 0.6 else ("start", 5)
        parts += [
            tag("line", x1=place, x2=place, y1=top, y2=height - bottom, class_="best"),
            tag("text", "best checkpoint", x=place + shift, y=top + 8, class_="label good", text_anchor=anchor),
        ]
    for line in lines:
        shown = [(x(a), y(b)) for a, b in line.points if math.isfinite(b)]
        path = "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in shown)
        parts.append(tag("path", tag("title", line.name), d=path, class_=f"line {line.kind}"))
        if line.marked:
            marks = [
                tag(
                    "circle",
                    tag("title", f"{line.name}: {b:.4g} at {across} {a:,.0f}"),
                    cx=x(a),
                    cy=y(b),
                    r=3.2,
                    class_=f"dot {line.kind}",
                )
                for a, b in line.points
                if math.isfinite(b)
            ]
            parts.append(tag("g", marks))
    return drawing(
        width,
        height,
        *parts,
        title=title,
        description="; ".join(f"{line.name}: {len(line.points)} points" for line in lines),
    )


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """Return at most so many points: the mean of each stretch."""
    if len(points) <= most:
        return list(points)
    size = len(points) / most
    stretches = [points[int(i * size) : int((i + 1) * size)] for i in range(most)]
    return [(sum(a for a, _ in s) / len(s), sum(b for _, b in s) / len(s)) for s in stretches]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """Return points with the mean of a window around each, `share` of the curve wide; it neither lags nor leads."""
    finite = [p for p in points if math.isfinite(p[1])]
    reach = int(share * len(finite) / 2)
    sums = [0.0]
    for _, y in finite:
        sums.append(sums[-1] + y)
    found = []
    for i, (x, _) in enumerate(finite):
        near = min(reach, i, len(finite) - 1 - i)
        found.append((x, (sums[i + near + 1] - sums[i - near]) / (2 * near + 1)))
    return found
