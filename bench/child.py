"""`python -m bench.child JOB.json RESULT.json`: the fresh process that does one job."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.jobs import ANSWERS, Job


def do(job: Job) -> dict[str, Any]:
    """Return what the job found, as JSON values."""
    load = list(os.getloadavg())
    if job.kind == "prepare":
        from bench.facts import prepare

        return prepare(job)
    if job.kind == "facts":
        from bench.facts import facts

        return facts(job)
    if job.kind == "trainer":
        from bench.trainer import train
    else:
        from bench.ours import train
    found = train(job)
    found |= {"wall_s": time.time() - job.launched, **peak_memory(), "load_before": load}
    if job.score:
        from bench.score import score

        found["scores"] = score(
            Path(found["model"]), Path(job.prepared), Path(job.folder) / ANSWERS, length=job.tuning.length
        )
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
