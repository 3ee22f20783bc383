"""Septet from Python: the verbs of the command line as functions.

    septet.train("recipe.yaml", "train.lr=1e-4", run="runs/first")
    septet.train({"task": {"name": "classify", "text": "body", "label": "team"}}, data={"train": table})

A recipe is a file, a dict or a `Recipe`; `data` takes tables (pandas, polars, pyarrow, `datasets.Dataset`, lists of dicts) instead of
the recipe's files. Results have `to_json()` and `text()`. Nothing is printed: pass `listen` to be told of the progress.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.progress import Listen, quiet

if TYPE_CHECKING:
    from septet.model.predictor import Predictor
    from septet.recipe import Recipe

    Source = str | Path | Mapping[str, Any] | Recipe


def init(
    data: str | Path,
    *,
    task: str | None = None,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    prompt: str | None = None,
    answer: str | None = None,
    model: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> str:
    """Return a commented starter recipe for a data file, and write it to `out`; see `septet.init.init`."""
    from septet.init import init as verb

    columns: dict[str, Any] = {"text": text, "label": label, "prompt": prompt, "answer": answer}
    return verb(data, task=task, **columns, model=model, out=out, force=force)


def tokenizer(
    data: Any,
    out: str | Path,
    *,
    text: str | None = None,
    kind: str = "bpe",
    size: int = 8000,
    lowercase: bool = False,
    chat: bool = False,
    force: bool = False,
    listen: Listen = quiet,
) -> Any:
    """Learn a tokenizer from texts and write its folder; see `septet.tokenizer.tokenizer`."""
    from septet.tokenizer import tokenizer as verb

    return verb(data, out, text=text, kind=kind, size=size, lowercase=lowercase, chat=chat, force=force, listen=listen)


def label(
    data: str | Path,
    *,
    budget: int | None = None,
    read: str | Path | None = None,
    recipe: Source | None = None,
    text: str | Sequence[str] = (),
    label: str | None = None,
    labels: Sequence[str] = (),
    model: str | None = None,
    known: str | Path | None = None,
    out: str | Path | None = None,
    new_labels: bool = False,
    train: bool = False,
    run: str | Path | None = None,
    listen: Listen = quiet,
) -> Any:
    """Pick the rows of a file that are worth a label and write them on a sheet; with `read`, read the filled sheet back.

    Args:
        data: the rows to label: any table that can be read.
        budget: rows to pick; 200 when no sheet is read.
        read: the sheet that was filled in.
        recipe: whose columns, labels and model are taken; its training rows count as labelled.
        text: the column of text, or two; without a recipe.
        label: the column to fill in; `label` without it.
        labels: those that can be given; whatever is written without them.
        model: that rows are compared by; the starter without it.
        known: the table of labelled rows; `<data>.labelled.csv` without it.
        out: the sheet to write; `<data>.sheet-N.csv` without it.
        new_labels: take labels of a sheet that are not listed.
        train: after reading, train with all labelled rows.
        run: the run folder of that training.
        listen: told of all progress.
    """
    from septet import journey

    return journey.label(
        data,
        budget=budget,
        read=read,
        recipe=recipe,
        text=(text,) if isinstance(text, str) else text,
        label=label,
        labels=labels,
        model=model,
        known=known,
        out=out,
        new_labels=new_labels,
        training=train,
        run=run,
        listen=listen,
    )


def prepare(
    recipe: Source,
    *overrides: str,
    run: str | Path | None = None,
    code: Sequence[str] = (),
    data: Any = None,
    show: int | None = None,
    review: str | Path | None = None,
    dry_run: bool = False,
    listen: Listen = quiet,
) -> Any:
    """Read, clean, de-duplicate, split and audit the data of a recipe; the ledger accounts for every row.

    Args:
        recipe: a file, a dict, or a `Recipe`.
        overrides: `train.lr=1e-4` and the like.
        run: the run folder; a fresh one under `runs/` when None.
        code: plug-in files.
        data: one table to learn from, or tables by split (`train`, `validation`, `test`).
        show: rows of train to show as training sees them, in `shown` of the result; see `septet.show`.
        review: where to write a sheet of rows whose label someone should look at; `data.corrections` reads it back.
        dry_run: return what each step would change and drop, with examples, and write nothing.
        listen: told of all progress.
    """
    from septet import journey

    return journey.prepare(
        recipe,
        overrides,
        run=run,
        code=code,
        tables=tables(data),
        show=show,
        review=review,
        dry_run=dry_run,
        listen=listen,
    )


def check(
    recipe: Source,
    *overrides: str,
    run: str | Path | None = None,
    code: Sequence[str] = (),
    data: Any = None,
    listen: Listen = quiet,
) -> Any:
    """Prepare, load the model, look at the machine, and estimate memory and time."""
    from septet import journey

    return journey.check(recipe, overrides, run=run, code=code, tables=tables(data), listen=listen)


def train(
    recipe: Source,
    *overrides: str,
    run: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    profile: bool = False,
    code: Sequence[str] = (),
    data: Any = None,
    listen: Listen = quiet,
) -> Any:
    """Train, and leave an artifact in the run folder.

    Args:
        recipe: a file, a dict, or a `Recipe`.
        overrides: `train.lr=1e-4` and the like.
        run: the run folder; a fresh one under `runs/` when None.
        resume: go on from the newest checkpoint of `run`.
        force: resume although the recipe has changed since.
        profile: look closely at where the time goes, in `timing` of the result and `timing.json` of the run.
        code: plug-in files.
        data: one table to learn from, or tables by split (`train`, `validation`, `test`).
        listen: told of all progress.
    """
    from septet import journey

    return journey.train(
        recipe,
        overrides,
        run=run,
        resume=resume,
        force=force,
        profile=profile,
        code=code,
        tables=tables(data),
        listen=listen,
    )


def run(
    recipe: Source,
    *overrides: str,
    run: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    profile: bool = False,
    code: Sequence[str] = (),
    data: Any = None,
    listen: Listen = quiet,
) -> Any:
    """All seven stages in order. Arguments as in `train`."""
    from septet import journey

    return journey.run_all(
        recipe,
        overrides,
        run=run,
        resume=resume,
        force=force,
        profile=profile,
        code=code,
        tables=tables(data),
        listen=listen,
    )


def evaluate(folder: str | Path, *, on: str | None = None, listen: Listen = quiet) -> Any:
    """Score a run's model and its baselines, diagnose, and write the report; `on` names other labelled data."""
    from septet import journey

    return journey.evaluate(folder, on=on, listen=listen)


