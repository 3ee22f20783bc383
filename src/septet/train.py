"""Stage 4: train, and leave an artifact.

What happens between two updates stands in `course.py`. After the last step the best weights are restored, merged, written as an artifact, and read back:
what is scored later is the artifact, not what was in memory. The test split is never opened.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from septet import durable
from septet.course import Course, estimated, seek_best_anew
from septet.data.ledger import record_truncation
from septet.data.store import Prepared
from septet.encode import folder_of
from septet.engine import rollback
from septet.engine import state as states
from septet.engine.device import with_room
from septet.engine.machine import forget_peak, machine, peak_memory_bytes
from septet.engine.optim import Optimizer
from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.engine.timing import Timer
from septet.errors import DiskFull, RunError, explain_foreign
from septet.interrupt import Interrupted, watched
from septet.model import card
from septet.model.artifact import seal, sha256, write_artifact
from septet.model.predictor import Predictor
from septet.prepare import prepare
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.resume import Difference, facts, settle
from septet.resume import finding as mixture
from septet.run import Run
from septet.setup import Setup, build, set_up
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
            f"peak memory {self.costs['peak_memory_bytes'] / 2**30:.2f} GiB\n"
            f"{against(self.costs)}\n"
            f"stopped     {self.stopped}\n{_guarded(self.costs)}"
            f"best        {_best(self.best)}\n"
            f"model       {self.run.model}"
            + ("" if self.timing is None else f"\n\n{timing_table(self.costs, self.timing)}")
        )


def train(
    recipe: Recipe,
    run: Run,
    *,
    resume: bool = False,
    force: bool = False,
    changed: Sequence[Difference] = (),
    profile: bool = False,
    tables: Mapping[str, Any] | None = None,
    listen: Listen = quiet,
) -> Trained:
    """Train, and leave a finished artifact in the run.

    Args:
        recipe: as given, or resolved.
        run: a created folder; its lock is taken here.
        resume: go on from the newest whole checkpoint.
        force: resume although something has changed.
        changed: what has changed in the recipe.
        profile: look closely at where the time goes, and write `timing.json`; what is learned stays the same.
        tables: in-memory splits instead of files.
        listen: told of all progress.

    Raises:
        RunError: the folder holds another run, or nothing to resume, or something has changed since.
        TrainingError: the loss or the gradient is not a number, or the loss diverges (`train.guard`).
        ResourceError: the disk is full; what was saved before is kept, and the run can be resumed.
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the run can be resumed.
    """
    ranks = here()
    # several processes are stopped by what started them: a signal does not reach all of them at one update
    with watched() if ranks.world == 1 else nullcontext(), ranks.together(), run.locked():
        with ranks.lead_first("look"):
            if ranks.lead:
                _check_state(run, resume)
        try:
            with ranks.lead_first("prepare"):
                prepared = _prepared(recipe, run, changed, force=force, tables=tables, listen=listen)
            listen("stage", name="train")
            with ranks.together():
                return _train(recipe, run, prepared, resume, listen, profile=profile)
        except DiskFull as error:
            full = explain_foreign(error) or error
            run.fail(full)
            raise full from error
        except Interrupted as stop:
            if stop.step is None and run.started:
                stop.step = states.newest_step(run.checkpoints)
            run.event("interrupted", **stop.facts())
            run.fail(stop, **stop.facts())
            listen("note", text=str(stop))
            raise
        except BaseException as error:
            run.fail(error)
            raise


def _prepared(
    recipe: Recipe,
    run: Run,
    changed: Sequence[Difference],
    *,
    force: bool,
    tables: Mapping[str, Any] | None,
    listen: Listen,
) -> Prepared:
    """Return the prepared data; one process prepares them, fetches the model, and holds them against what the run was begun with."""
    if not here().lead:
        return Prepared.of(run)
    prepared = prepare(recipe, run, tables=tables, listen=listen)
    folder = folder_of(recipe, prepared, listen=listen)
    settle(run, facts(prepared, folder), changed, force=force)
    return prepared


def _best(best: dict[str, Any]) -> str:
    if best["value"] is None:
        return f"the last weights, of step {best['step']:,}: there is no validation split to choose by"
    return f"{best['metric']} {best['value']:.4f} on validation at step {best['step']:,}"


def _guarded(costs: dict[str, Any]) -> str:
    """Return the line that says what the guard did, if it did anything."""
    told = {
        "updates left out": costs["left_out_updates"],
        "rollbacks": costs["rollbacks"],
        "times the micro-batches were halved for memory": costs["memory_splits"],
    }
    found = ", ".join(f"{count:,} {what}" for what, count in told.items() if count)
    return f"guarded     {found}\n" if found else ""


def _train(recipe: Recipe, run: Run, prepared: Prepared, resume: bool, listen: Listen, *, profile: bool) -> Trained:
    forget_peak()  # of reading and preparing the data: what `check` estimates is what training takes
    timer = Timer()
    with timer("setup"):
        setup = set_up(recipe, prepared, listen=listen)
    for split, (rows, tokens) in setup.truncation.items():
        record_truncation(run, split, rows=rows, tokens=tokens)
    setup.findings.add(mixture(run))
    for finding in setup.findings:
        listen("finding", finding=finding)
    run.write_text("recipe.yaml", setup.recipe.to_yaml())
    run.write_json("env.json", {**machine(run.path), "ceiling": setup.ceiling.to_json()})
    run.write_json(
        "setup.json",
        {"findings": setup.findings.to_json(), "truncation": setup.truncation, "model": model_facts(setup)},
    )
    optimizer = setup.optimizer()
    durable.need_room(run.path, max(0, disk_bytes(setup) - states.held_bytes(run.checkpoints)))
    if setup.frozen is not None:
        with timer("frozen"):
            setup.keep_states(listen)
    state = _restore(run, optimizer, resume, listen)
    timer.add(state.spent)
    run.event("train", step=state.step, total=setup.total)
    course = Course(run, setup, state, optimizer, listen, timer=timer)
    if profile:
        course.profile()
    course.go()
    with here().lead_first("finish"):
        return _finish(course) if here().lead else trained(run)


def model_facts(setup: Setup) -> dict[str, Any]:
    """Return what was loaded, how much of it learns, and which tensors are new."""
    every = list(setup.model.parameters())
    return {
        "folder": str(setup.base.folder),
        "dtype": setup.base.dtype,
        "parameters": sum(p.numel() for p in every),
        "trainable": sum(p.numel() for p in every if p.requires_grad),
        "fresh": setup.base.fresh,
        "unused": setup.base.unused,
    }


def disk_bytes(setup: Setup) -> int:
    """Return the most that a run's checkpoints (weights and two moments each) and its model take on the disk at a time."""
    learnt = 4 * sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    # a new checkpoint, and new best weights, lie beside those they replace
    return learnt * (3 * (setup.recipe.train.keep + 1) + 2) + _model_bytes(setup)


