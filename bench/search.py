"""The best settings of a peer on this machine: each is run for one epoch over a few rows, the fastest is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.jobs import Job, Learning, SftTuning, Tuning
from bench.launch import JobError, clear, launch
from bench.speed import examples_per_s

BATCHES, SFT_BATCHES = (32, 64), (16, 32)
ATTENTION = ("eager", "sdpa")
SAMPLING = ("random", "group_by_length")
T = TypeVar("T", bound=Tuning)
# below this gain autocast only adds casts
WORTHWHILE = 1.1
# from this gain on fp32 is not tried
CERTAIN = 3.0


def candidates(bf16_gain: float, *, length: int, compiled: bool = False) -> Iterator[tuple[int, Tuning]]:
    """Yield (rows per update, settings): bf16 autocast only where the machine multiplies bf16 faster, and alone where by far.

    Fused AdamW is not a choice here: it is Trainer's default.
    """
    for precision, sampling, attention, batch in product(_precisions(bf16_gain), SAMPLING, ATTENTION, BATCHES):
        tuning = Tuning(precision=precision, sampling=sampling, attention=attention, length=length)
        yield from _with_compiled(batch, tuning, compiled)


def sft_candidates(facts: dict[str, Any], *, length: int, compiled: bool = False) -> Iterator[tuple[int, SftTuning]]:
    """Yield (rows per update, settings) of SFTTrainer, none of which computes activations twice or pads in random order.

    Rows end to end are tried with fused attention only: eager attention would hold a table of all tokens of an update by all of them.
    """
    own = SftTuning(length=length, checkpointing=False)
    for precision, batch in product(_precisions(facts["bf16_gain"]), SFT_BATCHES):
        padded = [replace(own, sampling="group_by_length", attention=attention) for attention in ATTENTION]
        flat = [
            replace(own, attention="sdpa", layout="padding-free"),
            replace(own, attention="sdpa", layout="packed", length=pack_length(batch, facts)),
        ]
        for tuning in (*padded, *flat):
            yield from _with_compiled(batch, replace(tuning, precision=precision), compiled)


def pack_length(batch: int, facts: dict[str, Any]) -> int:
    """Return the tokens of a pack that holds so many rows on average, and any one of them."""
    return max(facts["longest_row"], math.ceil(batch * facts["tokens_per_row"]))


def search(
    job: Job,
    learning: Learning,
    facts: dict[str, Any],
    settings: Iterable[tuple[int, T]],
    *,
    rows: int,
    say: Callable[[str], None],
) -> tuple[int, T, list[dict[str, Any]]]:
    """Return the fastest rows per update and settings, and all that was tried with its speed; a setting that fails is recorded too.

    Args:
        job: a job of the peer that says which rows and where to work.
        rows: training rows of each trial; more where they are fewer than the updates of warm-up and as many again.
    """
    tried: list[dict[str, Any]] = []
    best: tuple[float, int, T] | None = None
    for batch, tuning in settings:
        trial = replace(
            job,
            name=f"batch {batch}, {tuning.label}",
            learning=replace(learning, batch=batch),
            tuning=tuning,
            rows=max(rows, 2 * job.warmup * batch),
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
        raise JobError("no setting of the peer ran; the first error:\n" + tried[0]["error"])
    return best[1], best[2], tried


def _precisions(bf16_gain: float) -> tuple[Literal["fp32", "bf16"], ...]:
    if bf16_gain >= CERTAIN:
        return ("bf16",)
    return ("fp32", "bf16") if bf16_gain >= WORTHWHILE else ("fp32",)


def _with_compiled(batch: int, tuning: T, compiled: bool) -> Iterator[tuple[int, T]]:
    yield batch, tuning
    if compiled:
        yield batch, replace(tuning, compiled=True)
