"""The command line: one function per verb, and the only place that prints results or exits.

`septet run recipe.yaml train.lr=1e-4 --run runs/first`. Results go to standard output, as text or with `--json` as one JSON
document; progress and everything else go to standard error. Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 a check
found blockers (or drift), 130 interrupted. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from septet import complete
from septet.errors import Problems, SeptetError, UsageError, explain_foreign

INTERRUPTED = 130
BROKEN_PIPE = 141

# stage of the journey -> its verbs, in the order of the help
STAGES = {
    "Start": ("init",),
    "The seven stages": ("prepare", "check", "train", "evaluate", "deploy", "predict", "serve", "monitor"),
    "All of them": ("run",),
    "Look up": ("list", "explain", "schema", "completion"),
}
NUMBERS = {"prepare": "1", "check": "2-3", "train": "4", "evaluate": "5", "deploy": "6", "predict": "6", "serve": "6", "monitor": "7", "run": "1-7"}


class Journey(click.Group):
    """The verbs, listed in the order of the journey."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verbs in STAGES.values() for verb in verbs]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for stage, verbs in STAGES.items():
            with formatter.section(stage):
                rows = [(f"{NUMBERS.get(verb, ''):<4}{verb}", self.commands[verb].get_short_help_str(90)) for verb in verbs]
                formatter.write_dl(rows, col_max=20)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from septet.registry import suggest

            raise UsageError(f"There is no verb {args[0]!r}.", hint=suggest(args[0], self.list_commands(ctx)) or "septet --help")
        return super().resolve_command(ctx, args)


class State:
    """What the error handling needs to know of the call, and where the run is that it may have begun."""

    def __init__(self, argv: Sequence[str]):
        self.as_json = "--json" in argv
        self.debug = "--debug" in argv
        self.run: str | None = None
        self.exit_code = 0

    def listening(self, listen: Callable[..., None]) -> Callable[..., None]:
        """Return `listen`, which also remembers the run folder."""

        def hear(event: str, **facts: Any) -> None:
            if event == "run":
                self.run = str(facts["path"])
            listen(event, **facts)

        return hear


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    args = list(sys.argv[1:] if argv is None else argv)
    if "_SEPTET_COMPLETE" in os.environ:
        septet.main(args=args, prog_name="septet", complete_var="_SEPTET_COMPLETE")
    state = State(args)
    _quieten_libraries(state.debug)
    try:
        with septet.make_context("septet", args, obj=state) as context:
            septet.invoke(context)
            sys.stdout.flush()
        code = state.exit_code
    except BaseException as error:
        code = _explain(error, state)
    sys.exit(code)


def _shared(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options every verb takes; `main` reads them from the arguments."""
    verb = click.option("--debug", is_flag=True, expose_value=False, help="Show the full traceback of an error.")(verb)
    return click.option("--json", is_flag=True, expose_value=False, help="Print one JSON document; all else goes to standard error.")(verb)


def _recipe(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What the verbs that start from a recipe take."""
    for option in (
        click.option("--force", is_flag=True, help="Go on although the recipe has changed since the run began."),
        click.option("--code", multiple=True, metavar="FILE", help="A Python file with a task, method, metric … of your own."),
        click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --run."),
        click.option("--run", "folder", metavar="DIR", help="The run folder; a fresh one under runs/ without it."),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete.overrides),
        click.argument("recipe", metavar="RECIPE", shell_complete=complete.recipes),
    ):
        verb = option(verb)
    return _shared(verb)


