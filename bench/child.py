"""`python -m bench.child JOB.json RESULT.json`: the fresh process that does one job."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.jobs import ANSWERS, Job

# a module is imported only by the process whose job it is
DONE_BY = {
    "prepare": ("bench.facts", "prepare"),
    "sift": ("bench.sift", "sift"),
    "facts": ("bench.facts", "facts"),
    "match": ("bench.trl_sft", "match"),
    "trainer": ("bench.trainer", "train"),
    "trl": ("bench.trl_sft", "train"),
    "septet": ("bench.ours", "train"),
}
MEASURED = ("trainer", "trl", "septet")


def do(job: Job) -> dict[str, Any]:
    """Return what the job found, as JSON values."""
    load = list(os.getloadavg())
    module, name = DONE_BY[job.kind]
    found = getattr(import_module(module), name)(job)
    if job.kind not in MEASURED:
        return found
    found |= {"wall_s": time.time() - job.launched, **peak_memory(), "load_before": load}
    if job.score:
        from bench.score import score

        found["scores"] = score(job, Path(found["model"]), Path(job.folder) / ANSWERS)
    return {"name": job.name, **found}


def peak_memory() -> dict[str, int]:
    """Return this process's largest resident size so far, and the accelerator's largest allocation."""
    import torch

    from septet.engine.machine import peak_memory_bytes

    status = Path("/proc/self/status")
    # getrusage's figure is inherited from the parent over fork and exec; VmHWM is this program's own
    own = (
        [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if status.exists()
        else []
    )
    device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"peak_bytes": int(own[0]) * 1024 if own else peak_memory_bytes(), "peak_device_bytes": device}


def main() -> None:
    told, found = sys.argv[1:3]
    result = do(Job.from_json(Path(told).read_text()))
    Path(found).write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