def deploy(folder: str | Path, *, to: str | None = None, listen: Listen = quiet) -> Any:
    """Write the packages of a run's model and prove them equal to it."""
    from septet import journey

    return journey.deploy(folder, to=to, listen=listen)


def serve(
    folder: str | Path,
    *,
    host: str | None = None,
    port: int | None = None,
    log_text: bool | None = None,
    listen: Listen = quiet,
) -> Any:
    """Answer requests over HTTP until stopped."""
    from septet import journey

    return journey.serve(folder, host=host, port=port, log_text=log_text, listen=listen)


def predict(folder: str | Path, source: Any, *, out: str | None = None, skip: int = 0, listen: Listen = quiet) -> Any:
    """Answer the rows of a file, but for so many at its beginning."""
    from septet import journey

    return journey.predict(folder, source, out=out, skip=skip, listen=listen)


def monitor(folder: str | Path, *, log: str | None = None, window: int | None = None, listen: Listen = quiet) -> Any:
    """Compare the requests that were served with the training profile."""
    from septet import journey

    return journey.monitor(folder, log=log, window=window, listen=listen)


def load(folder: str | Path, *, device: str | None = None, code: Sequence[str] = ()) -> Predictor:
    """Return the predictor of a model folder, or of a run folder that holds one; its files are checked against their hashes."""
    from septet.model.predictor import Predictor

    return Predictor.load(folder, device=device, code=code)


def model_path(name: str = "starter", *, revision: str | None = None) -> Path:
    """Return the folder of a model as recipes name it: `starter`, `starter-lm`, a folder, or a hub id (from the local cache where it is there)."""
    from septet.model.load import resolve

    return resolve(name, revision=revision)


def list(kind: str) -> dict[str, str]:
    """Return the names registered under a kind (task, method, metric, baseline, export, input), each with its summary."""
    from septet import registry

    return {name: registry.summary(kind, name) for name in registry.names(kind)}


def tables(data: Any) -> dict[str, Any] | None:
    """Return tables by split; a single table is train.

    A dict is tables by split, unless it is a table itself: columns of values.
    """
    if data is None:
        return None
    if isinstance(data, Mapping) and not all(
        isinstance(value, (builtins.list, tuple)) and not _rows(value) for value in data.values()
    ):
        return dict(data)
    return {"train": data}


def _rows(value: Sequence[Any]) -> bool:
    return bool(value) and isinstance(value[0], Mapping)
