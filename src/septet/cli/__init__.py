"""The command line: one function per verb, and the only place that prints results or exits.

`septet run recipe.yaml train.lr=1e-4 --run runs/first`. Results go to standard output, as text or with `--json` as one JSON
document; progress and everything else go to standard error. Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 a check
found blockers (or drift), 130 interrupted (SIGINT), 143 ended by SIGTERM, 129 by SIGHUP. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from septet import complete
from septet.display import Screen, quieten_libraries
from septet.errors import UsageError
from septet.launch import launched

# objects made after which Python looks for cycles. Imports make hundreds of thousands that all stay: at its own 700, looking at them over and over takes a
# seventh of the time to the first update
LOOK_EVERY = 10_000
# stage of the journey -> its verbs, in the order of the help
STAGES = {
    "Start": ("init", "label", "tokenizer"),
    "The seven stages": ("prepare", "check", "train", "evaluate", "deploy", "predict", "chat", "serve", "monitor"),
    "All of them": ("run",),
    "Look up": ("list", "explain", "schema", "completion", "selftest"),
}
NUMBERS = {
    "prepare": "1",
    "check": "2-3",
    "train": "4",
    "evaluate": "5",
    "deploy": "6",
    "predict": "6",
    "chat": "6",
    "serve": "6",
    "monitor": "7",
    "run": "1-7",
}


class Journey(click.Group):
    """The verbs, listed in the order of the journey."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verbs in STAGES.values() for verb in verbs]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for stage, verbs in STAGES.items():
            with formatter.section(stage):
                rows = [
                    (f"{NUMBERS.get(verb, ''):<4}{verb}", self.commands[verb].get_short_help_str(90)) for verb in verbs
                ]
                formatter.write_dl(rows, col_max=20)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from septet.registry import suggest

            raise UsageError(
                f"There is no verb {args[0]!r}.", hint=suggest(args[0], self.list_commands(ctx)) or "septet --help"
            )
        return super().resolve_command(ctx, args)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    gc.set_threshold(LOOK_EVERY)
    args = list(sys.argv[1:] if argv is None else argv)
    if "_SEPTET_COMPLETE" in os.environ:
        septet.main(args=args, prog_name="septet", complete_var="_SEPTET_COMPLETE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that is no text is still shown
    screen = Screen("--json" in args, debug="--debug" in args, args=args, silent=launched().follows)
    quieten_libraries(screen.debug)
    try:
        with septet.make_context("septet", args, obj=screen) as context:
            septet.invoke(context)
            if sys.stdout is not None:  # it was closed before Python began
                sys.stdout.flush()
        code = screen.exit_code
    except BaseException as error:
        code = screen.error(error)
    sys.exit(code)


def shared_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options every verb takes; `main` reads them from the arguments."""
    verb = click.option("--debug", is_flag=True, expose_value=False, help="Show the full traceback of an error.")(verb)
    return click.option(
        "--json", is_flag=True, expose_value=False, help="Print one JSON document; all else goes to standard error."
    )(verb)


def coded_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The plug-in files a model was made with; they are loaded before the verb begins."""

    def load(_context: click.Context, _option: click.Parameter, files: tuple[str, ...]) -> None:
        from septet import registry

        for path in files:
            registry.load_code(path)

    told = "A Python file with a part of your own, as the model was made with."
    return click.option("--code", multiple=True, expose_value=False, callback=load, metavar="FILE", help=told)(verb)


def recipe_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What the verbs that start from a recipe take."""
    for option in (
        click.option("--code", multiple=True, metavar="FILE", help="A Python file with a task, method … of your own."),
        click.option("--run", "folder", metavar="DIR", help="The run folder; a fresh one under runs/ without it."),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete.overrides),
        click.argument("recipe", metavar="RECIPE", shell_complete=complete.recipes),
    ):
        verb = option(verb)
    return shared_options(verb)


def resumable_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What the verbs that train take besides."""
    verb = click.option("--profile", is_flag=True, help="Show where the time goes, by part and by operator.")(verb)
    verb = click.option("--force", is_flag=True, help="Resume although recipe, data, model or versions have changed.")(
        verb
    )
    return click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --run.")(verb)


@click.group(
    cls=Journey,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
)
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


# the verbs put themselves into the group
from septet.cli import lookup, start, tune, use  # noqa: E402, F401
