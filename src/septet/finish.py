"""The end of training: the best weights become an artifact, which is read back and asked for its profile; and what the run came to.

What is scored later is the artifact, not what was in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from septet import durable
from septet.course import Course, estimated
from septet.engine import state as states
from septet.engine.device import with_room
from septet.engine.machine import gpu_peak_bytes, peak_memory_bytes
from septet.errors import RunError
from septet.model import card
from septet.model.artifact import seal, sha256, write_artifact
from septet.model.predictor import Predictor
from septet.run import Run
from septet.setup import Setup, build
from septet.timetable import against, timing_table
from septet.watch.profile import write as write_profile

# validation rows that answers are written to for the profile: enough for the tests of drift, and soon done
PROFILED_TEXTS = 200


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run came to."""

    run: Run
    steps: int
    best: dict[str, Any]
    costs: dict[str, Any]
    stopped: str
    timing: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run.path),
            "model": str(self.run.model),
            "steps": self.steps,
            "best": self.best,
            "costs": self.costs,
            "stopped": self.stopped,
            **({} if self.timing is None else {"timing": self.timing}),
        }

    def text(self) -> str:
        return (
            f"trained     {self.steps:,} updates in {self.costs['train_s']:.0f} s, {self.costs['rows_per_s']:.0f} rows/s, "
            f"peak memory {self.costs['peak_memory_bytes'] / 2**30:.2f} GiB{_of_gpu(self.costs)}\n"
            f"{against(self.costs)}\n"
            f"stopped     {self.stopped}\n{_guarded(self.costs)}"
            f"best        {_best(self.best)}\n"
            f"model       {self.run.model}"
            + ("" if self.timing is None else f"\n\n{timing_table(self.costs, self.timing)}")
        )


def trained(run: Run) -> Trained:
    """Return what a finished run came to, from its folder."""
    events = [event for event in run.records("events.jsonl") if event["event"] == "trained"]
    done = events[-1]
    return Trained(run, done["step"], run.read_json("best.json"), run.read_json("costs.json"), done["stopped"])


def _best(best: dict[str, Any]) -> str:
    if best["value"] is None:
        return f"the last weights, of step {best['step']:,}: there is no validation split to choose by"
    return f"{best['metric']} {best['value']:.4f} on validation at step {best['step']:,}"


def _of_gpu(costs: dict[str, Any]) -> str:
    peak = costs.get("peak_gpu_memory_bytes")
    return "" if peak is None else f", of the GPU {peak / 2**30:.2f} GiB"


def _guarded(costs: dict[str, Any]) -> str:
    """Return the line that says what the guard did, if it did anything."""
    told = {
        "updates left out": costs["left_out_updates"],
        "rollbacks": costs["rollbacks"],
        "times the micro-batches were halved for memory": costs["memory_splits"],
    }
    found = ", ".join(f"{count:,} {what}" for what, count in told.items() if count)
    return f"guarded     {found}\n" if found else ""


def finish(course: Course) -> Trained:
    """Leave the artifact of a run whose updates are done, and return what it came to.

    Raises:
        RunError: the best weights are gone.
        DiskFull: there is no room for the artifact.
    """
    run, setup, state = course.run, course.setup, course.state
    best = state.best or {"step": state.step, "metric": course.train.metric, "value": float("nan")}
    weights = states.load_best(run.checkpoints, best["step"])
    if weights is None:
        raise RunError(
            "The best checkpoint is gone or damaged.",
            where=str(run.checkpoints),
            hint="resume from an earlier one: --resume",
        )
    timing = None
    if course.breakdown is not None:
        with course.timer("profile"):
            timing = course.breakdown.facts(
                tokens_per_s=_speed(course)["tokens_per_s"], step_s=state.seconds / max(1, state.step)
            )
    with course.timer("finish"):
        course.release()
        need = model_bytes(setup)
        durable.need_room(run.model, need)
        with durable.full_disk(run.model, need):
            write_model(run, setup, weights, card.text(setup, best, _speed(course)))
        if rows := profiled_rows(setup):
            write_profile(run.model, Predictor.load(run.model, with_room(setup.device, need)).predict(rows, embed=True))
            seal(run.model)
    costs = _costs(course)
    run.write_json("costs.json", costs)
    if timing is not None:
        run.write_json("timing.json", timing)
    run.event("trained", step=state.step, stopped=course.stopped)
    run.finish()
    return Trained(run, state.step, best, costs, course.stopped, timing)


