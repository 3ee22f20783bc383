"""What the processes of `crew.py` do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from septet.display import Screen
from septet.engine.ranks import here, join, leave
from septet.engine.step import backward, group_weights
from septet.launch import launched
from tiny import bench


def course(folder: str, out: str, *, until: int, kept: dict[str, Any] | None = None, **plan: Any) -> None:
    """Write the gradient of the first update, what it changes, the losses, and what each rank has seen of every epoch."""
    ranks = join()
    options = {"count": 43, **(kept or {})}
    b = bench(Path(folder), **options)
    planner = replace(b.planner(**{"batch": 8, "budget": 60, **plan}), rank=ranks.rank, world=ranks.world)
    source, optimizer = b.source(planner), b.optimizer()
    before = optimizer.masters.state()
    epoch, batches = source.group(0)
    totals = group_weights(b.task, batches)
    b.model.train()
    for batch in batches:
        b.clock.set(batch.rows, epoch)
        backward(b.model, b.task, batch, totals)
    optimizer.masters.add_up_gradients(ranks)
    # cloned, because the tensors that hold them are used again
    gradient = {f"gradient.{n}": t.grad.clone() for n, t in optimizer.masters.tensors.items()}
    optimizer.step(1e-3)
    after = optimizer.masters.state()
    update = {f"update.{n}": after[n] - before[n] for n in after}
    optimizer.masters.load_state(before)
    for name in optimizer.names:
        master = optimizer.masters.tensors[name]
        optimizer._inner_of(master).state.pop(master)
    steps = b.steps(planner, optimizer, total=50, until=until)
    seen = [[int(r) for batch in source.group(i)[1] for r in batch.rows] for i in range(2 * planner.groups_per_epoch)]
    last = optimizer.masters.state()
    sums = ranks.gather([float(t.double().sum()) for t in last.values()])
    everyone = ranks.gather(seen)
    if ranks.lead:
        save_file({**gradient, **update, **{f"last.{n}": t for n, t in last.items()}}, f"{out}.safetensors")
        facts = {
            "losses": [s.loss for s in steps],
            "norms": [s.grad_norm for s in steps],
            "rows": [s.rows for s in steps],
            "tokens": [s.tokens for s in steps],
            "seen": everyone,
            "sums": sums,
            "groups": planner.groups_per_epoch,
            "all": [e.row for e in b.examples],
        }
        Path(f"{out}.json").write_text(json.dumps(facts))


def verb(source: dict[str, Any], run: str, *, stop: int | None = None, **options: Any) -> int:
    """Train as `python -m septet train` does; each rank's output goes to a file beside the run. The leader is interrupted after update `stop`."""
    import contextlib

    from septet import journey

    torch.set_num_threads(1)
    screen = Screen(silent=launched().follows)
    rank = launched().rank
    with (
        Path(f"{run}.{rank}.txt").open("a") as told,
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        try:
            with screen.progress(told) as listen:

                def hear(event: str, **facts: Any) -> None:
                    listen(event, **facts)
                    if event == "step" and facts["step"] == stop and rank == 0:
                        raise KeyboardInterrupt

                result = journey.train(source, run=run, listen=hear, **options)
            screen.result(result)
            return screen.exit_code
        except BaseException as error:
            return screen.error(error)


def talk(out: str) -> None:
    """Write what comes of each message between the ranks."""
    ranks = join()
    ones = [torch.full((3, 2), float(ranks.rank + 1)), torch.full((5,), 10.0 * (ranks.rank + 1))]
    ranks.add_up(ones)
    told = {
        "gather": ranks.gather({"rank": ranks.rank, "text": "ä" * (ranks.rank * 1000)}),
        "decide": ranks.decide(lambda: f"rank {here().rank}"),
        "any": [ranks.any(ranks.rank == 1), ranks.any(False)],
        "sum": ranks.sum([0.5, float(ranks.rank)]),
        "add_up": [t.flatten().tolist() for t in ones],
    }
    with ranks.lead_first("file"):
        if ranks.lead:
            Path(f"{out}.txt").write_text("here")
        told["found"] = Path(f"{out}.txt").read_text()
    Path(f"{out}.{ranks.rank}.json").write_text(json.dumps(told))
    leave()


def failing(source: dict[str, Any], run: str, *, fail: list[int]) -> int:
    """Train, with a loss that is no number on one rank after so many updates."""
    from septet.tasks.classify import Classify

    rank, updates = fail
    real, done = Classify.loss, [0]

    def planted(self: Classify, model: Any, batch: Any) -> dict[str, torch.Tensor]:
        losses = real(self, model, batch)
        if model.training and launched().rank == rank:
            lines = Path(run, "steps.jsonl")
            done[0] = len(lines.read_text().splitlines()) if lines.exists() else 0
            if done[0] >= updates:
                return {part: value * float("nan") for part, value in losses.items()}
        return losses

    Classify.loss = planted  # type: ignore[method-assign]
    return verb(source, run)
