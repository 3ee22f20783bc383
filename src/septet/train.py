"""Stage 4: train, and leave an artifact.

What happens between two updates stands in `course.py`, what after the last one in `finish.py`. The test split is never opened.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from septet import durable
from septet.course import Course, seek_best_anew
from septet.data.ledger import record_truncation
from septet.data.store import Prepared
from septet.encode import folder_of
from septet.engine import rollback
from septet.engine import state as states
from septet.engine.device import repeatable
from septet.engine.machine import forget_peak, machine
from septet.engine.optim import Optimizer
from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.engine.timing import Timer
from septet.errors import DiskFull, RunError, explain_foreign
from septet.finish import Trained, finish, model_bytes, trained
from septet.hasten import computed_by
from septet.interrupt import Interrupted, watched
from septet.model.load import look_ahead
from septet.prepare import prepare
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.resume import Difference, facts, settle, settle_computing
from septet.resume import finding as mixture
from septet.run import Run
from septet.setup import Setup, set_up


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
                return _train(recipe, run, prepared, resume, listen, profile=profile, force=force)
        except DiskFull as error:
            full = explain_foreign(error) or error
            run.fail(full)
            raise full from error
        except Interrupted as stop:
            if stop.step is None and run.started:
                stop.step = states.newest_step(run.checkpoints)
            run.event("interrupted", **stop.facts())
            run.fail(stop, **stop.facts())
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
    look_ahead(recipe)
    prepared = prepare(recipe, run, tables=tables, listen=listen)
    folder = folder_of(recipe, prepared, listen=listen)
    settle(run, facts(prepared, folder), changed, force=force)
    return prepared


def _train(
    recipe: Recipe, run: Run, prepared: Prepared, resume: bool, listen: Listen, *, profile: bool, force: bool
) -> Trained:
    with repeatable(recipe.train.device):
        course = _begin(recipe, run, prepared, resume, listen, force=force)
        if profile:
            course.profile()
        course.go()
    with here().lead_first("finish"):
        return finish(course) if here().lead else trained(run)


def _begin(recipe: Recipe, run: Run, prepared: Prepared, resume: bool, listen: Listen, *, force: bool) -> Course:
    """Return a run that is set up, and brought to where it is to go on from; nothing else holds what it trains."""
    forget_peak()  # of reading and preparing the data: what `check` estimates is what training takes
    timer = Timer()
    with timer("setup"):
        setup = set_up(recipe, prepared, listen=listen)
    optimizer = setup.optimizer()
    if here().lead:
        settle_computing(run, computed_by(setup, optimizer), force=force)
    run.go_on()
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
    durable.need_room(run.path, max(0, disk_bytes(setup) - states.held_bytes(run.checkpoints)))
    if setup.frozen is not None:
        with timer("frozen"):
            setup.keep_states(listen)
    state = _restore(run, optimizer, resume, listen)
    timer.add(state.spent)
    run.event("train", step=state.step, total=setup.total)
    return Course(run, setup, state, optimizer, listen, timer=timer)


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
    return learnt * (3 * (setup.recipe.train.keep + 1) + 2) + model_bytes(setup)


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
