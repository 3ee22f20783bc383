"""Several processes of one run without the seconds that `torchrun` and its imports take: forked from one that has imported everything.

    crew = Crew()
    crew.run(world=2, job="rank_jobs:course", folder="…")      # -> exit codes

A job is a function that each process calls, with the variables set that `torchrun` would set. Nothing has used torch's threads before
the fork, so a child is as good as a fresh process.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Crew:
    """The process that forks."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "crew.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._read(300) == {"ready": True}

    def start(self, world: int, job: str, *, env: dict[str, str] | None = None, **given: Any) -> list[int]:
        """Start the processes, and return their pids by rank."""
        command = {"world": world, "job": job, "given": given, "env": env or {}}
        self.process.stdin.write(json.dumps(command) + "\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return self._read(60)["pids"]

    def ended(self, wait_s: float = 240) -> list[int]:
        """Return how the processes ended, by rank: exit codes, negative for a signal."""
        return self._read(wait_s)["codes"]

    def run(self, world: int, job: str, **options: Any) -> list[int]:
        self.start(world, job, **options)
        return self.ended()

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(60)
        self.process.stdout.close()  # type: ignore[union-attr]

    def _read(self, wait_s: float) -> Any:
        ready, _, _ = select.select([self.process.stdout], [], [], wait_s)
        assert ready, "the processes do not end"
        return json.loads(self.process.stdout.readline())  # type: ignore[union-attr]


def main() -> None:
    from septet import registry

    for kind in ("task", "method", "metric"):
        for name in registry.names(kind):
            registry.part(kind, name)
    # what a run imports as it goes
    for module in (
        "rank_jobs",
        "septet.train",
        "septet.engine.shard",
        "septet.check",
        "sklearn.metrics",
        "peft",
        "languages",
    ):
        importlib.import_module(module)
    for name in ("AutoTokenizer", "BertForSequenceClassification", "LlamaForCausalLM", "T5ForConditionalGeneration"):
        getattr(importlib.import_module("transformers"), name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pids = []
        for rank in range(command["world"]):
            pid = os.fork()
            if pid == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os._exit(child(rank, port, command))
            pids.append(pid)
        print(json.dumps({"pids": pids}), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps({"codes": codes}), flush=True)


def child(rank: int, port: int, command: dict[str, Any]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    named = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": command["world"], "LOCAL_WORLD_SIZE": command["world"]}
    os.environ.update({name: str(value) for name, value in named.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **command["env"]})
    module, _, name = command["job"].partition(":")
    try:
        return getattr(importlib.import_module(module), name)(**command["given"]) or 0
    except BaseException:
        traceback.print_exc()
        return 99


if __name__ == "__main__":
    main()
