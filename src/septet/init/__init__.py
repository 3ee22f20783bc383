"""`septet init DATA`: look at the data and the machine, and write a starter recipe with a reason for each value.

What the data are for is guessed unless it is asked for, in this order. Plain text is for `pretrain`. Lists of turns are for `generate`, and so are
the columns of its other usual formats (Alpaca, prompt and completion, question and answer), unless a column has the name of a label or the answers
are a few short ones: then, as with any column of few different, short values, it is `classify`. Two columns of text are `generate`, one
with long texts is `pretrain`. Where the data allow another reading, the recipe says so. What depends on the model or on measurements
stays `auto` and is derived by `check` and `train`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from septet.errors import UsageError
from septet.init import _classify, _generate, _pretrain
from septet.init._columns import guess_label, is_named, repeats_labels
from septet.init._plan import Plan
from septet.init._seen import Seen, find_splits, look_at
from septet.init._write import written
from septet.registry import suggest

__all__ = ["find_splits", "init"]

# task -> the options that name its columns
TAKES = {"classify": ("text", "label"), "generate": ("prompt", "answer"), "pretrain": ("text",)}


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
    """Return a commented recipe for a data file, a folder or the table of a database; write it to `out` if that is given.

    Args:
        task: `classify`, `generate` or `pretrain`; guessed when None.
        text: the text column, or two for a pair; guessed when None.
        label: the label column; guessed when None.
        prompt: the column with what is asked, for `generate`; found when None, and then so is the answer.
        answer: the column with the answer.
        model: a folder, a hub id, `starter` or `starter-lm`.
        force: overwrite `out`.

    Raises:
        UsageError: no such data, no such column, no guess possible, options that do not go together, or `out` exists.
    """
    from septet.durable import write_atomic

    target = None if out is None else Path(out)
    if target is not None and target.exists() and not force:
        raise UsageError(
            "The recipe would overwrite a file.", where=str(target), hint="another name: -o FILE; or --force"
        )
    texts = [text] if isinstance(text, str) else list(text or ())
    task = _asked(task, {"text": texts, "label": label, "prompt": prompt, "answer": answer})
    named = [name for name in (*texts, label, prompt, answer) if name is not None]
    seen = look_at(data, table=bool(named), text=task == "pretrain")
    for name in named:
        if name not in seen.columns:
            near = suggest(name, list(seen.columns)) or f"the columns are {', '.join(seen.columns)}"
            raise UsageError(f"There is no column {name!r}.", where=seen.table.name, hint=near)
    if task == "classify":
        plan = _classify.plan(seen, texts=texts, label=label)
    elif task == "generate":
        plan = _generate.plan(seen, prompt=prompt, answer=answer)
    elif task == "pretrain":
        plan = _pretrain.plan(seen, text=next(iter(texts), None))
    else:
        plan = _guess(seen, texts)
    recipe = written(seen, plan, base=Path.cwd() if target is None else target.resolve().parent, model=model)
    if target is not None:
        write_atomic(target, recipe.encode())
    return recipe


def _asked(task: str | None, named: dict[str, Any]) -> str | None:
    """Return the task that is asked for, by name or by the columns that are given; None where it is to be guessed.

    Raises:
        UsageError: there is no such task, or the columns are not its own.
    """
    given = [option for option, value in named.items() if value]
    if task is not None and task not in TAKES:
        near = suggest(task, list(TAKES)) or f"one of {', '.join(TAKES)}"
        raise UsageError("A recipe can be drafted for three tasks.", where="--task", received=task, hint=near)
    if task is None:
        task = "generate" if {"prompt", "answer"} & {*given} else "classify" if "label" in given else None
    foreign = [option for option in given if task is not None and option not in TAKES[task]]
    if foreign:
        takes = " and ".join(f"--{option} COL" for option in TAKES[str(task)])
        raise UsageError(f"--{foreign[0]} names no column of {task}.", received=named[foreign[0]], hint=takes)
    if ("prompt" in given) != ("answer" in given):
        missing = "answer" if "prompt" in given else "prompt"
        raise UsageError(f"--{missing} is missing beside --{given[0]}.", hint=f"--{missing} COL")
    if task == "pretrain" and len(named["text"]) > 1:
        raise UsageError("pretrain learns one column.", received=named["text"], hint="--text COL, once")
    return task


def _guess(seen: Seen, texts: Sequence[str]) -> Plan:
    """Return what the data are most likely for.

    Raises:
        UsageError: nothing is likely.
    """
    if seen.plain:
        return _pretrain.plan(seen)
    told = ""
    if not texts:
        try:
            plan = _usual(seen)
        except UsageError as error:  # a usual format, of which no row can be read
            plan, told = None, error.what
        if plan is not None:
            return plan
    label = guess_label(seen.columns, len(seen.table), exclude=texts)
    if label is not None:
        other = None if texts else _paired(seen, label=label.name)
        return _classify.plan(seen, texts=texts).rather(other)
    if len(texts) == 1:
        return _pretrain.plan(seen, text=texts[0])
    document = _pretrain.plan(seen) if not texts and _pretrain.is_document(seen) else None
    plan = None if texts else _paired(seen)
    if plan is not None:
        return plan.rather(document)
    if document is not None:
        return document
    shown = "; ".join(f"{column.name}: {column.described}" for column in list(seen.columns.values())[:8])
    what = "No column looks like a label (few different, short values), and none like a text to write or to learn."
    raise UsageError(
        f"{told} {what}".strip(),
        where=f"{seen.table.name}: {len(seen.table):,} rows; {shown}",
        hint="--label COL; or --prompt COL --answer COL, to write the answer; or --task pretrain --text COL, to learn the texts as they are",
    )


def _paired(seen: Seen, *, label: str | None = None) -> Plan | None:
    with contextlib.suppress(UsageError):
        return _generate.paired(seen, label=label)
    return None


def _usual(seen: Seen) -> Plan | None:
    """Return the plan of conversations in a usual format; where a column is clearly a label, that of the labels; None where there are none.

    Raises:
        UsageError: no row can be read.
    """
    columns = _generate.usual(seen)
    if columns is None:
        return None
    if columns.messages is not None:
        return _generate.plan(seen)
    pair = {str(columns.prompt), str(columns.answer), str(columns.input), str(columns.instruction)}
    label = guess_label(seen.columns, len(seen.table), exclude=pair)
    if label is not None and is_named(label):
        return _classify.plan(seen, exclude=pair).rather(_generate.plan(seen))
    if repeats_labels(seen.columns[str(columns.answer)], len(seen.table)):
        told = "found by its name, and the answers are few"
        labels = _classify.plan(seen, texts=[str(columns.prompt)], label=columns.answer, told=told)
        return labels.rather(_generate.plan(seen))
    return _generate.plan(seen).rather(None if label is None else _classify.plan(seen, exclude=pair))
