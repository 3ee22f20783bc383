"""What a checkpoint costs: `python -m bench.saving [MILLIONS]` saves so many million parameters (22.7, the starter, unless said) five times.

Told are the median seconds that training stands still, those that the writer takes beside it and what of them is hashing and syncing, for each 100 MB
and for one save every five minutes. Nothing trains meanwhile; the first save, which makes the buffers, is told apart.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from septet.engine.masters import Masters
from septet.engine.optim import AdamW
from septet.engine.state import TrainState
from septet.engine.writer import Checkpoints
from septet.run import Run

SAVES = 5
EVERY_S = 300


def main(millions: float = 22.7) -> None:
    optimizer = trained(round(millions * 1e6))
    synced: list[float] = []
    fsync = os.fsync

    def timed(handle: int) -> None:
        began = time.perf_counter()
        fsync(handle)
        synced.append(time.perf_counter() - began)

    os.fsync = timed
    taken: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        checkpoints = Checkpoints(Run(Path(folder) / "run").create(), keep=2)
        for step in range(1, SAVES + 2):
            before = dict(checkpoints.cost.to_json())
            synced.clear()
            checkpoints.save(TrainState(step=step), optimizer)
            checkpoints.finish()
            after = checkpoints.cost.to_json()
            taken.append({name: after[name] - before[name] for name in after} | {"sync_s": sum(synced)})
        newest = checkpoints.run.checkpoints / f"step-{SAVES + 1:06d}"
        began = time.perf_counter()
        for path in newest.iterdir():
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")
        hashed = time.perf_counter() - began
    size = taken[0]["bytes"] / 1e8
    print(f"{size * 100:.0f} MB a save; {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}")
    print(
        f"first save: training stands still for {taken[0]['blocked_s']:.3f} s, the writer takes {taken[0]['commit_s']:.2f} s"
    )
    middle = {name: statistics.median(t[name] for t in taken[1:]) for name in taken[0]}
    for name, value in {**middle, "hash_s": hashed}.items():
        if name.endswith("_s"):
            spread = sorted(t.get(name, hashed) for t in taken[1:])
            print(
                f"{name:10} {value:7.3f} s ({spread[0]:.3f} to {spread[-1]:.3f}), {value / size:.3f} s each 100 MB, {value / EVERY_S:.2%} of 5 min"
            )


def trained(count: int) -> Any:
    """Return an optimizer over so many parameters, after one update."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(1000, 1000, bias=False) for _ in range(max(1, count // 1_000_000))])
    names = [name for name, _ in model.named_parameters()]
    optimizer = AdamW(Masters(model), [{"names": names, "weight_decay": 0.01}], betas=(0.9, 0.999), eps=1e-8)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(1e-3)
    return optimizer


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
