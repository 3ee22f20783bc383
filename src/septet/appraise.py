"""What a run says of its prepared data beyond what is kept with them: how many tokens its model makes of them, and whether they are like `data.target`.

`tokens` and `target` give JSON for the run's `data.json`. They rest on a few thousand rows, and on what is on this machine already: no
model is fetched for them. What was said before of the same rows is said again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from septet.data.clean import clean_rows
from septet.data.files import read_bytes
from septet.data.profile import spread
from septet.data.rows import Rows
from septet.data.schema import Schema
from septet.data.sources import target_rows
from septet.data.sql import is_database
from septet.data.store import Prepared
from septet.data.table import Stamp
from septet.data.unusable import empty
from septet.errors import UsageError
from septet.monitor import LOG_ENDINGS
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding

TOKENIZED = 1000  # rows of a split; a histogram of more looks the same


def tokens(recipe: Recipe, prepared: Prepared, known: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Return how many tokens rows of train and validation have; None where the model's tokenizer is not at hand.

    Args:
        known: what was said before, used again where it is of the same rows and model.
    """
    from septet.model import tokens as counting

    folder = None if prepared.schema.media else counting.local_folder(recipe)
    if folder is None:
        return None
    whose, limit = "model.max_length", recipe.model.max_length
    if limit is None:
        whose, limit = "what the model reads", counting.limit_of(folder)
    about = {"model": recipe.model.title, "whose": whose, "limit": limit, "hash": prepared.manifest["hash"]}
    if known is not None and {name: known.get(name) for name in about} == about:
        return known
    splits = [split for split in ("train", "validation") if split in prepared.splits]
    texts = prepared.schema.texts + (() if prepared.schema.classes else (prepared.schema.label,))
    found = {}
    for split in splits:
        rows = prepared.drawn(split, TOKENIZED)
        found[split] = counting.count_tokens(folder, [tuple(row[name] or "" for name in texts if name) for row in rows])
    return {
        **about,
        "rows": {split: len(counts) for split, counts in found.items()},
        "of": {split: prepared.splits[split]["rows"] for split in splits},
        "over": {split: int((counts > (limit or np.inf)).sum()) for split, counts in found.items()},
        "splits": {split: spread(counts) for split, counts in found.items()},
    }


def target(
    recipe: Recipe, prepared: Prepared, known: dict[str, Any] | None = None, *, listen: Listen = quiet
) -> dict[str, Any] | None:
    """Compare train with the rows of `data.target`; None where a recipe names none.

    Args:
        known: what was said before, used again where it is of the same rows, files and model.

    Raises:
        UsageError: a file is missing, or a request log keeps no texts.
        RecipeError: a column of text is missing.
    """
    if recipe.data.target is None:
        return None
    from septet.model.tokens import local_folder
    from septet.model.vectors import embed
    from septet.watch import target as watching

    rows, stamps, told = _target_rows(recipe, prepared)
    about = {
        "of": recipe.data.files("target"),
        "raw": [{"path": Path(stamp.path).name, "sha256": stamp.sha256} for stamp in stamps],
        "hash": prepared.manifest["hash"],
        "model": recipe.model.title,
        "monitor": recipe.monitor.model_dump(),
    }
    if known is not None and {name: known.get(name) for name in about} == about:
        return known
    listen("progress", what="compare with data.target", done=0, total=1)
    train = _distinct(_texts(prepared, prepared.drawn("train", watching.TRAIN_ROWS)))
    theirs = _distinct(rows)
    every = len(theirs)
    drawn = np.sort(np.random.default_rng(recipe.monitor.seed).permutation(every)[: watching.TARGET_ROWS])
    theirs = [theirs[i] for i in drawn]
    folder = local_folder(recipe) if recipe.model.architecture is None else None
    both = [text for text, _ in (*train, *theirs)]
    vectors, how = embed(both, folder, name=recipe.model.title, listen=listen)
    sides = [
        watching.Side([" ".join(text) for text, _ in side], [label for _, label in side], found)
        for side, found in ((train, vectors[: len(train)]), (theirs, vectors[len(train) :]))
    ]
    judged = watching.judge(*sides, classes=prepared.schema.classes, limits=recipe.monitor)
    seen = {text for text, _ in train}
    listen("progress", what="compare with data.target", done=1, total=1)
    return {
        **about,
        "rows": {"train": len(train), "target": len(theirs), "of_target": every},
        "in_train": sum(text in seen for text, _ in theirs),
        "compared_by": how,
        **judged.to_json(),
        "findings": [finding.to_json() for finding in (*told, *judged.findings)],
    }


def _target_rows(
    recipe: Recipe, prepared: Prepared
) -> tuple[list[tuple[tuple[str, ...], str | None]], list[Stamp], list[Finding]]:
    """Return the texts and labels of `data.target`, cleaned as train was, the files' stamps, and what is to be told of the files."""
    schema = prepared.schema
    paths = recipe.data.files("target")
    if len(paths) == 1 and paths[0].endswith(LOG_ENDINGS) and not is_database(paths[0]):
        path = Path(recipe.path(paths[0]))
        rows, stamps, told = _logged(path, schema), [read_bytes(path)[1]], []
    else:
        rows, stamps, told = target_rows(recipe, schema)
    clean_rows(rows, prepared.cleaning(recipe.data.clean), classes=schema.classes)
    without = set(empty(rows, schema))
    pairs = zip(rows.texts, rows.labels, strict=True)
    return [(text, label) for i, (text, label) in enumerate(pairs) if i not in without], stamps, told


def _logged(path: Path, schema: Schema) -> Rows:
    """Return the requests of a log as rows without labels.

    Raises:
        UsageError: there is no log, or it keeps no texts.
    """
    from septet.server.log import read

    logged = read(path)
    kept = [text for text in logged.texts if text is not None]
    if not kept:
        raise UsageError(
            "The request log keeps no texts, so train cannot be compared with it.",
            where=str(path),
            hint="serve.log_text: true   (or septet serve DIR --log-text); septet monitor compares without texts",
        )
    texts = [(text,) if len(schema.texts) == 1 else _columns(text, schema) for text in kept]
    return Rows(texts, [None] * len(texts), None, list(range(len(texts))), lambda i: f"{path.name} request {i + 1}")


def _columns(text: str, schema: Schema) -> tuple[str, ...]:
    """Return the columns of a request that has several; the log keeps them as JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    row = found if isinstance(found, dict) else {schema.texts[0]: text}
    return tuple(str(row.get(column) or "") for column in schema.texts)


def _texts(prepared: Prepared, rows: list[dict[str, Any]]) -> list[tuple[tuple[str, ...], str | None]]:
    schema = prepared.schema
    return [
        (tuple(row[name] or "" for name in schema.texts), None if schema.label is None else row[schema.label])
        for row in rows
    ]


def _distinct(rows: list[tuple[tuple[str, ...], str | None]]) -> list[tuple[tuple[str, ...], str | None]]:
    """Return rows with texts that differ, the first of equals: train's duplicates are dropped too."""
    return list({text: (text, label) for text, label in reversed(rows)}.values())[::-1]
