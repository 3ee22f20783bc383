"""What the processes of `crew.py` do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from septet.display import Screen
from septet.engine.passes import real
from septet.engine.ranks import here, join, leave
from septet.engine.step import backward, group_weights
from septet.launch import launched
from tiny import bench


def course(
    folder: str,
    out: str,
    *,
    until: int,
    kept: dict[str, Any] | None = None,
    divided: bool = False,
    compact: bool = True,
) -> None:
    """Write the gradient of the first update, what it changes, the losses, and what each rank has seen of every epoch.

    Args:
        divided: each rank holds its share of the model.
        compact: an embedding has masters of its used rows only, where it is whole.
    """
    ranks = join()
    options = {"count": 43, **(kept or {})}
    b = bench(Path(folder), **options)
    planner = replace(b.planner(batch=8, budget=60), rank=ranks.rank, world=ranks.world, in_step=divided)
    source, optimizer = b.source(planner), b.optimizer(divided=divided, compact=compact)
    before = optimizer.masters.state()
    epoch, batches = source.group(0)
    totals = group_weights(b.task, real(batches))
    b.model.train()
    for batch in batches:
        b.clock.set(batch.rows, epoch)
        backward(b.model, b.task, batch, totals, scale=0.0 if batch.fills else 1.0)
    optimizer.masters.add_up_gradients(ranks)
    # cloned, because the tensors that hold them are used again
    gradient = {f"gradient.{n}": whole(optimizer.masters, n).clone() for n in optimizer.masters.tensors}
    optimizer.step(1e-3)
    after = optimizer.masters.state()
    update = {f"update.{n}": after[n] - before[n] for n in after}
    optimizer.masters.load_state(before)
    for name in optimizer.names:
        master = optimizer.masters.tensors[name]
        optimizer._inner_of(master).state.pop(master)
    steps = b.steps(planner, optimizer, total=50, until=until)
    groups = range(2 * planner.groups_per_epoch)
    seen = [[int(r) for batch in real(source.group(i)[1]) for r in batch.rows] for i in groups]
    passes = [len(source.group(i)[1]) for i in groups]
    last = optimizer.masters.state()
    sums = ranks.gather([float(t.double().sum()) for t in last.values()])
    everyone, everyones_passes = ranks.gather(seen), ranks.gather(passes)
    held = ranks.gather(sum(t.numel() for t in [*optimizer.masters.tensors.values(), *optimizer.state().values()]))
    if ranks.lead:
        save_file({**gradient, **update, **{f"last.{n}": t for n, t in last.items()}}, f"{out}.safetensors")
        facts = {
            "losses": [s.loss for s in steps],
            "norms": [s.grad_norm for s in steps],
            "rows": [s.rows for s in steps],
            "tokens": [s.tokens for s in steps],
            "seen": everyone,
            "passes": everyones_passes,
            "held": held,
            "sums": sums,
            "groups": planner.groups_per_epoch,
            "all": [e.row for e in b.examples],
        }
        Path(f"{out}.json").write_text(json.dumps(facts))


def whole(masters: Any, name: str) -> torch.Tensor:
    """Return the whole gradient of a master, of which a rank may hold some rows."""
    grad, p = masters.tensors[name].grad, masters.parameters[name]
    if masters.cut is None:
        return grad
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(grad, p.device_mesh, p.placements, shape=p.shape, stride=p.stride()).full_tensor()


def verb(
    source: dict[str, Any], run: str, *, stop: int | None = None, tokens: int | None = None, **options: Any
) -> int:
    """Train as `python -m septet train` does; each rank's output goes to a file beside the run.

    Args:
        stop: the leader is interrupted after this update.
        tokens: of a batch of validation.
    """
    import contextlib

    from septet import journey
    from septet.model import predictor

    predictor.TOKENS = tokens or predictor.TOKENS
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


def full(source: dict[str, Any], run: str, *, rank: int, saves: int) -> int:
    """Train, with a disk that is full for one rank after so many files of masters."""
    from septet import durable

    write, done = durable.write_file, [0]

    def planted(path: Path, content: Any) -> Any:
        if launched().rank == rank and path.name.startswith("masters"):
            done[0] += 1
            if done[0] > saves:
                raise durable.DiskFull(path, content.size, 0)
        return write(path, content)

    durable.write_file = planted
    return verb(source, run)


def failing(source: dict[str, Any], run: str, *, fail: list[int]) -> int:
    """Train, with a loss that is no number on one rank after so many updates, until the run goes back to a checkpoint."""
    from septet.tasks.classify import Classify

    rank, updates = fail
    compute, done = Classify.loss, [0]

    def planted(self: Classify, model: Any, batch: Any) -> dict[str, torch.Tensor]:
        losses = compute(self, model, batch)
        if model.training and launched().rank == rank:
            lines = Path(run, "steps.jsonl")
            done[0] = len(lines.read_text().splitlines()) if lines.exists() else 0
            if done[0] >= updates and not Path(run, "rollbacks.json").exists():
                return {part: value * float("nan") for part, value in losses.items()}
        return losses

    Classify.loss = planted  # type: ignore[method-assign]
    return verb(source, run)


def lacking(source: dict[str, Any], run: str, *, rank: int) -> int:
    """Train in bf16 where one rank's machine has no compiler; write by what each rank moves its masters, and what these come to."""
    import hashlib

    from septet.course import Course
    from septet.engine import compiled, native

    if launched().rank == rank:
        compiled.no_compiler = lambda *_: "no working C++ compiler"
        native._loaded = lambda: (None, "no C++ compiler (g++) is installed")
    go = Course.go

    def watched(self: Course) -> None:
        go(self)
        masters = self.optimizer.masters.state()
        sums = hashlib.sha256(b"".join(masters[name].numpy().tobytes() for name in sorted(masters))).hexdigest()
        told = {"optimizer": type(self.optimizer).__name__, "masters": sums}
        Path(f"{run}.{launched().rank}.json").write_text(json.dumps(told))

    Course.go = watched  # type: ignore[method-assign]
    return verb(source, run)
