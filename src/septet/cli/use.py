"""The verbs on a finished run: `evaluate`, `deploy`, `predict`, `chat`, `serve`, `monitor`."""

from __future__ import annotations

import sys

import click

from septet import complete
from septet.cli import coded_options, septet, shared_options
from septet.display import Screen
from septet.interrupt import during, watched


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--on", metavar="DATA", help="Other labelled data to score instead of the run's test sets.")
@coded_options
@shared_options
@click.pass_obj
def evaluate(screen: Screen, folder: str, on: str | None) -> None:
    """Score the model and its baselines, diagnose, write the report."""
    from septet import journey

    with watched(), screen.progress() as listen:
        result = journey.evaluate(folder, on=on, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--to", metavar="FOLDER", help="Where the packages go; deploy/ of the run without it.")
@coded_options
@shared_options
@click.pass_obj
def deploy(screen: Screen, folder: str, to: str | None) -> None:
    """Write packages for other tools, proven equal to the trained model."""
    from septet import journey

    with watched(), screen.progress() as listen:
        result = journey.deploy(folder, to=to, listen=listen)
    screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.argument("source", metavar="INPUT", shell_complete=complete.files)
@click.option("-o", "--out", metavar="OUT", help="File for the answers; standard output without it.")
@click.option("--skip", type=click.IntRange(0), default=0, metavar="N", help="Leave out the first N rows.")
@coded_options
@shared_options
@click.pass_obj
def predict(screen: Screen, folder: str, source: str, out: str | None, skip: int) -> None:
    """Answer the rows of a file, or of standard input (-)."""
    from septet import journey

    # answers go to a file or a program as they come; a terminal has a moving bar until all are there
    stream = None if out or screen.as_json or sys.stdout.isatty() else sys.stdout
    with watched(), screen.progress() as listen:
        result = journey.predict(folder, source, out=stream or out, skip=skip, listen=listen)
    if stream is None:
        screen.result(result)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--base", is_flag=True, help="Let the model before tuning answer too.")
@click.option("--system", metavar="TEXT", help="A system prompt; the recipe's own without it.")
@coded_options
@shared_options
@click.pass_obj
def chat(screen: Screen, folder: str, base: bool, system: str | None) -> None:
    """Talk with a tuned model; a line of standard input is a turn."""
    from septet.chat import voices

    with watched(), during("chat"):
        with screen.progress() as listen:
            listen("stage", name="chat")
            found = voices(folder, base=base, system=system)
        screen.talk(found)


@septet.command()
@click.argument("folder", metavar="DIR", shell_complete=complete.folders)
@click.option("--host", metavar="HOST", help="Address to listen on; the recipe's without it.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on; 0 takes a free one.")
@click.option("--log-text", is_flag=True, default=None, help="Keep the text of each request in the log.")
@coded_options
@shared_options
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
@coded_options
@shared_options
@click.pass_obj
def monitor(screen: Screen, folder: str, log: str | None, window: int | None) -> None:
    """Compare served requests with the training data; exit code 3 on drift."""
    from septet import journey

    with watched(), screen.progress() as listen:
        result = journey.monitor(folder, log=log, window=window, listen=listen)
    screen.result(result)
