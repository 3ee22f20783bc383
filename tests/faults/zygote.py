"""A process that has imported everything and computed nothing; each command forks a child that trains, or runs a verb, and may be killed.

Importing torch and transformers takes seconds, forking takes milliseconds. Nothing has used torch's threads before the fork, so
the child is as good as a fresh process. One JSON command a line on standard input, one JSON answer a line on standard output:
`{"recipe": {...}, "run": DIR, "resume": bool, "die_at": N or null, "number": signal}` or `{"args": [...], "at": NAME, "number": signal, "told": FILE}`
-> `{"pid": ...}`, then `{"status": ...}` when it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

WATCHED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def main() -> None:
    import_everything()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            # pytest must not wait for a killed child's output
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(verb(**command) if "args" in command else child(**command))
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), flush=True)


def import_everything() -> None:
    import pandas  # noqa: F401  (pyarrow asks for it as it writes)
    import peft  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.roberta.modeling_roberta
    import transformers.models.t5.modeling_t5  # noqa: F401

    from septet import registry

    for kind in ("task", "method", "optimizer", "metric"):
        for name in registry.names(kind):
            registry.part(kind, name)


def child(
    *, recipe: dict[str, Any], run: str, resume: bool, die_at: int | None, number: int = 9, count_to: str | None = None
) -> int:
    """Train; at the `die_at`-th file operation in the run folder this process sends itself the signal `number`."""
    from septet.errors import SeptetError
    from septet.interrupt import Interrupted

    counted = [0]
    os.setpgid(0, 0)
    # a shell that put pytest into the background had SIGINT ignored, and that is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in WATCHED and str(args[0]).startswith(run):
            counted[0] += 1
            if counted[0] == die_at:
                os.kill(os.getpid(), number)

    sys.addaudithook(watch)
    try:
        from septet.train import train
        from small import begin

        loaded, opened = begin(recipe, Path(run))
        train(loaded, opened, resume=resume and opened.started)
    except SeptetError as error:
        Path(run, "error.txt").write_text(str(error))
        return 3
    except Interrupted as stop:
        return stop.exit_code
    except BaseException:
        Path(run, "error.txt").write_text(traceback.format_exc())
        return 1
    if count_to:
        Path(count_to).write_text(str(counted[0]))
    return 0


def verb(*, args: list[str], at: str | None, number: int, told: str) -> int:
    """Call the command line with standard error in `told`; where a file named `at` is first opened, this process sends itself the signal."""
    from septet.cli import main as command_line

    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup before pytest has it ignored
    sent = []

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and not sent and at is not None and Path(str(values[0])).name == at:
            sent.append(at)
            os.kill(os.getpid(), number)

    sys.addaudithook(watch)
    try:
        command_line(args)
    except SystemExit as end:
        sys.stderr.flush()
        return int(end.code or 0)


if __name__ == "__main__":
    main()
