"""Results as Markdown tables, and where they are kept."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.jobs import REPO, RESULTS

NAMED = ("septet", "torch", "transformers", "accelerate", "trl")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), "|" + "|".join(f" {dashes} " for dashes in rule) + "|", *map(line, rows)])


def percent(score: dict[str, float] | None) -> str:
    """Return a score with its interval, in points."""
    if score is None:
        return "-"
    return f"{100 * score['value']:.1f} ({100 * score['low']:.1f}-{100 * score['high']:.1f})"


def shown(metric: str, score: dict[str, float]) -> str:
    """Return a score with its interval: a loss in nats, anything else in points."""
    if metric != "loss":
        return percent(score)
    return f"{score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f})"


def last_line(error: str) -> str:
    """Return the last line of an error that says anything."""
    return next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "")


def row_counts(splits: dict[str, int]) -> str:
    """Return the rows of each split in words."""
    return ", ".join(f"{count:,} {split}" for split, count in splits.items()) + " rows"


def machine_line(facts: dict[str, Any]) -> str:
    """Return the machine in one line."""
    cpu, ceiling, versions = facts["machine"]["cpu"], facts["ceiling_gflops"], facts["machine"]["versions"]
    names = [a["name"] for a in facts["machine"]["accelerators"]] or [
        f"{cpu['name']}, {cpu['cores']} cores, {' '.join(cpu['flags'])}"
    ]
    return (
        f"{', '.join(names)}; {facts['threads']} threads; measured fp32 {ceiling['fp32']:,.0f}, bf16 {ceiling['bf16']:,.0f} GFLOP/s "
        f"at {ceiling['tokens']:,} x {ceiling['hidden']:,} x {ceiling['inner']:,}; "
        + ", ".join(f"{name} {versions[name]}" for name in NAMED if name in versions)
    )


def stem(what: str, facts: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Return the path of a result without its ending: date, what, machine."""
    there = facts["machine"]["accelerators"]
    cpu = facts["machine"]["cpu"]
    name = there[0]["name"] if there else f"{cpu['name'].split('@')[0]} {cpu['cores']} cores"
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{time.strftime('%Y-%m-%d')}-{what}-{slug}"


def keep(path: Path, result: dict[str, Any], text: str) -> list[Path]:
    """Write the JSON and the table; return the files."""
    files = [path.with_name(path.name + ".json"), path.with_name(path.name + ".md")]
    files[0].write_text(_portable(json.dumps(result, indent=1, ensure_ascii=False)) + "\n")
    files[1].write_text(text + "\n")
    return files


def _portable(text: str) -> str:
    """Return a text without the paths of the machine it was made on."""
    for folder, name in (
        (sys.prefix, "<environment>"),
        (str(REPO), "."),
        (str(REPO.parent), ".."),
        (str(Path.home()), "~"),
    ):
        text = text.replace(folder, name)
    return text