def profiled_rows(setup: Setup) -> list[dict[str, Any]]:
    """Return the validation rows that the artifact is asked for its profile."""
    if not (setup.task.answers_rows and setup.validation):
        return []
    rows = setup.prepared.rows("validation")
    return rows if setup.task.answers_with == "choices" else rows[:PROFILED_TEXTS]


def write_model(run: Run, setup: Setup, weights: Mapping[str, Any], text: str) -> None:
    """Write a run's artifact from the fp32 masters, merged, with the adapter beside it."""
    # built anew: what is frozen comes from the checkpoint as it is, not rounded to what the run computed in
    _, model, _ = build(setup.recipe, setup.task, setup.method, setup.base.folder, setup.processor)
    with torch.no_grad():
        parameters = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, value in weights.items():
            parameters[name].copy_(value)
    adapter_folder = run.path / ".adapter.tmp"
    shutil.rmtree(adapter_folder, ignore_errors=True)
    setup.method.save(model, adapter_folder, _base(setup))
    merged = setup.method.merge(model)

    def adapter(folder: Any) -> None:
        adapter_folder.rename(folder)

    write_artifact(
        run.model,
        model=merged,
        task=setup.task,
        processor=setup.processor,
        clean=setup.prepared.cleaning(setup.recipe.data.clean),
        dtype=setup.base.dtype,
        card=text,
        adapter=adapter if adapter_folder.exists() else None,
    )


def _base(setup: Setup) -> dict[str, Any]:
    """Return which checkpoint an adapter belongs to: its name, revision, and the sha256 of its weights."""
    model = setup.recipe.model
    weights = sorted(setup.base.folder.glob("*.safetensors"))
    return {"name": model.title, "revision": model.revision, "sha256": {path.name: sha256(path) for path in weights}}


def _speed(course: Course) -> dict[str, Any]:
    """Return what the updates took."""
    state = course.state
    seconds = max(state.seconds, 1e-9)
    rate = course.setup.ceiling.rate(course.train.precision or "fp32") * 1e9
    return {
        "train_s": round(seconds, 3),
        "rows": state.rows,
        "tokens": state.tokens,
        "rows_per_s": round(state.rows / seconds, 2),
        "tokens_per_s": round(state.tokens / seconds, 1),
        "ceiling_share": round(state.tokens * course.flops / seconds / rate, 4),
        "padding_share": round(course.setup.planner.padding(), 4),
        "skipped_updates": state.skipped,
        "left_out_updates": state.watch.left_out,
        "rollbacks": state.watch.rollbacks,
        "memory_splits": state.watch.splits,
    }


def _costs(course: Course) -> dict[str, Any]:
    """Return what the whole stage took, beside what `check` had said."""
    parts = course.timer.settle()
    gone_s = sum(parts.values())
    return {
        **_speed(course),
        "stage_s": round(gone_s, 3),
        "parts_s": {part: round(seconds, 3) for part, seconds in sorted(parts.items(), key=lambda item: -item[1])},
        "peak_memory_bytes": peak_memory_bytes(),
        **({"peak_gpu_memory_bytes": gpu_peak_bytes()} if course.setup.device.type == "cuda" else {}),
        "saving": course.checkpoints.cost.to_json(),
        "estimate": estimated(course.run),
        "forecasts": course.forecast.record(gone_s),
    }


def model_bytes(setup: Setup) -> int:
    return sum(p.numel() for p in setup.model.parameters()) * getattr(torch, setup.base.dtype).itemsize
