"""The verbs that come before a recipe: `init`, `label` and `tokenizer`."""

from __future__ import annotations

from typing import Any

import click

from septet import complete
from septet.cli import septet, shared_options
from septet.display import Screen


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
@shared_options
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
@click.argument("data", metavar="DATA", shell_complete=complete.files)
@click.option("--budget", type=click.IntRange(1), metavar="N", help="Rows to pick (200).")
@click.option("--read", metavar="SHEET", shell_complete=complete.files, help="Read back a sheet that was filled in.")
@click.option("--recipe", metavar="RECIPE", shell_complete=complete.recipes, help="Take its columns, labels and model.")
@click.option("--text", multiple=True, metavar="COL", help="Column with the text; twice for a pair of texts.")
@click.option("--label", metavar="COL", help="Column to fill in (label).")
@click.option("--labels", metavar="A,B", help="The labels that can be given; any without it.")
@click.option("--model", metavar="NAME", help="The model that rows are compared by (starter).")
@click.option(
    "--known", metavar="FILE", help="Where labelled rows are kept; DATA's name with .labelled.csv without it."
)
@click.option("-o", "--out", metavar="SHEET", help="The sheet to write; DATA's name with .sheet-N.csv without it.")
@click.option("--new-labels", is_flag=True, help="Take labels of the sheet that are not listed.")
@click.option("--train", "training", is_flag=True, help="With --read: train with all labelled rows.")
@click.option("--run", metavar="DIR", help="The run folder of that training; a fresh one without it.")
@shared_options
@click.pass_obj
def label(screen: Screen, data: str, labels: str | None, **options: Any) -> None:
    """Pick the rows that are worth a label, write a sheet, read it back."""
    from septet import journey

    named = [each.strip() for each in (labels or "").split(",") if each.strip()]
    with screen.progress() as listen:
        result = journey.label(data, labels=named, listen=listen, **options)
    screen.result(result)


@septet.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...", shell_complete=complete.files)
@click.option("--text", metavar="COL", help="Column with the texts; a .txt file needs none: its lines are the texts.")
@click.option("--kind", default="bpe", metavar="KIND", help="bpe (GPT-2, Llama), unigram (T5) or wordpiece (BERT).")
@click.option("--size", default=8000, type=click.IntRange(1), metavar="N", help="Tokens of the vocabulary (8000).")
@click.option("--lowercase", is_flag=True, help="Fold the case.")
@click.option("--chat", is_flag=True, help="Add the marks of a chat's turns.")
@click.option("-o", "--out", required=True, metavar="DIR", help="Where to write the tokenizer.")
@click.option("--force", is_flag=True, help="Replace a tokenizer that is there.")
@shared_options
@click.pass_obj
def tokenizer(screen: Screen, data: tuple[str, ...], **options: Any) -> None:
    """Learn a tokenizer from texts, for a model that begins from scratch."""
    from septet.tokenizer import tokenizer as verb

    with screen.progress() as listen:
        result = verb(list(data), listen=listen, **options)
    screen.result(result)
