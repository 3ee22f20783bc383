"""What a user sees: the result on standard output, as text or JSON; progress and errors on standard error.

    screen = Screen(as_json=False)
    with screen.progress() as listen:
        result = journey.train("recipe.yaml", listen=listen)
    screen.result(result)

Progress is live on a terminal and plain lines elsewhere; its events are those of `progress`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from septet.errors import Problems, SeptetError, UsageError, explain_foreign
from septet.interrupt import again
from septet.progress import Listen, quiet

if TYPE_CHECKING:
    from septet.chat import Voice

INTERRUPTED = 130
BROKEN_PIPE = 141
LINE_EVERY_S = 2.0
_MARKS = {"blocker": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}


class Screen:
    """Standard output and standard error of one call of the command line.

    Args:
        as_json: the result, or the error, is one JSON document on standard output.
        debug: an error shows its traceback.
        args: the arguments of this call; an interruption says with which to go on.
        silent: another process of the same run prints; here nothing is said but an error that it does not know of.

    Attributes:
        run: the run folder, once it is known; an interruption says how to resume it.
        exit_code: what the result asks for.
    """

    def __init__(self, as_json: bool = False, *, debug: bool = False, args: Sequence[str] = (), silent: bool = False):
        self.as_json = as_json
        self.args = args
        self.silent = silent
        self.debug = debug
        self.run: str | None = None
        self.exit_code = 0

    @contextlib.contextmanager
    def progress(self, stream: IO[str] | None = None) -> Iterator[Listen]:
        """Yield a `listen` that shows events; with JSON, what libraries print goes to standard error as well."""
        if self.silent:
            yield quiet
            return
        redirected = contextlib.redirect_stdout(sys.stderr) if self.as_json else contextlib.nullcontext()
        with redirected, _shown(stream or sys.stderr) as listen:

            def hear(event: str, **facts: Any) -> None:
                if event == "run":
                    self.run = str(facts["path"])
                listen(event, **facts)

            yield hear

    def result(self, result: Any) -> None:
        """Print what a verb returned, and keep its exit code."""
        self.exit_code = getattr(result, "exit_code", 0)
        if result is None or self.silent:
            return
        if self.as_json:
            self.json(result.to_json() if hasattr(result, "to_json") else result)
        elif hasattr(result, "coloured") and _in_colour():
            click.echo(result.coloured())
        elif hasattr(result, "text"):
            click.echo(result.text())

    def json(self, value: Any) -> None:
        """Print a value as one JSON document."""
        click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))

    def talk(self, voices: Sequence[Voice]) -> None:
        """Put each line of standard input to every voice and print the answers as they come; with JSON, one object a turn."""
        terminal = sys.stdin.isatty() and not self.as_json
        if terminal:
            click.echo("A line is a turn. /new forgets the conversation, /quit ends it.", err=True)
        starts = [list(voice.messages) for voice in voices]
        for question in _questions(terminal):
            if question == "/new":
                for voice, start in zip(voices, starts, strict=True):
                    voice.messages = list(start)
                continue
            answers = {voice.name: self._heard(voice, question, several=len(voices) > 1) for voice in voices}
            if self.as_json:
                click.echo(json.dumps({"question": question, "answers": answers}, ensure_ascii=False))

    def _heard(self, voice: Voice, question: str, *, several: bool) -> str:
        if several and not self.as_json:
            click.secho(f"{voice.name}> ", bold=True, nl=False)
        from septet.show._shown import SIGNS

        for piece in voice.say(question):
            if not self.as_json:
                click.echo(piece.translate(SIGNS), nl=False)
        if not self.as_json:
            click.echo()
        return voice.messages[-1]["content"]

    def error(self, error: BaseException) -> int:
        """Tell an error in the house form, and return its exit code."""
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        if isinstance(error, BrokenPipeError):
            _close_stdout()
            return BROKEN_PIPE
        if getattr(error, "told", False):
            return getattr(error, "exit_code", 1)
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            code, goes_on = getattr(error, "exit_code", INTERRUPTED), getattr(error, "goes_on", None)
            hint = None if goes_on is None and not self.run else again(self.args, self.run, goes_on)
            told = SeptetError(str(error) or "what was saved is kept.", hint=hint)
            return code if self.silent else self._tell(told, code, kind="Interrupted")
        if self.debug:
            import traceback

            traceback.print_exception(error)
        if isinstance(error, click.UsageError):
            verb = error.ctx.command_path if error.ctx else "septet"
            error = UsageError(error.format_message(), hint=f"{verb} --help")
        known = explain_foreign(error)
        if known is not None:
            return self._tell(known, known.exit_code)
        defect = SeptetError(
            f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}",
            hint="this is a defect; run again with --debug",
        )
        return self._tell(defect, 1, kind="Defect")

    def _tell(self, error: SeptetError, code: int, *, kind: str | None = None) -> int:
        kind = kind or type(error).__name__
        if self.as_json:
            told = _error_json(error, kind)
            if isinstance(error, Problems):
                told["problems"] = [_error_json(problem, type(problem).__name__) for problem in error.problems]
            self.json({"error": told})
        click.echo(str(error).replace(type(error).__name__, kind, 1), err=True)
        return code


def _in_colour() -> bool:
    """Return whether standard output is a terminal whose user did not ask for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def quieten_libraries(debug: bool) -> None:
    """Keep the chatter of libraries off the screen; Septet says what matters in findings."""
    if debug:
        return
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"septet(\.|$)")
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("TQDM_DISABLE", "1"),
        ("KINETO_LOG_LEVEL", "6"),  # PyTorch's profiler
    ):
        os.environ.setdefault(name, value)


