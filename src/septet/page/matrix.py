"""The confusion matrix as inline SVG, from two labels to a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from septet.page.charts import drawing
from septet.page.html import Html, tag


def matrix(table: dict[str, dict[str, int]], labels: Sequence[str], *, title: str) -> Html:
    """Return a confusion matrix: labels down, predictions across; cells of one row add up to the label's rows.

    Up to 14 labels the cells show their counts; more labels get smaller cells, whose counts are in their titles.
    """
    rows = [label for label in labels if label in table] + [label for label in table if label not in labels]
    columns = list(labels)
    cell = max(9, min(46, 700 // max(len(columns), 1)))
    font = min(13, max(8, cell - 2))
    left, top = min(190, 12 + _width(rows, font)), min(170, 26 + _width(columns, font))
    numbered = len(columns) <= 14
    parts: list[Any] = [_across(columns, left=left, top=top, cell=cell, font=font)]
    for i, label in enumerate(rows):
        y = top + i * cell
        total = sum(table[label].values())
        name = tag("title", f"{label}: {total:,} rows")
        place = {"x": left - 6, "y": y + cell / 2 + font * 0.35, "font_size": font, "text_anchor": "end"}
        parts.append(tag("text", name, _short(label), class_="axis", **place))
        for j, other in enumerate(columns):
            count = table[label].get(other, 0)
            parts.append(_cell(count, total, place=(left + j * cell, y, cell), names=(label, other), numbered=numbered))
    width, height = cell * len(columns), cell * len(rows)
    parts.append(tag("rect", x=left, y=top, width=width, height=height, class_="frame"))
    size = (left + width + 8, top + height + 8)
    return drawing(
        *size, *parts, title=title, description=f"{len(rows)} labels down, {len(columns)} predictions across"
    )


def _across(columns: Sequence[str], *, left: int, top: int, cell: int, font: int) -> list[Html]:
    """Return the labels above the matrix, read from below."""
    found = []
    for j, label in enumerate(columns):
        turn = f"translate({left + (j + 0.5) * cell + font * 0.33:.1f} {top - 6}) rotate(-90)"
        found.append(tag("text", tag("title", label), _short(label), transform=turn, class_="axis", font_size=font))
    return found


def _width(labels: Sequence[str], font: int) -> int:
    return round(font * 0.56 * max((len(_short(label)) for label in labels), default=4))


def _cell(
    count: int, total: int, *, place: tuple[float, float, float], names: tuple[str, str], numbered: bool
) -> Html | None:
    if not count:
        return None
    x, y, cell = place
    share = count / total
    kind = "hit" if names[0] == names[1] else "miss"
    shown = f"{names[0]} → {names[1]}: {count:,} of {total:,} ({share:.0%})"
    square = tag(
        "rect",
        tag("title", shown),
        x=x + 0.5,
        y=y + 0.5,
        width=cell - 1,
        height=cell - 1,
        class_=kind,
        fill_opacity=0.12 + 0.88 * share,
    )
    if not numbered:
        return square
    return tag(
        "g",
        square,
        tag(
            "text",
            f"{count:,}",
            x=x + cell / 2,
            y=y + cell / 2 + 4,
            class_="count strong" if share > 0.55 else "count",
            text_anchor="middle",
        ),
    )


def _short(label: str) -> str:
    return label if len(label) <= 30 else label[:29] + "…"
