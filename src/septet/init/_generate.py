"""A recipe of `generate`: conversations of a usual format, or a column with what is asked beside one with the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from septet.errors import UsageError
from septet.init._columns import ANSWER_NAMES, guess_pair
from septet.init._plan import Plan, usual_share
from septet.init._seen import Seen, quoted
from septet.inputs.chat import Columns, Turn, detect, is_turns, read_rows
from septet.recipe.write import flow

FIRST_ROWS = 100  # the first ones may be malformed
ABOUT = "9 million parameters, a chat template of its own"
ROLES = ("messages", "prompt", "answer", "input", "history", "system", "instruction")


def usual(seen: Seen) -> Columns | None:
    """Return the columns of a usual format, by their names, or a column of turns of any name; None where there are neither."""
    columns = seen.table.columns
    for place in range(min(FIRST_ROWS, len(seen.table))):
        try:
            found = detect({name: values[place] for name, values in columns.items()})
        except UsageError:
            continue
        if found.text is None:
            return found
    turns = next((name for name, values in columns.items() if any(map(is_turns, values[:FIRST_ROWS]))), None)
    return None if turns is None else Columns(messages=turns, **_beside(seen, turns))


def plan(seen: Seen, *, prompt: str | None = None, answer: str | None = None) -> Plan:
    """Return the recipe's part.

    Args:
        prompt: the column with what is asked; found when None, and then so is the answer.
        answer: the column with the answer.

    Raises:
        UsageError: there are no conversations, and no two texts of which one answers the other.
    """
    if prompt is not None and answer is not None:
        return of(seen, Columns(prompt=prompt, answer=answer, **_beside(seen, prompt, answer)), "given with --{}")
    found = usual(seen)
    if found is not None:
        return of(seen, found, "found by its name" if found.prompt else "found: it holds lists of turns")
    return paired(seen)


def paired(seen: Seen, *, label: str | None = None) -> Plan:
    """Return the recipe's part of two columns of text, of which one answers the other.

    Args:
        label: a column of labels; beside one, only its name tells an answer.

    Raises:
        UsageError: there are no such columns.
    """
    pair = guess_pair({name: column for name, column in seen.columns.items() if name != label})
    if pair is None or (label is not None and pair[1].lower() not in ANSWER_NAMES):
        raise UsageError(
            "No conversations are found, and no two columns of text of which one answers the other.",
            where=seen.table.name,
            hint=f"--prompt COL --answer COL, two of {', '.join(seen.columns)}",
        )
    prompt, answer, why = pair
    return of(seen, Columns(prompt=prompt, answer=answer, **_beside(seen, prompt, answer)), why)


def of(seen: Seen, columns: Columns, why: str) -> Plan:
    """Return the recipe's part of known columns.

    Args:
        why: why these, with `{}` for the key.

    Raises:
        UsageError: no row can be read.
    """
    conversations, unread = _read(seen, columns)
    rows, answers = len(seen.table), sum(_answers(turns) for turns in conversations)
    kind, named = _format(columns, seen)
    used = {name: getattr(columns, name) for name in ROLES if getattr(columns, name) is not None}
    keys = [f"  {key}: {flow(column)}  # why: {_why(seen, key, column, why)}" for key, column in used.items()]
    keys += _limits(seen) + _system_prompt(conversations, columns)
    keys.append(f"  train_on: all  # why: {_train_on(answers, len(conversations))}")
    pair = [] if columns.messages else ["--prompt", str(columns.prompt), "--answer", str(columns.answer)]
    return Plan(
        task="generate",
        why=named,
        counted=f"{rows:,} rows, {len(conversations):,} {kind}, {_number(answers, 'answer')} to learn",
        keys=keys,
        asked=" ".join(["--task generate", quoted(pair)]).strip(),
        model="starter-lm",
        about=ABOUT,
        rows=rows,
        held=usual_share(rows),
        used={*used.values()},
        notes=_notes(seen, {*used.values()}, rows - len(conversations), unread),
    )


def _beside(seen: Seen, *taken: str) -> dict[str, Any]:
    """Return what goes with a conversation by its name: a system prompt, an instruction."""
    names = {name.lower(): name for name in reversed(seen.table.columns) if name not in taken}
    system = names.get("system", names.get("system_prompt"))
    return {"system": system, "instruction": names.get("instruction")}


def _read(seen: Seen, columns: Columns) -> tuple[list[list[Turn]], Counter[str]]:
    """Return the conversations as `prepare` will read them, and why the other rows cannot be read."""
    from septet.tasks.generate import Generate, Options

    task = Generate(Options(**{name: getattr(columns, name) for name in ROLES}))
    reading = read_rows(task.schema.records(task.schema.extract(seen.table)), task.columns)
    found = [turns for turns in reading.conversations if turns is not None]
    unread = Counter(reading.reasons)
    if not found:
        reason, count = unread.most_common(1)[0]
        column = columns.messages or columns.prompt
        raise UsageError(
            f"No row can be read as a conversation: {reason.rstrip('.')} ({count:,} of {len(seen.table):,} rows).",
            where=f"{seen.table.name}, column {column}",
            hint="--prompt COL --answer COL, for other columns; or --task classify, or --task pretrain",
        )
    return found, unread


def _answers(turns: list[Turn]) -> int:
    return sum(turn.role == "assistant" and turn.train for turn in turns)


def _format(columns: Columns, seen: Seen) -> tuple[str, str]:
    """Return what the conversations are called, and what of the data says that they are some."""
    if columns.messages is None:
        alpaca = (str(columns.prompt).lower(), str(columns.answer).lower()) == ("instruction", "output")
        kind = f"pairs of a prompt and its answer{' (Alpaca)' if alpaca else ''}"
        return kind, f"{columns.answer} answers {columns.prompt}"
    values = (value for value in seen.table.columns[columns.messages][:FIRST_ROWS] if is_turns(value))
    shared = '"from"' in str(next(values, "")).replace("'", '"')
    name = "ShareGPT: from, value" if shared else "messages: role, content"
    return f"conversations ({name})", f"{columns.messages} holds conversations"


def _why(seen: Seen, key: str, column: str, why: str) -> str:
    if key in ("messages", "prompt", "answer"):
        return why.replace("{}", key)
    filled = len(seen.table) - seen.columns[column].missing
    told = {
        "input": "the text that the prompt is about",
        "history": "earlier turns",
        "system": "a system prompt of the row's own",
        "instruction": "an instruction of the row's own, which is its system prompt",
    }
    return f"found by its name: {told[key]}, in {filled:,} of {len(seen.table):,} rows"


def _limits(seen: Seen) -> list[str]:
    """Return the line of a column with limits that answers are held to, where there is one that can be read."""
    from septet.metrics.adhere import malformed

    values = seen.table.columns.get("limits")
    if values is None or not all(isinstance(value, dict) or value is None for value in values):
        return []
    stated = sum(bool(value) for value in values)
    broken = malformed([{"limits": value} for value in values], "limits")
    if not stated or len(broken) == stated:
        return []
    return [
        f"  limits: limits  # why: {stated:,} rows state limits of their answer; adherence says how well they are kept"
    ]


def _system_prompt(conversations: list[list[Turn]], columns: Columns) -> list[str]:
    systems = [turns[0].content for turns in conversations if turns[0].role == "system"]
    if not systems:
        why = "no row has a system prompt; a text here stands before every conversation, in training and in use"
    elif len(systems) < len(conversations):
        why = f"{len(systems):,} of {len(conversations):,} conversations have one of their own; a text here stands before the others"
    elif len(set(systems)) == 1:
        why = "every conversation begins with the same one of its own"
    else:
        why = f"every conversation has one of its own, {len(set(systems)):,} different ones"
    return [f"  system_prompt: null  # why: {why}"]


def _train_on(answers: int, conversations: int) -> str:
    if answers == conversations:
        return "every conversation has one answer"
    return f"{answers:,} answers in {conversations:,} conversations; last would learn {conversations:,}"


def _notes(seen: Seen, used: Collection[str], count: int, reasons: Counter[str]) -> list[str]:
    """Return what is not learned: rows that cannot be read, and columns."""
    notes = []
    if count:
        shown = ", ".join(f'{n:,} "{reason.rstrip(".")}"' for reason, n in reasons.most_common(3))
        more = ", …" if len(reasons) > 3 else ""
        notes.append(f"{_number(count, 'row')} cannot be read as a conversation and will be dropped: {shown}{more}")
    others = [name for name in seen.columns if name not in {*used, "limits"}]
    if others:
        notes.append(f"Not read: {', '.join(others)}")
    return notes


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
