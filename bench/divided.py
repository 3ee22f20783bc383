"""What a divided model takes of each process: `python -m bench.divided [HIDDEN [LAYERS]]` trains a new Llama whole and divided over 2 and 4 processes.

Told is the most memory that a process held between its second update and its last one, the weights, masters and moments that it keeps counted in
numbers beside it, and the tokens of all processes in a second. All processes share this machine's cores, one thread each, so seconds compare nothing but these runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

UPDATES = 4


def main(hidden: int = 768, layers: int = 8) -> None:
    print(f"llama, {layers} layers of {hidden}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for precision in ("fp32", "bf16"):
        for world, shard in ((1, False), (2, False), (2, True), (4, True)):
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                told = run(Path(folder), world, recipe(Path(folder), hidden, layers, precision, shard))
            memory = " ".join(f"{each['peak_bytes'] / 2**30:.2f}" for each in told)
            how = "divided" if shard else "whole"
            print(f"{precision}, {world} x {how}: {memory} GiB; {told[0]['tokens_per_s']:.0f} tokens/s", flush=True)


def recipe(folder: Path, hidden: int, layers: int, precision: str, shard: bool) -> dict[str, Any]:
    rows = "".join(json.dumps({"text": f"Parcel {i} came late, and the box was open. " * 8}) + "\n" for i in range(80))
    (folder / "rows.jsonl").write_text(rows)
    sizes = {"layers": layers, "hidden": hidden, "heads": hidden // 64}
    return {
        "data": {"train": str(folder / "rows.jsonl"), "split": {"validation": 0.1, "test": 0.1}},
        "task": {"name": "pretrain"},
        "model": {"architecture": "llama", "tokenizer": "starter-lm", **sizes, "max_length": 64},
        "train": {
            "precision": precision,
            "device": "cpu",
            "threads": 1,
            "compile": False,
            "max_steps": UPDATES,
            "batch": 8,
            "token_budget": 256,
            "lr": 1e-4,
            "save_every": None,
            "shard": shard,
        },
    }


def run(folder: Path, world: int, source: dict[str, Any]) -> list[dict[str, Any]]:
    (folder / "recipe.json").write_text(json.dumps(source))
    started = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(world), "-m"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*started, "bench.divided", "--child", str(folder)], check=True, **silent)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


def child(folder: Path) -> None:
    from septet import journey
    from septet.engine.machine import forget_peak, peak_memory_bytes

    seen: dict[str, Any] = {"tokens_per_s": 0.0}

    def hear(event: str, **facts: Any) -> None:
        if event != "step":
            return
        if facts["step"] == 1:
            forget_peak()  # of loading, and of cutting
        seen["tokens_per_s"] = max(seen["tokens_per_s"], facts["tokens_per_s"])
        seen["peak_bytes"] = peak_memory_bytes()

    journey.train(folder / "recipe.json", run=str(folder / "run"), listen=hear)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
