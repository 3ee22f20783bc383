"""The command line: one function per verb, and the only place that prints results or exits.

`septet run recipe.yaml train.lr=1e-4 --run runs/first`. Results go to standard output, as text or with `--json` as one JSON
document; progress and everything else go to standard error. Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 a check
found blockers (or drift), 130 interrupted. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from septet import complete
from septet.display import Screen, quieten_libraries
from septet.errors import UsageError

# stage of the journey -> its verbs, in the order of the help
STAGES = {
    "Start": ("init", "tokenizer"),
    "The seven stages": ("prepare", "check", "train", "evaluate", "deploy", "predict", "chat", "serve", "monitor"),
    "All of them": ("run",),
    "Look up": ("list", "explain", "schema", "completion"),
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
    args = list(sys.argv[1:] if argv is None else argv)
    if "_SEPTET_COMPLETE" in os.environ:
        septet.main(args=args, prog_name="septet", complete_var="_SEPTET_COMPLETE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that is no text is still shown
    screen = Screen("--json" in args, debug="--debug" in args)
    quieten_libraries(screen.debug)
    try:
        with septet.make_context("septet", args, obj=screen) as context:
            septet.invoke(context)
            sys.stdout.flush()
        code = screen.exit_code
    except BaseException as error:
        code = screen.error(error)
    sys.exit(code)


def _shared(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options every verb takes; `main` reads them from the arguments."""
    verb = click.option("--debug", is_flag=True, expose_value=False, help="Show the full traceback of an error.")(verb)
    return click.option(
        "--json", is_flag=True, expose_value=False, help="Print one JSON document; all else goes to standard error."
    )(verb)


def _coded(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The plug-in files a model was made with; they are loaded before the verb begins."""

    def load(_context: click.Context, _option: click.Parameter, files: tuple[str, ...]) -> None:
        from septet import registry

        for path in files:
            registry.load_code(path)

    told = "A Python file with a part of your own, as the model was made with."
    return click.option("--code", multiple=True, expose_value=False, callback=load, metavar="FILE", help=told)(verb)


def _recipe(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What the verbs that start from a recipe take."""
    for option in (
        click.option("--code", multiple=True, metavar="FILE", help="A Python file with a task, method … of your own."),
        click.option("--run", "folder", metavar="DIR", help="The run folder; a fresh one under runs/ without it."),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete.overrides),
        click.argument("recipe", metavar="RECIPE", shell_complete=complete.recipes),
    ):
        verb = option(verb)
    return _shared(verb)


def _resumable(verb: Callable[..., Any]) -> Callable[..., Any]:
    """What the verbs that train take besides."""
    verb = click.option("--force", is_flag=True, help="Resume although the recipe has changed since.")(verb)
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


