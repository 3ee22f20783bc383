"""Going back to an earlier checkpoint, so that a process killed at any moment of it goes on to the same bytes.

`rollbacks.json` of the run is written before anything else is touched: a line for each return, with what of the guard's memory outlives it.
A resume drops checkpoints that the last return left behind, and takes up what it says. `steps.jsonl` holds the course that counts;
what was gone back on is told in `events.jsonl`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from septet.engine import state as states
from septet.engine.guard import SLOWER, GoBack, row_name
from septet.engine.optim import AdamW
from septet.engine.state import TrainState
from septet.run import Run

RECORD = "rollbacks.json"
# of the guard's memory: what a return does not undo
_OUTLIVES = ("rollbacks", "lr_scale", "avoided", "micro_batch", "token_budget", "splits", "answers_halved")


def go_back(run: Run, state: TrainState, optimizer: AdamW, cause: GoBack) -> dict[str, Any]:
    """Return the run to its newest whole checkpoint that is good, and what was done.

    Args:
        state: changed in place.
        cause: why, and how far.

    Raises:
        SeptetError: there is no such checkpoint; the one that `cause` brings.
    """
    found = states.load_latest(run.checkpoints, cause.good)
    if found is None or not found.masters:
        raise cause.failure
    watch = state.watch
    watch.rollbacks += 1
    if cause.diverged:
        watch.lr_scale *= SLOWER
    if cause.avoid:
        watch.avoided = [*watch.avoided, cause.step]
    entry = {
        "at": cause.step,
        "to": found.state.step,
        "reason": cause.reason,
        "rows": [row_name(row) for row in cause.rows],
        "watch": {name: getattr(watch, name) for name in _OUTLIVES},
    }
    undone = [[line["step"], line["loss"]] for line in run.records("steps.jsonl") if line["step"] > entry["to"]]
    told = {name: entry[name] for name in ("at", "to", "reason", "rows")}
    run.event("rollback", **told, lr_scale=watch.lr_scale, undone=undone)
    run.write_json(RECORD, [*_entries(run), entry])
    states.forget_after(run.checkpoints, found.state.step)
    for each in fields(TrainState):
        setattr(state, each.name, getattr(found.state, each.name))
    take_up(run, state)
    optimizer.masters.load_state(found.masters)
    optimizer.load_state(found.optimizer)
    cut_streams(run, state)
    return entry


def drop_left_behind(run: Run) -> None:
    """Delete the checkpoints that the last return left behind and a killed process could not delete."""
    if entries := _entries(run):
        states.forget_after(run.checkpoints, entries[-1]["to"], rollbacks=len(entries))


def take_up(run: Run, state: TrainState) -> None:
    """Give a state from before the last return what outlives it."""
    entries = _entries(run)
    if entries and state.watch.rollbacks < len(entries):
        for name, value in entries[-1]["watch"].items():
            setattr(state.watch, name, value)


def cut_streams(run: Run, state: TrainState) -> None:
    """Keep only what the state knows of."""
    for stream, last in (("steps.jsonl", state.step), ("evaluations.jsonl", state.step - state.owes)):
        run.rewrite(stream, [record for record in run.records(stream) if record["step"] <= last])


def _entries(run: Run) -> list[dict[str, Any]]:
    return run.read_json(RECORD) if (run.path / RECORD).exists() else []
