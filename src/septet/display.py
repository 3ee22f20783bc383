"""What a verb is doing, shown on standard error: live on a terminal, plain lines elsewhere.

    with shown() as listen:
        journey.train("recipe.yaml", listen=listen)

Results are not shown here; the command line prints them on standard output. The events are those of `progress`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from septet.progress import Listen

LINE_EVERY_S = 2.0
_MARKS = {"blocker": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


@contextlib.contextmanager
def shown(stream: IO[str] | None = None) -> Iterator[Listen]:
    """Yield a `listen` that shows events on `stream`; standard error when None."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    live = Live(stream)
    try:
        yield live
    finally:
        live.close()


class Lines:
    """Plain lines: steps and progress not more than about one every two seconds, everything else at once.

    Args:
        stream: where the lines go.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic):
        self._stream = stream
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, event: str, **facts: Any) -> None:
        if event == "step" and self._due("step", facts["step"] == facts["total"]):
            self._line(f"step {facts['step']:,}/{facts['total']:,}  {step_facts(facts)}")
        elif event == "progress" and self._due(f"progress {facts['what']}", facts["done"] == facts["total"]):
            self._line(f"{facts['what']}  {_count(facts)}")
        elif event not in ("step", "progress"):
            line = _line_of(event, facts)
            if line:
                self._line(line)

    def _due(self, name: str, last: bool) -> bool:
        now = self._clock()
        if last or now - self._last.get(name, float("-inf")) >= LINE_EVERY_S:
            self._last[name] = now
            return True
        return False

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Live:
    """A bar that moves, with the facts of the newest step; findings and evaluations scroll above it."""

    def __init__(self, stream: IO[str]):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=stream, highlight=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}", markup=False))
        self._progress = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
        self._bars: dict[str, Any] = {}
        self._newest = ""
        self._progress.start()

    def __call__(self, event: str, **facts: Any) -> None:
        if event == "step":
            self._bar("train", facts["step"], facts["total"], f"{facts['step']:,}/{facts['total']:,}  {step_facts(facts)}{self._newest}")
        elif event == "progress":
            self._bar(facts["what"], facts["done"], facts["total"], _count(facts))
        else:
            self._other(event, facts)

    def close(self) -> None:
        self._progress.stop()

    def _other(self, event: str, facts: dict[str, Any]) -> None:
        if event == "stage":
            self._clear()
        if event == "evaluation" and facts.get("metric") in facts["scores"]:
            self._newest = f" · {facts['metric']} {_number(facts['scores'][facts['metric']])}"
        line = _line_of(event, facts)
        if line:
            style = {"stage": "bold", "finding": _MARKS.get(getattr(facts.get("finding"), "level", ""), ("", ""))[1]}.get(event, "")
            self._console.print(line, style=style or None, markup=False, soft_wrap=True)

    def _bar(self, name: str, done: int, total: int, facts: str) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, facts="")
        self._progress.update(self._bars[name], completed=done, total=total, facts=facts)
        if done >= total:
            self._progress.remove_task(self._bars.pop(name))

    def _clear(self) -> None:
        while self._bars:
            self._progress.remove_task(self._bars.popitem()[1])


def step_facts(facts: dict[str, Any]) -> str:
    """Return the facts of a step in one line: loss, lr, tokens/s, share of the ceiling, time left."""
    parts = [f"loss {_number(facts['loss'])}", f"lr {facts['lr']:.2g}", f"{facts['tokens_per_s']:,.0f} tokens/s"]
    if facts.get("share") is not None:
        parts.append(f"{facts['share']:.0%} of the ceiling")
    if facts.get("left_s") is not None:
        parts.append(f"{duration(facts['left_s'])} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _line_of(event: str, facts: dict[str, Any]) -> str:
    if event == "stage":
        return f"\n{facts['name']}"
    if event == "evaluation":
        return _evaluation(facts)
    if event == "finding":
        return _finding(facts["finding"])
    return str(facts["text"]) if event == "note" else ""


def _evaluation(facts: dict[str, Any]) -> str:
    scores = "  ".join(f"{name} {_number(value)}" for name, value in facts["scores"].items())
    best = facts.get("best") or {}
    mark = "  ← best so far" if best.get("step") == facts["step"] else ""
    return f"evaluation  step {facts['step']:,}, epoch {facts['epoch']:g}  {scores}{mark}"


def _finding(finding: Any) -> str:
    way_out = f"\n    {finding.fix}" if finding.fix else ""
    return f"{_MARKS[finding.level][0]} {finding.slug}: {finding.message}{way_out}"


def _count(facts: dict[str, Any]) -> str:
    return f"{facts['done']:,}/{facts['total']:,}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"
