"""How this process was started: alone, or by `torchrun` as one of several.

Read from the variables that `torchrun` sets; nothing heavy is imported, so that the command line can ask.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# how long a process waits for what the others owe it; longer than any evaluation or save between two updates
WAIT_VARIABLE, WAIT = "SEPTET_RANK_TIMEOUT", "30m"


@dataclass(frozen=True, slots=True)
class Launch:
    """What `torchrun` says of this process.

    Args:
        rank: its number among all processes.
        world: how many there are.
        local_rank: its number on this machine.
        local_world: processes on this machine.
        restarts: how often all of them were started again, after one had failed.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    restarts: int = 0

    @property
    def follows(self) -> bool:
        """Whether another process prints and writes."""
        return self.rank > 0

    @property
    def restarted(self) -> bool:
        return self.restarts > 0

    @property
    def threads(self) -> int:
        """The cores of this machine for each of its processes; `torchrun` lets each use one unless told otherwise."""
        return max(1, len(os.sched_getaffinity(0)) // self.local_world)


def launched() -> Launch:
    """Return how this process was started."""
    env = os.environ
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        return Launch()
    return Launch(
        int(env["RANK"]),
        int(env["WORLD_SIZE"]),
        int(env.get("LOCAL_RANK", env["RANK"])),
        int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"])),
        int(env.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )
