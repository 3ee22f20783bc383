"""Signals that ask a run to stop: it finishes its update, commits, and ends with an exit code of its own.

    with watched():             # from here on SIGINT, SIGTERM and SIGHUP raise Interrupted where they come
        with held():            # in here they are only noted
            for step in steps:
                check()         # raises Interrupted if one came
                with given_up():  # may be left at any moment
                    score()
        with during("evaluate"):  # what comes in here says what it stopped
            evaluate()

A second signal raises at once, wherever it comes; a third one is the system's own. Signals are left alone in a thread that is not the
main one, in a notebook (its kernel owns them), and where the program has a handler of its own or ignores them, as `nohup` does.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# options that a command may have under another name than it goes on with
LONG = {"-o": "--out"}

Tell = Callable[[str], None]


class Interrupted(KeyboardInterrupt):
    """A signal asked a verb to stop, and it did; training commits what it is at first.

    Args:
        number: the signal.
        at_once: it came a second time: nothing more was committed.

    Attributes:
        stage: that was stopped, by the name of its verb; None for training.
        step: the newest update that is committed; None before training has begun to make any.
        kept: what of an unfinished result is there, in words; None where nothing is.
        goes_on: options, with their values, that the command takes to go on after it.
    """

    def __init__(self, number: int, *, at_once: bool = False):
        self.signal = signal.Signals(number)
        self.at_once = at_once
        self.stage: str | None = None
        self.step: int | None = None
        self.kept: str | None = None
        self.goes_on: dict[str, str] = {}
        super().__init__(self.signal.name)

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that the signal ended: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal

    def __str__(self) -> str:
        came = f"{self.signal.name} came{' again' if self.at_once else ''}"
        if self.kept is not None:
            return f"{came} during {self.stage}; {self.kept}."
        if self.stage is not None:
            return (
                f"{came} during {self.stage}, which begins anew when it is run again; what was finished before is kept."
            )
        if self.step is None:
            return f"{came} before an update was made; nothing is lost."
        if self.step == 0:
            return f"{came}; no update is committed yet."
        return f"{came}; update {self.step:,} is committed."

    def facts(self) -> dict[str, Any]:
        """Return what `FAILED.json` and `events.jsonl` say of it."""
        return {"signal": self.signal.name, "step": self.step or 0, "at_once": self.at_once, "resumable": True}


class _Watch:
    """The handlers of one process, and what came."""

    def __init__(self, tell: Tell | None):
        self.tell = tell
        self.holding = False
        self.received: int | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._came)

    def end(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received)

    def _came(self, number: int, _frame: Any) -> None:
        if os.getpid() != self._process:  # a process that was forked off has nothing to commit
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        again, self.received = self.received is not None, number
        if again:
            for each in self._before:
                signal.signal(each, signal.SIG_DFL)
            raise Interrupted(number, at_once=True)
        if not self.holding:
            raise Interrupted(number)
        if self.tell is not None:
            self.tell(signal.Signals(number).name)


_watch: _Watch | None = None


@contextlib.contextmanager
def watched(tell: Tell | None = None) -> Iterator[None]:
    """Hear signals while the body runs; within another `watched` that one goes on.

    Args:
        tell: called with the signal's name when it is noted and not obeyed at once; from within the handler, so it must not print
            through a buffer.
    """
    global _watch
    if _watch is not None or not _ours():
        yield
        return
    _watch = _Watch(tell)
    _watch.begin()
    try:
        yield
    finally:
        _watch.end()
        _watch = None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Only note signals while the body runs; raise `Interrupted` behind it if one came and the body ended well."""
    with _holding(True):
        yield
    check()


@contextlib.contextmanager
def given_up() -> Iterator[None]:
    """Within `held`: let a signal raise `Interrupted` anywhere in the body, which leaves nothing half done."""
    check()
    with _holding(False):
        yield


@contextlib.contextmanager
def during(stage: str) -> Iterator[None]:
    """Let an `Interrupted` that is raised in the body say that it stopped this stage."""
    try:
        yield
    except Interrupted as stop:
        stop.stage = stop.stage or stage
        raise


def check() -> None:
    """Raise `Interrupted` if a signal was noted."""
    if _watch is not None and threading.current_thread() is threading.main_thread():
        _watch.check()


def again(args: Sequence[str], run: str | None, goes_on: Mapping[str, str] | None = None) -> str:
    """Return the command that goes on: the one that was given, with its run and, if it trains and has begun to, `--resume`.

    Args:
        args: of the command that was stopped.
        run: the folder it writes, if it takes one by `--run`.
        goes_on: options that it takes instead of those it has.
    """
    if goes_on:
        options = [part for option in goes_on.items() for part in option]
        return shlex.join(["septet", *_without(args, *goes_on, *(LONG[o] for o in goes_on if o in LONG)), *options])
    if run is None:
        return shlex.join(["septet", *args])
    kept = [arg for arg in _without(args, "--run") if arg != "--resume"]
    verb = next((arg for arg in args if not arg.startswith("-")), "")
    resumes = verb in ("train", "run") and (Path(run) / "steps.jsonl").exists()
    return shlex.join(["septet", *kept, "--run", run, *(["--resume"] if resumes else [])])


def _without(args: Sequence[str], *options: str) -> list[str]:
    """Return the arguments without options that take a value each."""
    kept, value = [], False
    for arg in args:
        if not value and arg not in options and not arg.startswith(tuple(f"{option}=" for option in options)):
            kept.append(arg)
        value = arg in options and not value
    return kept


@contextlib.contextmanager
def _holding(holds: bool) -> Iterator[None]:
    watch = _watch
    if watch is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before, watch.holding = watch.holding, holds
    try:
        yield
    finally:
        watch.holding = before


def _ours() -> bool:
    """Whether signals are ours to hear: the main thread of a program that is no notebook."""
    return threading.current_thread() is threading.main_thread() and not hasattr(builtins, "__IPYTHON__")
