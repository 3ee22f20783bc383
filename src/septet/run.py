"""The run directory: one folder holds all a run produced, and this is its only writer.

Small files are written to a temporary name, synced and renamed, so that a reader sees the old or the new file and never
half of one. `DONE` is written last: a model in a folder without it is not finished. A lock keeps two processes apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from septet import durable
from septet.errors import RunError, UsageError

MODEL = "model"
CHECKPOINTS = "checkpoints"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Run:
    """A run folder, open for reading or writing.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: IO[str] | None = None
        self._going = False

    # ---- finding and opening ----

    @classmethod
    def name(cls, task: str, data: str) -> str:
        """Return a fresh folder name such as `20261120-1903-classify-tickets-a1f3`."""
        stem = re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-")[:40] or "data"
        return f"{time.strftime('%Y%m%d-%H%M%S')}-{task}-{stem}-{secrets.token_hex(2)}"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Raises:
            UsageError: the folder is missing or is not a run.
        """
        run = cls(path)
        if run.path.is_file():
            raise UsageError("A run is a folder; this is a file.", where=str(path), hint="ls runs/")
        if not run.path.is_dir():
            raise UsageError("There is no such run folder.", where=str(path), hint="ls runs/")
        if not (run.path / "recipe.given.yaml").exists():
            raise UsageError("This folder is not a run (it has no recipe.given.yaml).", where=str(path))
        return run

    def create(self) -> Run:
        """Make the folder and return the run.

        Raises:
            RunError: its name is unfit, or the path is a file or a link.
        """
        if not _NAME.fullmatch(self.path.name):
            raise RunError(
                "A run's name is up to 128 letters, digits, dots, hyphens and underscores.", received=self.path.name
            )
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise RunError("The run folder must be a real folder.", where=str(self.path))
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    @contextlib.contextmanager
    def locked(self) -> Iterator[Run]:
        """Hold the run for writing; the lock ends with the process, also when it is killed.

        Raises:
            RunError: another process holds it.
        """
        self._lock = (self.path / ".lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise RunError(
                f"Another process (pid {holder}) is writing this run.",
                where=str(self.path),
                hint="wait for it, or choose another folder: --run DIR",
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        try:
            yield self
        finally:
            self._lock.close()
            self._lock = None

    # ---- state ----

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    @property
    def started(self) -> bool:
        """Whether training has begun here."""
        return (self.path / "steps.jsonl").exists()

    def finish(self) -> None:
        self.go_on()
        self.write_json("DONE", {"finished": _now()})

    def go_on(self) -> None:
        """Take back why an earlier part of the run ended: it is under way again."""
        self._going = True
        (self.path / "FAILED.json").unlink(missing_ok=True)

    def fail(self, error: BaseException, **facts: Any) -> None:
        """Record why the run ended, unless it is finished; the run stays resumable. A resume that is refused is no end of it."""
        refused = self.started and not self._going and isinstance(error, RunError)
        if self.done or refused:
            return
        told = {"finished": _now(), "error": type(error).__name__, "message": str(error), **facts}
        with contextlib.suppress(OSError):
            self.write_json("FAILED.json", told)

    # ---- files ----

    def write_text(self, name: str, text: str) -> Path:
        return durable.write_atomic(self.path / name, text.encode())

    def write_json(self, name: str, value: Any) -> Path:
        return self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Return a JSON file's content.

        Raises:
            UsageError: the run has no such file yet.
            RunError: it is no JSON.
        """
        path = self.path / name
        if not path.exists():
            raise UsageError(f"The run has no {name} yet.", where=str(self.path))
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise RunError(
                f"The file {name} of the run is damaged: {error}.", where=str(path), hint="a copy of it, or a new run"
            ) from error

    def append(self, stream: str, record: dict[str, Any]) -> None:
        """Add one line to a `.jsonl` stream."""
        durable.append(self.path / stream, (json.dumps(record, ensure_ascii=False) + "\n").encode())

    def sync(self, *streams: str) -> None:
        """Make the lines of streams durable, as a checkpoint that counts on them needs."""
        for stream in streams:
            if (self.path / stream).exists():
                durable.sync(self.path / stream)

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return the whole lines of a `.jsonl` stream; a last line cut short by a kill is left out.

        Raises:
            RunError: a line before it is no JSON.
        """
        path = self.path / stream
        if not path.exists():
            return []
        found = []
        for number, line in enumerate(path.read_text(errors="replace").split("\n")[:-1], 1):
            try:
                found += [json.loads(line)] if line else []
            except ValueError as error:
                raise RunError(
                    f"A line of the run's record is damaged: {error}.",
                    where=f"{path}:{number}",
                    hint="remove this line, or repeat the run in a new folder",
                ) from None
        return found

    def rewrite(self, stream: str, records: list[dict[str, Any]]) -> None:
        """Replace a stream, as a resume does with the lines after its checkpoint."""
        self.write_text(stream, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))

    def event(self, what: str, **facts: Any) -> None:
        self.append("events.jsonl", {"time": _now(), "event": what, **facts})


class Onlooker(Run):
    """A run that another process writes: everything can be read, and what is written here goes nowhere."""

    def create(self) -> Run:
        return self

    @contextlib.contextmanager
    def locked(self) -> Iterator[Run]:
        yield self

    def finish(self) -> None: ...
    def go_on(self) -> None: ...
    def fail(self, error: BaseException, **facts: Any) -> None: ...
    def sync(self, *streams: str) -> None: ...
    def write_text(self, name: str, text: str) -> Path:
        return self.path / name

    def append(self, stream: str, record: dict[str, Any]) -> None: ...


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
