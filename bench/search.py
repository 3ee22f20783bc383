"""The best settings of Trainer on this machine: each is run for one epoch over a few rows, the fastest is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from bench.jobs import Job, Learning, Tuning
from bench.launch import JobError, clear, launch
from bench.speed import examples_per_s

BATCHES = (32, 64)
ATTENTION = ("eager", "sdpa")
SAMPLING = ("random", "group_by_length")
# below this gain autocast only adds casts
WORTHWHILE = 1.1


def candidates(bf16_gain: float, *, length: int, compiled: bool = False) -> Iterator[tuple[int, Tuning]]:
    """Yield (rows per update, settings): bf16 autocast only where the machine multiplies bf16 faster.

    Fused AdamW is not a choice here: it is Trainer's default.
    """
    precisions = ("fp32", "bf16") if bf16_gain >= WORTHWHILE else ("fp32",)
    for precision, sampling, attention, batch in product(precisions, SAMPLING, ATTENTION, BATCHES):
        tuning = Tuning(precision=precision, sampling=sampling, attention=attention, length=length)
        yield batch, tuning
        if compiled:
            yield batch, replace(tuning, compiled=True)


def search(
    job: Job, learning: Learning, facts: dict[str, Any], *, rows: int, compiled: bool, say: Callable[[str], None]
) -> tuple[int, Tuning, list[dict[str, Any]]]:
    """Return the fastest rows per update and settings, and all that was tried with its speed; a setting that fails is recorded too.

    Args:
        job: a Trainer job that says which rows and where to work.
        rows: training rows of each trial.
    """
    tried: list[dict[str, Any]] = []
    best: tuple[float, int, Tuning] | None = None
    for batch, tuning in candidates(facts["bf16_gain"], length=job.tuning.length, compiled=compiled):
        trial = replace(
            job,
            name=f"batch {batch}, {tuning.label}",
            learning=replace(learning, batch=batch),
            tuning=tuning,
            rows=rows,
        )
        trial = trial.at(Path(job.folder) / f"trial-{len(tried)}")
        record = {"name": trial.name, "batch": batch, **asdict(tuning)}
        try:
            found = launch(trial)
        except JobError as error:
            tried.append({**record, "error": str(error)[-500:]})
            say(f"  {trial.name}: failed")
            continue
        speed = examples_per_s(found["timing"], facts["tokens_per_row"])
        clear(trial)
        tried.append({**record, "examples_per_s": speed, "peak_bytes": found["peak_bytes"]})
        say(f"  {trial.name}: {speed:.1f} examples/s")
        if best is None or speed > best[0]:
            best = (speed, batch, tuning)
    if best is None:
        raise JobError("no setting of Trainer ran; the first error:\n" + tried[0]["error"])
    return best[1], best[2], tried
