"""The error tree: every mistake a user can make ends as one of these, never as a traceback.

An error says what is wrong, where, what was received, and what to do. The command line prints
`str(error)` and exits with `error.exit_code`: 1 failed, 2 wrong usage, 3 a check found a blocker.
Foreign errors (disk full, permissions, out of memory) are mapped by `explain_foreign`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

MOST_WHERE = 500  # characters of a place that are shown
_NOTHING = object()


class SeptetError(Exception):
    """Something failed, and the user can do something about it.

    Args:
        what: one sentence that names the thing and what was expected of it; `reason` keeps it without what was received, to count by.
        where: file and line, column, row, or field.
        received: the value that was found; shown as `Received: …`.
        hint: what to do; shown as `try: …`.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, received: object = _NOTHING, hint: str | None = None):
        self.reason = what
        self.what = what if received is _NOTHING else f"{what} Received: {_shown(received)}"
        self.where = where if where is None or len(where) <= MOST_WHERE else f"{where[:MOST_WHERE]}…"
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{type(self).__name__}: {self.what}"]
        if self.where:
            lines.append(f"  {self.where}")
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)


class UsageError(SeptetError):
    """The command line or the Python call does not fit: missing file, wrong name, wrong argument."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe holds something that cannot be: unknown key, wrong type, value out of range."""


class RunError(UsageError):
    """A run folder cannot be used as asked: locked, finished, unfinished, or not a run."""


class DataError(SeptetError):
    """The data cannot be used: unreadable, damaged, empty, or unfit for the task."""

    exit_code = 3


class ModelError(SeptetError):
    """A model folder cannot be used: no weights, unsafe weights, damaged, or of the wrong kind."""

    exit_code = 3


class CheckError(SeptetError):
    """A check found blockers; the findings say which and how to lift them."""

    exit_code = 3


class MissingExtraError(UsageError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.", hint=f"pip install 'septet[{extra}]'"
        )


class ResourceError(SeptetError):
    """The machine said no: disk full, no permission, out of memory."""


class DiskFull(OSError):  # noqa: N818  (named as the state it is)
    """A full disk, or a limit on what may be written, with what was needed and what is free."""

    def __init__(self, path: Path, need_bytes: int, free_bytes: int, number: int = errno.ENOSPC):
        super().__init__(number, os.strerror(number), str(path))
        self.need_bytes = need_bytes
        self.free_bytes = free_bytes


class Problems(SeptetError):  # noqa: N818  (several errors, not one)
    """Several problems at once, so that a user fixes them in one go."""

    def __init__(self, problems: Sequence[SeptetError]):
        self.problems = list(problems)
        self.exit_code = max(p.exit_code for p in self.problems)
        super().__init__(f"{len(self.problems)} problems")

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)


def raise_all(problems: Sequence[SeptetError]) -> None:
    """Raise the one problem, or all of them together; do nothing when there is none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)


def amount(num_bytes: float) -> str:
    """Return bytes as `340 KiB`, `1.2 GiB`."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def explain_foreign(error: BaseException) -> SeptetError | None:
    """Return the Septet error for a foreign one that a user can act on, or None when it is a defect of ours."""
    if isinstance(error, SeptetError):
        return error
    if isinstance(error, OSError):
        return _explain_os(error)
    if "os error 28" in str(error):  # safetensors writes in Rust, and raises an error of its own
        return _explain_os(OSError(errno.ENOSPC, "No space left on device"))
    if out_of_memory(error):
        return ResourceError(
            "The machine ran out of memory.",
            hint="a smaller train.token_budget or train.micro_batch; the update stays the same",
        )
    return None


def out_of_memory(error: BaseException) -> bool:
    """Return whether a foreign error says that memory ran out: Python's, PyTorch's on a GPU, or that of its CPU allocator."""
    if isinstance(error, SeptetError):
        return False
    told = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in told for text in ("out of memory", "can't allocate memory", "bad_alloc", "alloc_failed"))
    )


def _explain_os(error: OSError) -> SeptetError | None:
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        told = "A limit on what may be written is reached" if error.errno == errno.EFBIG else "The disk is full"
        facts = ""
        if isinstance(error, DiskFull):
            facts = f": {amount(error.need_bytes)} needed, {amount(error.free_bytes)} free"
        return ResourceError(
            f"{told}{facts}; what was saved before is kept.",
            where=where,
            hint="free some space, or write elsewhere: --run DIR",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(
            "No permission to write or read here.", where=where, hint="choose a folder you may write to: --run DIR"
        )
    if isinstance(error, FileNotFoundError):
        return UsageError("No such file or folder.", where=where)
    if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        return UsageError(f"{error.strerror}.", where=where)
    if error.errno == errno.EADDRINUSE:
        return UsageError("The port is already in use.", hint="another one: --port 8001")
    return None


def _shown(value: object) -> str:
    try:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 120 else text[:117] + "…"
