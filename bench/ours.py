"""Septet on the prepared rows: `septet train` as it is, listened to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.jobs import Job
from bench.speed import Timing


class Ear:
    """Notes when each update ended, and which came after a validation."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.after_validation: set[int] = set()
        self.first = 0.0
        self._validated = False

    def __call__(self, event: str, **facts: Any) -> None:
        if event == "evaluation":
            self._validated = True
        elif event == "step":
            self.ends.append(time.perf_counter())
            self.first = self.first or time.time()
            if self._validated:
                self.after_validation.add(len(self.ends) - 1)
            self._validated = False


def train(job: Job) -> dict[str, Any]:
    """Train, and return timing and settings."""
    from septet import journey
    from septet.run import Run

    overrides = [*job.overrides, *(job.learning.overrides() if job.learning else [])]
    if job.max_steps:
        overrides.append(f"train.max_steps={job.max_steps}")
    ear = Ear()
    folder = job.run
    found = journey.train(job.recipe, overrides, run=folder, listen=ear)
    steps = Run(folder).records("steps.jsonl")
    data = Run(folder).read_json("data.json")
    if (folder / data["prepared"]).resolve() != Path(job.prepared).resolve():
        raise RuntimeError(f"Septet trained on {data['prepared']}, not on the rows of the other side")
    ends = without_validation(ear.ends, ear.after_validation, [step["seconds"] for step in steps])
    made = [(step["rows"], step["tokens"], 0) for step in steps]
    recipe = (folder / "recipe.yaml").read_text()
    return {
        "model": str(found.run.model),
        "run": str(folder),
        "timing": Timing.of(ends, made, warmup=job.warmup).to_json() if len(ends) > job.warmup else None,
        "start_s": ear.first - steps[0]["seconds"] - job.launched,
        "updates": found.steps,
        "padding_share": found.costs["padding_share"],
        "best": found.best,
        "settings": {"recipe": recipe, "overrides": overrides},
    }


def without_validation(ends: list[float], after: set[int], seconds: list[float]) -> list[float]:
    """Return the ends of the updates on a clock that stands still during validations and checkpoints.

    Args:
        ends: wall clock.
        after: places of the updates before which there was a validation.
        seconds: each update's own time; used for those.
    """
    clock, shown = 0.0, []
    for i, end in enumerate(ends):
        clock += seconds[i] if i == 0 or i in after else end - ends[i - 1]
        shown.append(clock)
    return shown
