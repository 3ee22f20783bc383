"""Run a job in a fresh process of its own, so that start-up, memory and caches are its own too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.jobs import REPO, Job


class JobError(RuntimeError):
    """A measured process failed; holds the end of what it said."""


def launch(job: Job) -> dict[str, Any]:
    """Return what the job found.

    The job's folders are emptied before; what it wrote stays, for the caller to read and `clear`.

    Raises:
        JobError: the process failed.
    """
    folder = Path(job.folder)
    clear(job)
    folder.mkdir(parents=True)
    told, found, log = folder / "job.json", folder / "result.json", folder / "process.log"
    # one line of progress a batch would be measured too
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONUNBUFFERED": "1"}
    told.write_text(replace(job, launched=time.time()).to_json())
    with log.open("w") as output:
        code = subprocess.run(
            [sys.executable, "-m", "bench.child", str(told), str(found)],
            cwd=REPO,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code or not found.exists():
        raise JobError(f"{job.name} ended with code {code}; the end of {log}:\n" + log.read_text()[-3000:])
    return json.loads(found.read_text())


def clear(job: Job) -> None:
    """Remove what a job wrote."""
    for folder in (Path(job.folder), job.run):
        shutil.rmtree(folder, ignore_errors=True)