@septet.command()
@click.argument("data", metavar="DATA")
@click.option("--task", metavar="NAME", help="classify, generate or pretrain; guessed from the data without it.")
@click.option("--text", multiple=True, metavar="COL", help="Column with the text; twice for a pair of texts.")
@click.option("--label", metavar="COL", help="Column with the label.")
@click.option("--prompt", metavar="COL", help="Column with what is asked, where an answer is to be written.")
@click.option("--answer", metavar="COL", help="Column with that answer.")
@click.option("--model", metavar="NAME", help="A folder, a hub id, starter or starter-lm.")
@click.option("-o", "--out", metavar="FILE", help="Where to write the recipe; standard output without it.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@_shared
@click.pass_obj
def init(screen: Screen, data: str, text: tuple[str, ...], out: str | None, **options: Any) -> None:
    """Write a starter recipe for your data and this machine."""
    from septet.init import init as verb

    recipe = verb(data, text=text[0] if len(text) == 1 else list(text) or None, out=out, **options)
    found, _, _ = recipe.partition("\ndata:")
    if screen.as_json:
        screen.json({"recipe": recipe, "out": out})
    else:
        click.echo(recipe if out is None else f"{found}\nwrote {out}\nnext: septet run {out}", nl=out is not None)


@septet.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...", shell_complete=complete.files)
@click.option("--text", metavar="COL", help="Column with the texts; a .txt file needs none: its lines are the texts.")
@click.option("--kind", default="bpe", metavar="KIND", help="bpe (GPT-2, Llama), unigram (T5) or wordpiece (BERT).")
@click.option("--size", default=8000, type=click.IntRange(1), metavar="N", help="Tokens of the vocabulary (8000).")
@click.option("--lowercase", is_flag=True, help="Fold the case.")
@click.option("--chat", is_flag=True, help="Add the marks of a chat's turns.")
@click.option("-o", "--out", required=True, metavar="DIR", help="Where to write the tokenizer.")
@click.option("--force", is_flag=True, help="Replace a tokenizer that is there.")
@_shared
@click.pass_obj
def tokenizer(screen: Screen, data: tuple[str, ...], **options: Any) -> None:
    """Learn a tokenizer from texts, for a model that begins from scratch."""
    from septet.tokenizer import tokenizer as verb

    with screen.progress() as listen:
        result = verb(list(data), listen=listen, **options)
    screen.result(result)


def _start(screen: Screen, name: str, recipe: str, overrides: tuple[str, ...], **options: Any) -> None:
    """Call a verb of the journey that begins with a recipe, and print what it came to."""
    from septet import journey

    screen.run = options["run"]
    with screen.progress() as listen:
        result = getattr(journey, name)(recipe, overrides, listen=listen, **options)
    screen.result(result)


@septet.command()
@_recipe
@click.option("--show", type=click.IntRange(1), metavar="N", help="Print N rows of train as training sees them.")
@click.pass_obj
def prepare(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """Read, clean, de-duplicate and split the data; account for every row."""
    _start(screen, "prepare", recipe, overrides, run=folder, **options)


@septet.command()
@_recipe
@click.pass_obj
def check(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, code: tuple[str, ...]) -> None:
    """Load the model, look at the machine, estimate memory and time."""
    _start(screen, "check", recipe, overrides, run=folder, code=code)


@septet.command()
@_recipe
@_resumable
@click.pass_obj
def train(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """Tune the model; leave an artifact in the run folder."""
    _start(screen, "train", recipe, overrides, run=folder, **options)


@septet.command()
@_recipe
@_resumable
@click.pass_obj
def run(screen: Screen, recipe: str, overrides: tuple[str, ...], folder: str | None, **options: Any) -> None:
    """All seven stages in order, from one recipe."""
    _start(screen, "run_all", recipe, overrides, run=folder, **options)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--on", metavar="DATA", help="Other labelled data to score instead of the run's test sets.")
@_coded
@_shared
@click.pass_obj
def evaluate(screen: Screen, folder: str, on: str | None) -> None:
    """Score the model and its baselines, diagnose, write the report."""
    from septet import journey

    with screen.progress() as listen:
        result = journey.evaluate(folder, on=on, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--to", metavar="FOLDER", help="Where the packages go; deploy/ of the run without it.")
@_coded
@_shared
@click.pass_obj
def deploy(screen: Screen, folder: str, to: str | None) -> None:
    """Write packages for other tools, proven equal to the trained model."""
    from septet import journey

    with screen.progress() as listen:
        result = journey.deploy(folder, to=to, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.argument("source", metavar="INPUT", shell_complete=complete.files)
@click.option("-o", "--out", metavar="OUT", help="File for the answers; standard output without it.")
@_coded
@_shared
@click.pass_obj
def predict(screen: Screen, folder: str, source: str, out: str | None) -> None:
    """Answer the rows of a file, or of standard input (-)."""
    from septet import journey

    with screen.progress() as listen:
        result = journey.predict(folder, source, out=out, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--base", is_flag=True, help="Let the model before tuning answer too.")
@click.option("--system", metavar="TEXT", help="A system prompt; the recipe's own without it.")
@_coded
@_shared
@click.pass_obj
def chat(screen: Screen, folder: str, base: bool, system: str | None) -> None:
    """Talk with a tuned model; a line of standard input is a turn."""
    from septet.chat import voices

    with screen.progress() as listen:
        listen("stage", name="chat")
        found = voices(folder, base=base, system=system)
    screen.talk(found)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--host", metavar="HOST", help="Address to listen on; the recipe's without it.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on; 0 takes a free one.")
@click.option("--log-text", is_flag=True, default=None, help="Keep the text of each request in the log.")
@_coded
@_shared
@click.pass_obj
def serve(screen: Screen, folder: str, host: str | None, port: int | None, log_text: bool | None) -> None:
    """Answer requests over HTTP."""
    from septet import journey

    with screen.progress() as listen:
        result = journey.serve(folder, host=host, port=port, log_text=log_text, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--log", metavar="FILE", help="The request log, or a table of texts; the run's own log without it.")
@click.option("--window", type=click.IntRange(1), metavar="N", help="Only the newest N requests.")
@_coded
@_shared
@click.pass_obj
def monitor(screen: Screen, folder: str, log: str | None, window: int | None) -> None:
    """Compare served requests with the training data; exit code 3 on drift."""
    from septet import journey

    with screen.progress() as listen:
        result = journey.monitor(folder, log=log, window=window, listen=listen)
    screen.result(result)


@septet.command(name="list")
@click.argument("kind", metavar="[KIND]", required=False, shell_complete=complete.kinds)
@click.option("--code", multiple=True, metavar="FILE", help="A Python file with a part of your own.")
@_shared
@click.pass_obj
def list_(screen: Screen, kind: str | None, code: tuple[str, ...]) -> None:
    """List the registered tasks, methods, metrics, baselines, exports or inputs; without KIND, the kinds."""
    from septet import registry

    for path in code:
        registry.load_code(path)
    if kind is None:
        found = {kind: ", ".join(registry.names(kind)) for kind in registry.FOLDERS}
    else:
        kind = kind.removesuffix("s")
        found = {name: registry.summary(kind, name) for name in registry.names(kind)}
    if screen.as_json:
        screen.json([{"name": name, "summary": summary} for name, summary in found.items()])
        return
    width = max(map(len, found), default=0)
    for name, summary in found.items():
        click.echo(f"{name:<{width}}  {summary}".rstrip())


@septet.command()
@click.argument("key", metavar="KEY", shell_complete=complete.keys)
@_shared
@click.pass_obj
def explain(screen: Screen, key: str) -> None:
    """Explain a section or key of a recipe, such as train.lr."""
    from septet.recipe import Recipe

    text = Recipe.explain(key)
    if screen.as_json:
        screen.json({"key": key, "text": text})
    else:
        click.echo(text)


@septet.command()
@_shared
@click.pass_obj
def schema(screen: Screen) -> None:
    """Print the JSON schema of recipes, for editors."""
    from septet.recipe import Recipe

    screen.json(Recipe.json_schema())


@septet.command()
@click.argument("shell", type=click.Choice(complete.SHELLS), metavar="SHELL")
@_shared
@click.pass_obj
def completion(screen: Screen, shell: str) -> None:
    """Print the completion script: eval "$(septet completion bash)"."""
    script = complete.script(septet, shell)
    if screen.as_json:
        screen.json({"shell": shell, "script": script})
    else:
        click.echo(script)
