"""The picture of a table of speed: speed and memory, one bar a side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# of each table: what its speed is called, in words, and how it is written
SPEED = {
    "classify": ("examples_per_s", "examples a second (more is better)", "{:.1f}"),
    "sft": ("tokens_per_s", "tokens a second (more is better)", "{:,.0f}"),
}
MARGIN = 0.15  # inches around all that is drawn
OURS, PEER, INK, GRID = "#1f6f78", "#b8b2a7", "#2b2b2b", "#e6e2da"


def draw(result: dict[str, Any], path: Path) -> Path:
    """Write the plot; its ending chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sides = result["sides"][::-1]
    with plt.rc_context(
        {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    ):
        size = (9.6, 0.5 * len(sides) + 1.7)
        figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=[3, 2], layout="constrained")
        figure.get_layout_engine().set(w_pad=MARGIN, h_pad=MARGIN / 2)
        speed, title, form = SPEED[result["what"]]
        _bars(axes[0], sides, [side[speed] for side in sides], title, form)
        memory = [{name: value / 2**30 for name, value in side["peak_bytes"].items()} for side in sides]
        _bars(axes[1], sides, memory, "peak memory, GiB (less is better)", "{:.2f}")
        figure.suptitle(_caption(result), fontsize=8, x=MARGIN / size[0], ha="left")
        figure.savefig(path, dpi=150)
        plt.close(figure)
    return path


def _caption(result: dict[str, Any]) -> str:
    facts, options = result["facts"], result["options"]
    rows, epochs = f"{result['rows']['splits']['train']:,} rows", f"{options['epochs']:g} epoch"
    told = f"{options['data']}, {rows}, {epochs}{'' if options['epochs'] == 1 else 's'}, median of {options['repeats']}"
    return f"{told} (line: least to most); {facts['machine']['cpu']['name']}, {facts['threads']} threads"


def _bars(axis: Any, sides: list[dict[str, Any]], values: list[dict[str, float]], title: str, form: str) -> None:
    places = range(len(sides))
    medians = [value["median"] for value in values]
    spread = [[v["median"] - v["low"] for v in values], [v["high"] - v["median"] for v in values]]
    colours = [OURS if side["kind"] == "septet" else PEER for side in sides]
    axis.barh(places, medians, color=colours, height=0.62, xerr=spread, error_kw={"ecolor": INK, "elinewidth": 1})
    most = max(value["high"] for value in values)
    for place, value in zip(places, values, strict=True):
        axis.text(value["high"] + 0.015 * most, place, form.format(value["median"]), va="center", fontsize=8)
    axis.set_yticks(places, [_name(side) for side in sides])
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlim(0, 1.16 * most)
    axis.grid(axis="x", color=GRID)
    axis.xaxis.set_major_formatter(lambda value, place: f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}")
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for edge in ("top", "right", "left", "bottom"):
        axis.spines[edge].set_visible(False)


def _name(side: dict[str, Any]) -> str:
    return side["name"] if side["kind"] == "septet" else f"{side['name']}, batch {side['batch']}"
