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
    rows, columns = (
        [label for label in labels if label in table] + [label for label in table if label not in labels],
        list(labels),
    )
    numbered = len(columns) <= 14
    cell = max(9, min(46, 700 // max(len(columns), 1)))
    font = min(13, max(8, cell - 2))
    left = min(190, 12 + round(font * 0.56 * max((len(_short(label)) for label in rows), default=4)))
    top = min(170, 26 + round(font * 0.56 * max((len(_short(label)) for label in columns), default=4)))
    parts: list[Any] = []
    for j, label in enumerate(columns):
        place = left + (j + 0.5) * cell + font * 0.33
        parts.append(
            tag(
                "text",
                tag("title", label),
                _short(label),
                x=0,
                y=0,
                transform=f"translate({place:.1f} {top - 6}) rotate(-90)",
                class_="axis",
                font_size=font,
            )
        )
    for i, label in enumerate(rows):
        y = top + i * cell
        total = sum(table[label].values())
        parts.append(
            tag(
                "text",
                tag("title", f"{label}: {total:,} rows"),
                _short(label),
                x=left - 6,
                y=y + cell / 2 + font * 0.35,
                class_="axis",
                font_size=font,
                text_anchor="end",
            )
        )
        for j, other in enumerate(columns):
            parts.append(
                _cell(
                    table[label].get(other, 0),
                    total,
                    place=(left + j * cell, y, cell),
                    names=(label, other),
                    numbered=numbered,
                )
            )
    frame = tag("rect", x=left, y=top, width=cell * len(columns), height=cell * len(rows), class_="frame")
    return drawing(
        left + cell * len(columns) + 8,
        top + cell * len(rows) + 8,
        parts,
        frame,
        title=title,
        description=f"{len(rows)} labels down, {len(columns)} predictions across",
    )


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
