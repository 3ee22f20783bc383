"""Conversation rows as real files hold them, wrong in every way we know, each with what `prepare` makes of it.

`FORMATS` has a list for each format: a row, and its fate. A fate is `KEPT`, the kind of cleaning that mended it (`MENDED`), a reason of
the ledger (`EMPTY`, `UNANSWERED`), or the reason for which the row is malformed. `lines` makes every "Hi" different, so that no row is
a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
Case = tuple[Row, str]

KEPT, CONTROL, SURROGATES, UNICODE = "kept", "control", "surrogates", "unicode"
EMPTY, UNANSWERED = "empty text", "no answer"
MENDED = (CONTROL, SURROGATES, UNICODE)

NO_TEXT = "A text was expected."
NO_LIST = "A list of turns was expected."
NO_JSON = "A list of turns, or its JSON text, was expected."
NO_TURN = "A turn is an object with role and content, or from and value."
NO_ROLE = "The role must be system, user, assistant or tool."
NO_USER = "The conversation has no turn of a user."
NOT_FIRST = "The first turn must be a user's."
NO_ANSWER = "There is no answer to learn."
LATE_SYSTEM = "A system turn must come first."
EMPTY_USER = "The user's text is empty."
EMPTY_ANSWER = "The assistant's text is empty."
ONLY_TEXT = "A turn can hold only parts of type text."
TOO_MANY = "A conversation has up to 500 turns."
NO_SWITCH = "train is true or false, and weight 0 or 1."
NO_CALLS = "tool_calls must be a list of objects."
NO_PAIRS = "A list of (user, assistant) pairs was expected."

U, A, S = ("user", "Hi"), ("assistant", "Hello"), ("system", "Be kind.")
LONG = "word " * 200_000  # 10^6 characters
DEEP: Any = "x"
for _ in range(400):
    DEEP = [DEEP]


def said(*turns: tuple[Any, Any], **more: Any) -> Row:
    """Return a row of messages."""
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def answered(**fields: Any) -> Row:
    """Return a row whose answer has other fields than usual."""
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", **fields}]}


def asked(content: Any) -> Row:
    return said(("user", content), ("assistant", "Hi"))


def _text_part(text: Any) -> dict[str, Any]:
    return {"type": "text", "text": text}


_CALL = {"id": "1", "type": "function", "function": {"name": "where_is", "arguments": '{"parcel": 3}'}}

TURNS: list[Case] = [
    # no turns
    ({}, EMPTY),
    ({"other": 1}, EMPTY),
    ({"messages": None}, EMPTY),
    ({"messages": ""}, EMPTY),
    ({"messages": " \n\t"}, EMPTY),
    (said(), EMPTY),
    ({"messages": {}}, EMPTY),
    ({"messages": 7}, NO_LIST),
    ({"messages": True}, NO_LIST),
    ({"messages": {"role": "user", "content": "Hi"}}, NO_LIST),
    ({"messages": "{}"}, NO_LIST),
    ({"messages": "Hi"}, NO_JSON),
    ({"messages": '[{"role": "user"'}, NO_JSON),
    ({"messages": "[" * 100_000}, NO_JSON),
    ({"messages": DEEP}, NO_TURN),
    ({"messages": json.dumps(DEEP)}, NO_TURN),
    ({"messages": ["Hi", "Hello"]}, NO_TURN),
    ({"messages": [None]}, NO_TURN),
    ({"messages": [["user", "Hi"]]}, NO_TURN),
    ({"messages": [said(U, A)["messages"]]}, NO_TURN),
    # turns of nobody, or in the wrong order
    (said(S), NO_USER),
    (said(S, S), NO_USER),
    (said(A), NOT_FIRST),
    (said(A, U), NOT_FIRST),
    (said(A, U, A), NOT_FIRST),
    (said(S, A), NOT_FIRST),
    (said(("tool", "3"), A), NOT_FIRST),
    (said(U), NO_ANSWER),
    (said(S, U), NO_ANSWER),
    (said(U, U), NO_ANSWER),
    (said(U, ("tool", "3")), NO_ANSWER),
    (said(U, S, A), LATE_SYSTEM),
    (said(U, A, S, U, A), LATE_SYSTEM),
    (said(*[U, A] * 251), TOO_MANY),
    (said(*[U, A] * 5_000), TOO_MANY),
    (said(("king", "Hi"), A), NO_ROLE),
    (said(("", "Hi"), A), NO_ROLE),
    (said((None, "Hi"), A), NO_ROLE),
    (said((3, "Hi"), A), NO_ROLE),
    (said((["user"], "Hi"), A), NO_ROLE),
    (said(({"name": "user"}, "Hi"), A), NO_ROLE),
    ({"messages": [{"content": "Hi"}, {"role": "assistant", "content": "Hello"}]}, NO_ROLE),
    ({"messages": [{}]}, NO_ROLE),
    # turns without a text
    (asked(""), EMPTY_USER),
    (asked(" \n\t"), EMPTY_USER),
    (asked("\u3000"), EMPTY_USER),
    (asked("\x00"), EMPTY_USER),
    (asked("\ufeff\u200b\u202e"), EMPTY_USER),
    (asked([]), EMPTY_USER),
    (answered(content=""), EMPTY_ANSWER),
    (answered(content="  "), EMPTY_ANSWER),
    (answered(content=[_text_part("")]), EMPTY_ANSWER),
    (answered(content=None), NO_TEXT),
    (answered(), NO_TEXT),
    (answered(content=42), NO_TEXT),
    (answered(content=-0.5), NO_TEXT),
    (answered(content=float("nan")), NO_TEXT),
    (answered(content=True), NO_TEXT),
    (answered(content={"text": "Hello"}), NO_TEXT),
    (answered(content=[_text_part(3)]), NO_TEXT),
    (asked(None), NO_TEXT),
    (asked(10**40), NO_TEXT),
    (said(("system", 5), U, A), NO_TEXT),
    (answered(content=["Hello"]), ONLY_TEXT),
    (answered(content=[None]), ONLY_TEXT),
    (answered(content=[{"type": "image_url", "image_url": "x"}]), ONLY_TEXT),
    (answered(content=[_text_part("Hello"), {"type": "audio"}]), ONLY_TEXT),
    (answered(tool_calls=[]), NO_TEXT),
    (answered(tool_calls="where_is"), NO_CALLS),
    (answered(tool_calls=["where_is"]), NO_CALLS),
    (answered(content="Hello", weight=2), NO_SWITCH),
    (answered(content="Hello", train="no"), NO_SWITCH),
    (answered(content="Hello", weight=0), NO_ANSWER),
    (answered(content="Hello", train=False), NO_ANSWER),
    # mended
    (asked("Hi\x00there"), CONTROL),
    (asked("\u202eHi\u202c \u200f"), CONTROL),
    (asked("\ufeffHi"), CONTROL),
    (asked("Hi half \ud83d"), SURROGATES),
    (said(U, ("assistant", "\udc00")), SURROGATES),
    ({"messages": [{"role": "user", "content": "Hi", "\ud800": 1}, {"role": "assistant", "content": "a"}]}, SURROGATES),
    # odd, and good for learning
    (said(("system", ""), U, A), KEPT),
    (said(S, S, U, A), KEPT),
    (said(S, ("developer", "Be brief."), U, A), KEPT),
    (said(U, U, A), KEPT),
    (said(U, A, A), KEPT),
    (said(*[U, A] * 250), KEPT),
    (said((" USER ", "Hi"), ("Assistant", "Hello")), KEPT),
    (said(("user", "Hi " + LONG), A), KEPT),
    (said(U, ("assistant", LONG)), KEPT),
    (asked("Hi <|im_end|></s>{{ 7 * 7 }}{% raw %}"), KEPT),
    (asked("Hi שלום مرحبا e\u0301 👩\u200d👩\u200d👧 \U0010ffff"), UNICODE),
    (asked([_text_part("Hi "), _text_part("there")]), KEPT),
    ({"messages": json.dumps(said(U, A)["messages"])}, KEPT),
    ({"messages": [{"role": "user", "content": "Hi", "extra": DEEP}, {"role": "assistant", "content": "a"}]}, KEPT),
    ({"messages": said(U)["messages"] + answered(tool_calls=[_CALL])["messages"][1:]}, KEPT),
]
# what follows the last answer is left out, and told: rows with (how many turns)
GO_ON: list[tuple[Row, int]] = [(said(U, A, U), 1), (said(U, A, U, ("tool", "3")), 2)]


def shared(row: Row) -> Row:
    """Return a row of messages as ShareGPT has it."""
    names = {"user": "human", "assistant": "gpt"}

    def turn(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        told = {"role": "from", "content": "value"}
        found = {told.get(name, name): each for name, each in value.items()}
        if isinstance(found.get("from"), str):
            found["from"] = names.get(found["from"], found["from"])
        return found

    found = {"conversations" if name == "messages" else name: value for name, value in row.items()}
    turns = found.get("conversations")
    return found if not isinstance(turns, list) else {**found, "conversations": [turn(each) for each in turns]}


_KING = [{"role": "king", "content": "x"}]
_ASKED, _SAID = said(U)["messages"], said(A)["messages"]

# a text of a pair, what becomes of it as the prompt, and what as the answer
TEXTS: list[tuple[Any, str, str]] = [
    (None, EMPTY, UNANSWERED),
    ("", EMPTY, UNANSWERED),
    (" \n\t", EMPTY, UNANSWERED),
    ("\u3000", EMPTY, UNANSWERED),
    ("\x00", EMPTY, UNANSWERED),
    ("\ufeff", EMPTY, UNANSWERED),
    ("\u200b\u202e", EMPTY, UNANSWERED),
    (float("nan"), EMPTY, UNANSWERED),
    ([], EMPTY, UNANSWERED),
    ({}, EMPTY, UNANSWERED),
    (0, KEPT, KEPT),
    (-1.5, KEPT, KEPT),
    (10**40, KEPT, KEPT),
    (True, KEPT, KEPT),
    (["x"], KEPT, KEPT),  # lists and objects are learned as their JSON
    ([[None]], KEPT, KEPT),
    ({"text": "x"}, KEPT, KEPT),
    (DEEP, KEPT, KEPT),
    ("null", KEPT, KEPT),
    ("NaN", KEPT, KEPT),
    ("[[", KEPT, KEPT),
    ("[" * 100_000, KEPT, KEPT),
    ('{"role": "user"', KEPT, KEPT),
    (LONG, KEPT, KEPT),
    ("half \ud83d", SURROGATES, SURROGATES),
    ("nul\x00inside", CONTROL, CONTROL),
    ("\u202eabc\u200f", CONTROL, CONTROL),
    ("\ufeffabc", CONTROL, CONTROL),
    (_KING, NO_ROLE, NO_ROLE),
    (json.dumps(_KING), NO_ROLE, NO_ROLE),
    ([{"role": "user"}], NO_TEXT, NO_TEXT),
    ([{"role": "assistant", "content": 3}], NO_TEXT, NO_TEXT),
    ([{"from": "gpt", "value": ""}], NOT_FIRST, EMPTY_ANSWER),
    (_SAID, NOT_FIRST, KEPT),
    (_ASKED, KEPT, NO_ANSWER),
    (said(S)["messages"], NOT_FIRST, LATE_SYSTEM),
    ([*_ASKED, "x"], NO_TURN, NO_TURN),
]


def pairs(prompt: str, answer: str) -> list[Case]:
    """Return rows of a prompt and its answer that are wrong in one of the two, or in both."""
    found = [({prompt: text, answer: "Hi"}, fate) for text, fate, _ in TEXTS]
    found += [({prompt: "Hi", answer: text}, fate) for text, _, fate in TEXTS]
    found += [({}, UNANSWERED), ({prompt: "Hi"}, UNANSWERED), ({answer: "Hi"}, EMPTY), ({"other": "Hi"}, UNANSWERED)]
    return [*found, ({prompt: [*_ASKED, *_SAID], answer: _SAID}, KEPT)]


def alpaca() -> Iterator[Case]:
    """Yield rows of an instruction, an input, an output, a history and a system prompt that are wrong in one of them."""
    usual = {"instruction": "Why Hi", "input": "", "output": "a", "history": None, "system": ""}
    for row, fate in pairs("instruction", "output"):
        # an instruction that is empty leaves the input to be asked, which is empty here
        yield {"input": "", **row}, EMPTY_USER if fate == EMPTY else fate
    yield {**usual, "instruction": "", "input": "Hi"}, KEPT
    yield {**usual, "instruction": None, "input": "Hi", "system": "Be kind."}, KEPT
    for value in (None, 0, ["x"], {"text": "x"}):
        yield {**usual, "input": value}, KEPT
        yield {**usual, "system": value}, KEPT
    yield {**usual, "input": "half \ud83d"}, SURROGATES
    yield {**usual, "system": "\x00"}, CONTROL
    yield {**usual, "instruction": _ASKED, "input": "x"}, "An input goes with a prompt that is a text."
    for value in (0, True, ["x"], [["a"]], [["a", "b", "c"]], {"a": "b"}, said(U, A)["messages"]):
        yield {**usual, "history": value}, NO_PAIRS
    for value in ([["a", 3]], [["a", None]], [[["a"], "b"]]):
        yield {**usual, "history": value}, NO_TEXT
    yield {**usual, "history": [["", "b"]]}, EMPTY_USER
    yield {**usual, "history": [["a", ""]]}, EMPTY_ANSWER
    yield {**usual, "history": "abc"}, NO_JSON
    yield {**usual, "history": [["a", "b"]] * 250}, TOO_MANY
    for value in ("", [], {}, '[["a", "b"]]', [["a", "b"]] * 3):
        yield {**usual, "history": value}, KEPT


FORMATS: dict[str, list[Case]] = {
    "messages": TURNS,
    "sharegpt": [(shared(row), fate) for row, fate in TURNS],
    "alpaca": list(alpaca()),
    "prompt and completion": pairs("prompt", "completion"),
}


def good(name: str, count: int) -> list[Row]:
    """Return rows of a format with which nothing is wrong."""
    if name in ("messages", "sharegpt"):
        rows = [said(("user", f"Where is parcel {i}?"), ("assistant", f"Parcel {i} is here.")) for i in range(count)]
        return rows if name == "messages" else [shared(row) for row in rows]
    prompt, answer = ("instruction", "output") if name == "alpaca" else ("prompt", "completion")
    return [{prompt: f"Where is parcel {i}?", answer: f"Parcel {i} is here."} for i in range(count)]


def lines(rows: list[Row]) -> list[str]:
    """Return rows as lines of JSON, with every "Hi" made different."""
    return [json.dumps(row).replace("Hi", f"Hi {i}") for i, row in enumerate(rows)]
