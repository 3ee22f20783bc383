"""The sides of a table of speed, measured in turn: each a fresh process a round, with its share of the ceiling, and ratios within a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.jobs import Job, Learning, Tuning, in_turn
from bench.launch import clear, launch
from bench.score import of_all
from bench.speed import Spread, ceiling_share, examples_per_s, ratio

Runs = dict[str, list[dict[str, Any]]]


def five(base: Job, default: Learning, best: Learning, tuning: Tuning, names: Sequence[str]) -> list[Job]:
    """Return the peer's defaults and its best settings, each with Septet moving the weights alike beside it, and Septet's own defaults.

    Args:
        base: a job of the peer as it comes.
        tuning: of the peer's best settings.
        names: of the five, in this order.
    """
    theirs = replace(base, score=True)
    ours = replace(theirs, kind="septet")
    return [
        replace(theirs, name=names[0], learning=default),
        replace(ours, name=names[1], learning=default),
        replace(theirs, name=names[2], learning=best, tuning=tuning),
        replace(ours, name=names[3], learning=best),
        replace(ours, name=names[4], learning=replace(best, batch=None, lr=None)),
    ]


def pairs_of_five(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return each Septet side with the sides of the peer that it is compared with."""
    default, ours, best, ours_best, own = names
    return [(ours, default), (ours_best, best), (own, default), (own, best)]


def in_rounds(
    sides: Sequence[Job], repeats: int, *, work: Path, facts: dict[str, Any], say: Callable[[str], None]
) -> Runs:
    """Return the runs of each side by its name, all sides measured once in every round."""
    by_name = {job.name: job for job in sides}
    found: Runs = {name: [] for name in by_name}
    for repeat, name in in_turn(list(by_name), repeats):
        found[name].append(once(by_name[name], work, facts, say=say, of=f"{repeat + 1}/{repeats}"))
    return found


def once(job: Job, work: Path, facts: dict[str, Any], *, say: Callable[[str], None], of: str) -> dict[str, Any]:
    """Return one run of a side, with its speed.

    Raises:
        JobError: its process failed.
        ValueError: it made no update after those for warm-up.
    """
    job = job.at(work / job.name.replace(", ", "-").replace(" ", "-"))
    found = launch(job)
    if found["timing"] is None:
        raise ValueError(f"{job.name} made {found['updates']} updates; {job.warmup} are warm-up: use more rows")
    speed = examples_per_s(found["timing"], facts["tokens_per_row"])
    share = ceiling_share(
        speed,
        tokens_per_row=facts["tokens_per_row"],
        flops_per_token=facts["flops_per_token"],
        gflops=facts["best_gflops"],
    )
    clear(job)
    say(f"{of} {job.name}: {speed:.1f} examples/s, {found['wall_s']:.0f} s")
    kept = {key: value for key, value in found.items() if key not in ("model", "run")}
    return {**kept, "examples_per_s": speed, "ceiling_share": share}


def summary(job: Job, runs: list[dict[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    """Return a side's repeats as one: medians with the least and the most; the scores are those of the first repeat."""
    scores = runs[0].get("scores")
    return {
        "name": job.name,
        "kind": job.kind,
        "batch": job.learning.batch if job.learning else None,
        "settings": "as the machine measures" if job.kind == "septet" else job.tuning.label,
        **{
            key: Spread.of([run[key] for run in runs]).to_json()
            for key in ("examples_per_s", "ceiling_share", "peak_bytes", "wall_s", "start_s")
        },
        **{metric: scores and of_all(scores)[metric] for metric in metrics},
    }


def ratios(found: Runs, pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, float]]:
    """Return the speed of the first side of each pair over that of the second, repeat by repeat."""
    speed = {name: [run["examples_per_s"] for run in runs] for name, runs in found.items()}
    return {f"{a} / {b}": ratio(speed[a], speed[b]).to_json() for a, b in pairs}


def ratio_lines(found: dict[str, dict[str, float]]) -> list[str]:
    """Return each ratio in words."""
    return [f"{name}: {r['median']:.2f} times ({r['low']:.2f}-{r['high']:.2f})" for name, r in found.items()]
