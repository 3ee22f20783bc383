"""The verbs that look up, `list`, `explain`, `schema`, `completion`, and the one that tests itself, `selftest`."""

from __future__ import annotations

import click

from septet import complete
from septet.cli import septet, shared_options
from septet.display import Screen


@septet.command(name="list")
@click.argument("kind", metavar="[KIND]", required=False, shell_complete=complete.kinds)
@click.option("--code", multiple=True, metavar="FILE", help="A Python file with a part of your own.")
@shared_options
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
@shared_options
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
@shared_options
@click.pass_obj
def schema(screen: Screen) -> None:
    """Print the JSON schema of recipes, for editors."""
    from septet.recipe import Recipe

    screen.json(Recipe.json_schema())


@septet.command()
@click.argument("shell", type=click.Choice(complete.SHELLS), metavar="SHELL")
@shared_options
@click.pass_obj
def completion(screen: Screen, shell: str) -> None:
    """Print the completion script: eval "$(septet completion bash)"."""
    script = complete.script(septet, shell)
    if screen.as_json:
        screen.json({"shell": shell, "script": script})
    else:
        click.echo(script)


@septet.command()
@click.option("--kills", default=4, type=click.IntRange(2), metavar="N", help="Kills in all (4); each takes seconds.")
@click.option("--seed", default=0, type=click.IntRange(0), metavar="N", help="Of the moments they come at (0).")
@shared_options
@click.pass_obj
def selftest(screen: Screen, kills: int, seed: int) -> None:
    """Kill and resume small runs on this machine, and show that the weights are the same."""
    from septet.selftest import selftest as verb

    with screen.progress() as listen:
        result = verb(kills=kills, seed=seed, listen=listen)
    screen.result(result)
