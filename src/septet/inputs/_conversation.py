"""Rows of any usual format as turns: messages, ShareGPT, Alpaca, prompt and completion, question and answer, plain text.

`detect` says which columns of a table hold the conversation, `conversation` reads a row, `read_rows` a table. What is malformed is
a `DataError` that says what and where; `read_rows` counts them by their reason. Nothing is repaired in silence.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from septet.errors import DataError, UsageError

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "ipython"), "tool"),
}

# a template without blocks is rendered for each answer anew: the time grows with the square of the turns
MAX_TURNS = 500

_LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
_PAIRS = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("instruction", "response"),
    ("instruction", "answer"),
    ("input", "output"),
)
_INPUTS = ("input", "context")
_SYSTEMS = ("system", "system_prompt")
_SPEAKERS = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says.

    Args:
        role: system, user, assistant or tool; text for a row that is no conversation.
        content: the text, unchanged.
        train: whether an assistant's text is learned.
        input: the end of a user's `content` that the instruction before it is about; only templates with an input part (`alpaca`) look at it.
    """

    role: str
    content: str
    train: bool = True
    input: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold a conversation: `messages`, or `prompt` and `answer`, or `text`.

    Args:
        messages: a list of turns (role and content, or from and value), or its JSON text.
        text: a text that is learned as a whole; it has no speakers, and nothing goes with it.
        prompt: text, or a list of turns.
        answer: text, or a list of turns.
        input: text that the prompt is about (Alpaca's `input`).
        history: earlier (user, assistant) pairs.
        system: the row's own system prompt.
        instruction: the row's own instruction. It is the system turn, or stands before the user's first text where there is a system turn already.
        system_prompt: a fixed text for rows without a system prompt of their own.
    """

    messages: str | None = None
    text: str | None = None
    prompt: str | None = None
    answer: str | None = None
    input: str | None = None
    history: str | None = None
    system: str | None = None
    instruction: str | None = None
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        if sum(name is not None for name in (self.messages, self.text, self.prompt)) != 1:
            raise UsageError(
                "A conversation is in messages, or in prompt and answer, or in text.", hint="prompt: COLUMN"
            )
        paired = {name: getattr(self, name) for name in ("answer", "input", "history")}
        led = {name: getattr(self, name) for name in ("system", "instruction", "system_prompt")}
        others = {} if self.prompt else paired if self.messages else paired | led
        unread = [name for name, column in others.items() if column is not None]
        if unread:
            owner = "messages" if self.messages else "text"
            raise UsageError(f"{unread[0]} does not go with {owner}.", received=others[unread[0]])


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of the rows of a table.

    Args:
        conversations: the turns of each row; None for a row that is refused.
        problems: why a row is refused, by its place in the table.
        left_out: how many turns after its last answer a row has, of which nothing can be learned, by its place.
    """

    conversations: list[list[Turn] | None]
    problems: dict[int, DataError] = field(default_factory=dict)
    left_out: dict[int, int] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """The refused rows by their reason, the most frequent first."""
        return dict(Counter(problem.reason for problem in self.problems.values()).most_common())


def detect(row: Mapping[str, Any]) -> Columns:
    """Return which columns of a table's first row hold the conversation.

    `messages` and `conversations` are taken by their name; the other names of lists only where the row holds turns.

    Raises:
        UsageError: no usual names are there.
    """
    names = {str(name).lower(): str(name) for name in row}
    system = next((names[name] for name in _SYSTEMS if name in names), None)
    for name in _LISTS:
        if name in names and (name in _LISTS[:2] or is_turns(row[names[name]])):
            return Columns(messages=names[name], system=system, instruction=names.get("instruction"))
    for prompt, answer in _PAIRS:
        if prompt in names and answer in names:
            about = next((n for n in _INPUTS if n in names), None) if prompt == "instruction" else None
            return Columns(
                prompt=names[prompt],
                answer=names[answer],
                input=names[about] if about else None,
                history=names.get("history") if prompt == "instruction" else None,
                system=system,
                instruction=names.get("instruction") if prompt != "instruction" else None,
            )
    if "text" in names:
        return Columns(text=names["text"])
    raise UsageError(
        "No conversation is found in the columns.",
        received=", ".join(map(str, row)),
        hint="name them: messages: COLUMN for lists of turns, prompt: COLUMN and answer: COLUMN, or text: COLUMN",
    )


def is_turns(value: Any) -> bool:
    """Whether a value is a list of turns, or its JSON text, by its first one."""
    try:
        value = _parsed(value, "")
    except DataError:
        return False
    first = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(first, Mapping) and bool({"role", "from"} & first.keys())


def conversation(row: Mapping[str, Any], columns: Columns, *, answered: bool = True) -> list[Turn]:
    """Return a row's turns: at most one system turn, then a user's, and so on. A plain text is one turn of the role `text`.

    Empty system turns are left out, and so is what follows the last answer (`read_rows` counts it). The answers in a prompt that
    is a list of turns are not learned.

    Args:
        row: the table's row.
        columns: where the conversation is.
        answered: the row must end in an answer to learn; False for rows that wait for theirs.

    Raises:
        DataError: the row is malformed.
    """
    turns, _ = _read(row, columns, answered)
    return turns


def read_rows(rows: Iterable[Mapping[str, Any]], columns: Columns, *, answered: bool = True) -> Reading:
    """Return the turns of every row that can be read, and why the others cannot."""
    conversations: list[list[Turn] | None] = []
    problems: dict[int, DataError] = {}
    left_out: dict[int, int] = {}
    for i, row in enumerate(rows):
        try:
            turns, left_out[i] = _read(row, columns, answered)
        except DataError as error:
            turns, problems[i] = None, error
        conversations.append(turns)
    return Reading(conversations, problems, {i: after for i, after in left_out.items() if after})


def served(value: Any, where: str) -> list[Turn]:
    """Return a served value as turns that wait for an answer: a text, a list of turns, or an object with `messages`.

    Raises:
        DataError: it is none of them, or malformed.
    """
    value = value.get("messages") if isinstance(value, Mapping) else value
    turns = [Turn("user", _text(value, where))] if isinstance(value, str) else _turns(value, where)
    return _checked(_joined(turns, []), answered=False)


def _read(row: Mapping[str, Any], columns: Columns, answered: bool) -> tuple[list[Turn], int]:
    """Return a row's turns, and how many turns after its last answer are left out."""
    if not isinstance(row, Mapping):
        raise DataError("A row is an object with columns.", received=row)
    if columns.text is not None:
        text = _text(_cell(row, columns.text), f"column {columns.text!r}")
        if not text.strip():
            raise DataError("The text is empty.", where=f"column {columns.text!r}")
        return [Turn("text", text)], 0
    listed = columns.messages
    turns = _turns(_cell(row, listed), f"column {listed!r}") if listed else _paired(row, columns, answered)
    led = _led(turns, row, columns)
    kept = _checked(led, answered)
    return kept, len(led) - len(kept)


def _cell(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise DataError(f"The column {column!r} is missing.", received=", ".join(map(str, row)))
    return row[column]


def _text(value: Any, where: str) -> str:
    """Return a text that a tokenizer can read."""
    if not isinstance(value, str):
        raise DataError("A text was expected.", where=where, received=value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "The text is no valid Unicode: it holds half a character.", where=f"{where}, character {error.start + 1}"
        ) from error
    return value


def _optional(row: Mapping[str, Any], column: str | None) -> str:
    """Return a column's text; empty where there is no column, or nothing in it."""
    value = None if column is None else _cell(row, column)
    return "" if value is None else _text(value, f"column {column!r}")


def _paired(row: Mapping[str, Any], columns: Columns, answered: bool) -> list[Turn]:
    turns = [*_history(row, columns.history), *_prompt(row, str(columns.prompt), columns.input)]
    if columns.answer is not None and (answered or row.get(columns.answer) is not None):
        value, where = _unfolded(_cell(row, columns.answer)), f"column {columns.answer!r}"
        turns += _turns(value, where) if isinstance(value, list | tuple) else [Turn("assistant", _text(value, where))]
    return turns


def _prompt(row: Mapping[str, Any], column: str, about: str | None) -> list[Turn]:
    value, where = _unfolded(_cell(row, column)), f"column {column!r}"
    extra = _optional(row, about)
    if isinstance(value, list | tuple):
        if extra.strip():
            raise DataError("An input goes with a prompt that is a text.", where=where, received=value)
        return [replace(turn, train=False) for turn in _turns(value, where)]
    text = _text(value, where)
    if text.strip() and extra.strip():
        return [Turn("user", f"{text}\n\n{extra}", input=extra)]
    return [Turn("user", text if text.strip() else extra)]


def _history(row: Mapping[str, Any], column: str | None) -> list[Turn]:
    value = _parsed(_cell(row, column), f"column {column!r}") if column else None
    if value is None:
        return []
    where = f"column {column!r}"
    if not isinstance(value, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in value):
        raise DataError("A list of (user, assistant) pairs was expected.", where=where, received=value)
    return [Turn(role, _text(said, where)) for pair in value for role, said in zip(_SPEAKERS, pair, strict=True)]


def _unfolded(value: Any) -> Any:
    """Return a list of turns that was kept as its JSON text; everything else stays."""
    return json.loads(value) if isinstance(value, str) and value.lstrip()[:1] == "[" and is_turns(value) else value


def _parsed(value: Any, where: str) -> Any:
    """Return the value, read as JSON where it is text; None for an empty text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError) as error:
        raise DataError("A list of turns, or its JSON text, was expected.", where=where, received=value) from error


def _turns(value: Any, where: str) -> list[Turn]:
    """Return the turns of a list of messages."""
    found = _parsed(value, where)
    if not isinstance(found, list | tuple):
        raise DataError("A list of turns was expected.", where=where, received=value)
    return [_turn(message, f"{where}, turn {i + 1}") for i, message in enumerate(found)]


def _turn(message: Any, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError("A turn is an object with role and content, or from and value.", where=where, received=message)
    name = _either(message, "role", "from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise DataError("The role must be system, user, assistant or tool.", where=where, received=name)
    said = _either(message, "content", "value")
    calls = _calls(message, where) if role == "assistant" else ""
    text = "" if said is None and calls else _content(said, where)
    return Turn(role, "\n".join(part for part in (text, calls) if part), _train(message, where))


def _either(message: Mapping[str, Any], key: str, other: str) -> Any:
    """Return a field under either name; a table of both formats has both, one of them empty."""
    found = message.get(key)
    return message.get(other) if found is None else found


def _content(value: Any, where: str) -> str:
    """Return a turn's text; OpenAI's list of text parts is joined."""
    if not isinstance(value, list | tuple):
        return _text(value, where)
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in value]
    if any(text is None for text in texts):
        raise DataError("A turn can hold only parts of type text.", where=where, received=value)
    return "".join(_text(text, where) for text in texts)


def _calls(message: Mapping[str, Any], where: str) -> str:
    """Return an assistant's calls of tools as JSON, a call a line."""
    calls = message.get("tool_calls") or message.get("function_call") or []
    calls = [calls] if isinstance(calls, Mapping) else calls
    if not isinstance(calls, list | tuple) or not all(isinstance(call, Mapping) for call in calls):
        raise DataError("tool_calls must be a list of objects.", where=where, received=calls)
    lines = (json.dumps(call.get("function", call), ensure_ascii=False, default=str) for call in calls)
    return _text("\n".join(lines), where)


def _train(message: Mapping[str, Any], where: str) -> bool:
    """Return whether a message is learned: its `train`, or OpenAI's `weight`."""
    value = _either(message, "train", "weight")
    if value is None:
        return True
    if value not in (0, 1):
        raise DataError("train is true or false, and weight 0 or 1.", where=where, received=value)
    return bool(value)


def _led(turns: list[Turn], row: Mapping[str, Any], columns: Columns) -> list[Turn]:
    """Return the turns with one system turn in front, where there is anything to put into it, and with the row's instruction."""
    system, *rest = _joined(turns, [_optional(row, columns.system)], always=True)
    if not system.content:
        system = replace(system, content=columns.system_prompt or "")
    instruction = _optional(row, columns.instruction)
    if not system.content.strip():
        system = replace(system, content=instruction)
    elif instruction.strip() and rest and rest[0].role == "user":
        rest = [replace(rest[0], content=f"{instruction}\n\n{rest[0].content}"), *rest[1:]]
    return [system, *rest] if system.content.strip() else rest


def _joined(turns: list[Turn], before: list[str], *, always: bool = False) -> list[Turn]:
    """Return the turns with the system turns in front, and the texts before them, as one; empty ones are left out."""
    place = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    texts = [text for text in (*before, *(turn.content for turn in turns[:place])) if text.strip()]
    system = [Turn("system", "\n\n".join(texts))] if texts or always else []
    return [*system, *turns[place:]]


def _checked(turns: list[Turn], answered: bool) -> list[Turn]:
    """Return the turns up to the last answer.

    Raises:
        DataError: a turn is empty or out of place, or there is nothing to learn.
    """
    if len(turns) > MAX_TURNS:
        raise DataError(f"A conversation has up to {MAX_TURNS} turns.", received=len(turns))
    said = [turn for turn in turns if turn.role != "system"]
    if not said:
        raise DataError("The conversation has no turn of a user.", received=_order(turns) or "no turns")
    if any(turn.role == "system" for turn in turns[1:]):
        raise DataError("A system turn must come first.", received=_order(turns))
    if said[0].role != "user":
        raise DataError("The first turn must be a user's.", received=_order(turns))
    for i, turn in enumerate(turns):
        if turn.role != "tool" and not turn.content.strip():
            raise DataError(f"The {turn.role}'s text is empty.", where=f"turn {i + 1} of {len(turns)}")
    if not answered:
        return turns
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    if not any(turn.train and turn.role == "assistant" for turn in turns):
        raise DataError("There is no answer to learn.", received=_order(turns))
    return turns[: last + 1]


def _order(turns: Sequence[Turn]) -> str:
    return ", ".join([turn.role for turn in turns[:12]] + ["…"] * (len(turns) > 12))