def _questions(terminal: bool) -> Iterator[str]:
    """Yield the lines of standard input that hold something, to its end or to /quit."""
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  arrow keys and history
    while True:
        try:
            line = input("you> ") if terminal else sys.stdin.readline()
        except EOFError:
            return
        except UnicodeDecodeError as error:
            raise UsageError(
                "Standard input is not UTF-8.",
                where=f"byte {error.start:,} of what was read",
                received=repr(error.object[error.start : error.start + 1]),
                hint="iconv -t UTF-8 FILE | septet chat DIR",
            ) from error
        if (not terminal and not line) or line.strip() == "/quit":
            return
        if line.strip():
            yield line.strip()


@contextlib.contextmanager
def _shown(stream: IO[str]) -> Iterator[Listen]:
    if not stream.isatty():
        yield Lines(stream)
        return
    live = Live(stream)
    try:
        yield live
    finally:
        live.close()


class Lines:
    """Plain lines: a step not more than about every two seconds, progress where it lasts longer, all else at once.

    Args:
        stream: where the lines go.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic):
        self._stream = stream
        self._clock = clock
        self._last: dict[str, float] = {}
        self._lasting: set[str] = set()

    def __call__(self, event: str, **facts: Any) -> None:
        if event == "step":
            if self._due("step") or facts["step"] == facts["total"]:
                self._line(f"step {facts['step']:,}/{facts['total']:,}  {step_facts(facts)}")
        elif event == "progress":
            self._progress(facts["what"], facts["done"], facts["total"])
        elif line := _line_of(event, facts):
            self._line(line)

    def _progress(self, what: str, done: int, total: int | None) -> None:
        begun = what in self._last
        ended = total is not None and done >= total
        if self._due(what) and begun:
            self._lasting.add(what)
            self._line(f"{what}  {_count(done, total)}")
        elif ended and what in self._lasting:
            self._line(f"{what}  {_count(done, total)}")
        if ended:
            self._last.pop(what, None)
            self._lasting.discard(what)

    def _due(self, name: str) -> bool:
        now = self._clock()
        if now - self._last.get(name, float("-inf")) < LINE_EVERY_S:
            return False
        self._last[name] = now
        return True

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Live:
    """A bar that moves, with the facts of the newest step below it; findings and evaluations scroll above."""

    def __init__(self, stream: IO[str]):
        from rich.console import Console
        from rich.live import Live as Region
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=stream, highlight=False)
        told, count = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[count]"))
        self._progress = Progress(told, BarColumn(bar_width=30), count, console=self._console, auto_refresh=False)
        self._bars: dict[str, Any] = {}
        self._facts = ""
        self._score = ""
        self._region = Region(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=4)
        self._region.start()

    def __call__(self, event: str, **facts: Any) -> None:
        if event == "step":
            self._facts = f"  {step_facts(facts)}{self._score}"
            self._bar("train", facts["step"], facts["total"])
        elif event == "progress":
            self._bar(facts["what"], facts["done"], facts["total"])
        else:
            self._other(event, facts)

    def close(self) -> None:
        """Take the bars away; what scrolled stays."""
        self._region.stop()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return (
            Group(self._progress.get_renderable(), Text(self._facts))
            if self._facts
            else self._progress.get_renderable()
        )

    def _other(self, event: str, facts: dict[str, Any]) -> None:
        if event == "stage":
            self._clear()
        if event == "evaluation" and facts.get("metric") in facts["scores"]:
            self._score = f" · {facts['metric']} {_number(facts['scores'][facts['metric']])}"
        if line := _line_of(event, facts):
            level = getattr(facts.get("finding"), "level", "")
            style = "bold" if event == "stage" else _MARKS[level][1] if level else None
            self._console.print(line, style=style, markup=False, soft_wrap=True)

    def _bar(self, name: str, done: int, total: int | None) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, count="")
        self._progress.update(self._bars[name], completed=done, total=total, count=_count(done, total))
        if total is not None and done >= total:
            self._progress.remove_task(self._bars.pop(name))
            self._facts = self._facts if self._bars else ""

    def _clear(self) -> None:
        self._facts = ""
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


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: a number that is none becomes null, a path its text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, os.PathLike) else value


def _error_json(error: SeptetError, kind: str) -> dict[str, Any]:
    message = f"{len(error.problems)} problems" if isinstance(error, Problems) else error.what
    return {"type": kind, "message": message, "where": error.where, "hint": error.hint}


def _close_stdout() -> None:
    """Let the last flush at exit go nowhere: the reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _count(done: int, total: int | None) -> str:
    """Return `3/10`, or `3` where nobody knows how many there will be."""
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"