@click.group(cls=Journey, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, invoke_without_command=True)
@click.option("--version", is_flag=True, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the full traceback of an error.")
@click.pass_context
def septet(context: click.Context, version: bool) -> None:
    """The seven stages of fine-tuning, from one recipe.

    \b
    septet init tickets.csv --text body --label team -o recipe.yaml
    septet run recipe.yaml
    """
    if version:
        from importlib.metadata import version as installed

        click.echo(f"septet {installed('septet')}")
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


@septet.command()
@click.argument("data", metavar="DATA")
@click.option("--text", multiple=True, metavar="COL", help="Column with the text; twice for a pair of texts.")
@click.option("--label", metavar="COL", help="Column with the label.")
@click.option("--model", metavar="NAME", help="A folder, a hub id, or starter.")
@click.option("-o", "--out", metavar="FILE", help="Where to write the recipe; standard output without it.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@_shared
@click.pass_obj
def init(state: State, data: str, text: tuple[str, ...], label: str | None, model: str | None, out: str | None, force: bool) -> None:
    """Write a starter recipe for your data and this machine."""
    from septet.init import init as verb
    from septet.run import write_atomic

    if out is not None and Path(out).exists() and not force:
        raise UsageError("The recipe would overwrite a file.", where=out, hint="another name: -o FILE; or --force")
    columns = text[0] if len(text) == 1 else list(text) or None
    recipe = verb(data, text=columns, label=label, model=model, out=out)
    if out is not None:
        write_atomic(Path(out), recipe.encode())
    if state.as_json:
        _print_json({"recipe": recipe, "out": out})
    else:
        click.echo(recipe if out is None else f"wrote {out}\nnext: septet run {out}", nl=out is not None)


def _run_from_recipe(state: State, name: str, recipe: str, overrides: tuple[str, ...], **options: Any) -> None:
    from septet import journey

    with _listening(state) as listen:
        result = getattr(journey, name)(recipe, overrides, listen=listen, **options)
    _print_result(result, state)


@septet.command()
@_recipe
@click.pass_obj
def prepare(state: State, recipe: str, overrides: tuple[str, ...], folder: str | None, resume: bool, code: tuple[str, ...], force: bool) -> None:
    """Read, clean, de-duplicate and split the data; account for every row."""
    _refuse_for(("--resume", resume), ("--force", force), verb="prepare")
    _run_from_recipe(state, "prepare", recipe, overrides, run=folder, code=code)


@septet.command()
@_recipe
@click.pass_obj
def check(state: State, recipe: str, overrides: tuple[str, ...], folder: str | None, resume: bool, code: tuple[str, ...], force: bool) -> None:
    """Load the model, look at the machine, estimate memory and time."""
    _refuse_for(("--resume", resume), ("--force", force), verb="check")
    _run_from_recipe(state, "check", recipe, overrides, run=folder, code=code)


@septet.command()
@_recipe
@click.pass_obj
def train(state: State, recipe: str, overrides: tuple[str, ...], folder: str | None, resume: bool, code: tuple[str, ...], force: bool) -> None:
    """Tune the model; leave an artifact in the run folder."""
    state.run = folder
    _run_from_recipe(state, "train", recipe, overrides, run=folder, resume=resume, code=code, force=force)


@septet.command()
@_recipe
@click.pass_obj
def run(state: State, recipe: str, overrides: tuple[str, ...], folder: str | None, resume: bool, code: tuple[str, ...], force: bool) -> None:
    """All seven stages in order, from one recipe."""
    state.run = folder
    _run_from_recipe(state, "run_all", recipe, overrides, run=folder, resume=resume, code=code, force=force)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--on", metavar="DATA", help="Other labelled data to score instead of the run's test sets.")
@_shared
@click.pass_obj
def evaluate(state: State, folder: str, on: str | None) -> None:
    """Score the model and its baselines, diagnose, write the report."""
    from septet import journey

    with _listening(state) as listen:
        result = journey.evaluate(folder, on=on, listen=listen)
    _print_result(result, state)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--to", metavar="FOLDER", help="Where the packages go; deploy/ of the run without it.")
@_shared
@click.pass_obj
def deploy(state: State, folder: str, to: str | None) -> None:
    """Write packages for other tools, proven equal to the trained model."""
    from septet import journey

    with _listening(state) as listen:
        result = journey.deploy(folder, to=to, listen=listen)
    _print_result(result, state)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.argument("source", metavar="INPUT", shell_complete=complete.files)
@click.option("-o", "--out", metavar="OUT", help="File for the answers; standard output without it.")
@_shared
@click.pass_obj
def predict(state: State, folder: str, source: str, out: str | None) -> None:
    """Answer the rows of a file, or of standard input (-)."""
    from septet import journey

    with _listening(state) as listen:
        result = journey.predict(folder, source, out=out, listen=listen)
    _print_result(result, state)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--host", metavar="HOST", help="Address to listen on; the recipe's without it.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on; 0 takes a free one.")
@click.option("--log-text", is_flag=True, default=None, help="Keep the text of each request in the log.")
@_shared
@click.pass_obj
def serve(state: State, folder: str, host: str | None, port: int | None, log_text: bool | None) -> None:
    """Answer requests over HTTP."""
    from septet import journey

    with _listening(state) as listen:
        result = journey.serve(folder, host=host, port=port, log_text=log_text, listen=listen)
    _print_result(result, state)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--log", metavar="FILE", help="The request log; the run's own without it.")
@_shared
@click.pass_obj
def monitor(state: State, folder: str, log: str | None) -> None:
    """Compare served requests with the training data; exit code 3 on drift."""
    from septet import journey

    with _listening(state) as listen:
        result = journey.monitor(folder, log=log, listen=listen)
    _print_result(result, state)


@septet.command(name="list")
@click.argument("kind", metavar="KIND", shell_complete=complete.kinds)
@click.option("--code", multiple=True, metavar="FILE", help="A Python file with a part of your own.")
@_shared
@click.pass_obj
def list_(state: State, kind: str, code: tuple[str, ...]) -> None:
    """List the registered tasks, methods, metrics, baselines, exports or inputs."""
    from septet import registry

    for path in code:
        registry.load_code(path)
    kind = kind[:-1] if kind.endswith("s") else kind
    found = {name: registry.summary(kind, name) for name in registry.names(kind)}
    if state.as_json:
        _print_json([{"name": name, "summary": summary} for name, summary in found.items()])
        return
    width = max(map(len, found), default=0)
    for name, summary in found.items():
        click.echo(f"{name:<{width}}  {summary}".rstrip())


@septet.command()
@click.argument("key", metavar="KEY", shell_complete=complete.keys)
@_shared
@click.pass_obj
def explain(state: State, key: str) -> None:
    """Explain a section or key of a recipe, such as train.lr."""
    from septet.recipe import Recipe

    text = Recipe.explain(key)
    if state.as_json:
        _print_json({"key": key, "text": text})
    else:
        click.echo(text)


@septet.command()
@_shared
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from septet.recipe import Recipe

    _print_json(Recipe.json_schema())


@septet.command()
@click.argument("shell", type=click.Choice(complete.SHELLS), metavar="SHELL")
@_shared
@click.pass_obj
def completion(state: State, shell: str) -> None:
    """Print the completion script: eval "$(septet completion bash)"."""
    script = complete.script(septet, shell)
    if state.as_json:
        _print_json({"shell": shell, "script": script})
    else:
        click.echo(script)


@contextlib.contextmanager
def _listening(state: State) -> Any:
    """Show progress on standard error; with --json, send there also what libraries print."""
    from septet.display import shown

    redirected = contextlib.redirect_stdout(sys.stderr) if state.as_json else contextlib.nullcontext()
    with redirected, shown() as listen:
        yield state.listening(listen)


def _print_result(result: Any, state: State) -> None:
    state.exit_code = getattr(result, "exit_code", 0)
    if result is None:
        return
    if state.as_json:
        _print_json(result.to_json() if hasattr(result, "to_json") else result)
    elif hasattr(result, "text"):
        click.echo(result.text())


def _print_json(value: Any) -> None:
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: a number that is none becomes null, a path its text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, os.PathLike) else value


def _refuse_for(*flags: tuple[str, bool], verb: str) -> None:
    for flag, given in flags:
        if given:
            raise UsageError(f"{flag} has no meaning for {verb}.", hint="septet train RECIPE --run DIR --resume")


def _explain(error: BaseException, state: State) -> int:
    """Tell an error, and return the exit code."""
    if isinstance(error, (click.exceptions.Exit, SystemExit)):
        code = error.exit_code if isinstance(error, click.exceptions.Exit) else error.code
        return code if isinstance(code, int) else 0 if code is None else 1
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush at exit is silent too
        return BROKEN_PIPE
    if state.debug and not isinstance(error, (click.Abort, KeyboardInterrupt)):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return _tell(SeptetError("Interrupted; what was saved is kept.", hint=_resume(state)), state, code=INTERRUPTED, kind="Interrupted")
    if isinstance(error, click.UsageError):
        verb = error.ctx.command_path if error.ctx else "septet"
        error = UsageError(error.format_message(), hint=f"{verb} --help")
    known = explain_foreign(error)
    if known is not None:
        return _tell(known, state, code=known.exit_code)
    lines = str(error).strip().split("\n")
    defect = SeptetError(f"{type(error).__name__}: {lines[0]}", hint="this is a defect; run again with --debug and report what it shows")
    return _tell(defect, state, code=1, kind="Defect")


def _tell(error: SeptetError, state: State, *, code: int, kind: str | None = None) -> int:
    text = str(error) if kind is None else str(error).replace(type(error).__name__, kind, 1)
    if state.as_json:
        told = _error_json(error, kind)
        if isinstance(error, Problems):
            told["problems"] = [_error_json(problem) for problem in error.problems]
        _print_json({"error": told})
    click.echo(text, err=True)
    return code


def _error_json(error: SeptetError, kind: str | None = None) -> dict[str, Any]:
    message = f"{len(error.problems)} problems" if isinstance(error, Problems) else error.what
    return {"type": kind or type(error).__name__, "message": message, "where": error.where, "hint": error.hint}


def _resume(state: State) -> str | None:
    if state.run is None:
        return None
    return f"go on with: the same command and --run {state.run} --resume"


def _quieten_libraries(debug: bool) -> None:
    """Keep the chatter of libraries off the screen; Septet says what matters in findings."""
    if debug:
        return
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"septet(\.|$)")
    for name, value in (("TRANSFORMERS_VERBOSITY", "error"), ("HF_HUB_DISABLE_PROGRESS_BARS", "1"), ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"), ("TQDM_DISABLE", "1")):
        os.environ.setdefault(name, value)