def _model_bytes(setup: Setup) -> int:
    import torch

    return sum(p.numel() for p in setup.model.parameters()) * getattr(torch, setup.base.dtype).itemsize


def _check_state(run: Run, resume: bool) -> None:
    if run.done:
        raise RunError("This folder holds a finished run.", where=str(run.path), hint="another folder: --run DIR")
    if run.started and not resume:
        raise RunError(
            "This folder holds an unfinished run.",
            where=str(run.path),
            hint="go on with it: --resume; or start another: --run DIR",
        )
    if resume and not run.started:
        raise RunError("There is nothing to resume here.", where=str(run.path), hint="leave out --resume")


def _restore(run: Run, optimizer: Optimizer, resume: bool, listen: Listen) -> TrainState:
    """Return the state to begin with; after a resume the streams hold only what the checkpoint knows of."""
    if resume:
        with here().lead_first("resume"):
            rollback.drop_left_behind(run)
    found = states.load_latest(run.checkpoints) if resume else None
    _check_seen(run, found)
    state = TrainState() if found is None else found.state
    if found is not None:
        for passed in found.passed_over:
            listen("note", text=f"passed over a damaged checkpoint: {passed}")
        rollback.take_up(run, state)
        if found.masters:
            optimizer.masters.load_state(found.masters)
            optimizer.load_state(found.optimizer)
        seek_best_anew(run, state, listen)
        listen("note", text=f"resumed at step {state.step:,}")
    if not here().lead:
        return state
    for kind in ("step", "best"):
        durable.sweep(run.checkpoints, kind)
    for left in run.path.glob(".*.tmp"):  # of a process that was killed while it wrote
        left.unlink() if left.is_file() else shutil.rmtree(left, ignore_errors=True)
    rollback.cut_streams(run, state)
    return state


def _check_seen(run: Run, found: states.Checkpoint | None) -> None:
    """Refuse to go on where the processes do not see the same checkpoint."""
    seen = here().gather(None if found is None else found.state.step)
    if any(step != seen[0] for step in seen):
        raise RunError(
            "The processes of this run do not see the same checkpoints.",
            where=f"{run.checkpoints}: steps {', '.join(map(str, seen))}",
            hint="a run folder that all machines share: --run DIR",
        )


def trained(run: Run) -> Trained:
    """Return what a finished run came to, from its folder."""
    events = [event for event in run.records("events.jsonl") if event["event"] == "trained"]
    done = events[-1]
    return Trained(run, done["step"], run.read_json("best.json"), run.read_json("costs.json"), done["stopped"])


def _finish(course: Course) -> Trained:
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
        need = _model_bytes(setup)
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
    import torch

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
        "saving": course.checkpoints.cost.to_json(),
        "estimate": estimated(course.run),
        "forecasts": course.forecast.record(gone_s),
    }
