"""Rendered text to token ids, cut where an answer begins and where a row spells a special token.

A text is tokenized in pieces. One begins wherever an answer begins: the tokens of a served prompt are then those it was trained with, and
no token holds the end of a prompt and the beginning of its answer. Another begins after the first letter of a special token that
a turn spells: it stays text, so that a row cannot end a turn or speak for another. Only special tokens are guarded; other
added tokens are read as everywhere.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from septet.errors import DataError
from septet.inputs._templates import Message, Span

# noncharacters: Unicode keeps them for such use within a program
_CUTS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
_GUARDED = ("content", "instruction", "input")


@dataclass(frozen=True, slots=True)
class Piece:
    """A text to tokenize on its own, of which the first `learned` characters are learned."""

    text: str
    learned: int = 0


def guarded(messages: Sequence[Message], marks: Sequence[str]) -> tuple[list[Message], str]:
    """Return the messages with a sign after the first letter of each special token that they spell, and the sign; empty where none does.

    Raises:
        DataError: a message spells a special token and holds every sign there is.
    """
    long = sorted((mark for mark in marks if len(mark) > 1), key=len, reverse=True)
    if not long:
        return list(messages), ""
    spelled = re.compile("|".join(map(re.escape, long)))
    said = [message[key] for message in messages for key in _GUARDED if key in message]
    if not any(spelled.search(text) for text in said):
        return list(messages), ""
    cut = next((sign for sign in _CUTS if not any(sign in text for text in said)), None)
    if cut is None:
        raise DataError("The text spells a special token among too many noncharacters.")
    starts = re.compile(f"(?=(?:{spelled.pattern}))(.)", re.DOTALL)
    return [_signed(message, starts, cut) for message in messages], cut


def pieces_of(text: str, answers: Sequence[Span | None], wanted: Sequence[Span], cut: str) -> list[Piece]:
    """Return a rendered text in pieces.

    Args:
        text: the text, with its signs.
        answers: (start, end) of every answer, in order.
        wanted: those to be learned.
        cut: the sign of `guarded`.
    """
    places = {0, len(text), *(span[0] for span in answers if span)}
    if cut:
        places |= {match.start() for match in re.finditer(cut, text)}
    found, following = [], list(wanted)
    for start, end in pairwise(sorted(places)):
        while following and following[0][1] <= start:
            following.pop(0)
        inside = bool(following) and following[0][0] <= start
        learned = text[start : min(end, following[0][1])] if inside else ""
        signs = (lambda part: part.replace(cut, "")) if cut else str
        found.append(Piece(signs(text[start:end]), len(signs(learned))))
    return [piece for piece in found if piece.text]


def tokenize(texts: Sequence[Sequence[Piece]], processor: Any) -> list[tuple[list[int], list[int]]]:
    """Return the token ids of each text, and 1 for each token that is learned and 0 for the others.

    No special tokens are added: a template writes them itself, and a second BOS would be no beginning that the model knows.
    """
    tokenizer = processor.backend_tokenizer
    glue = _glue(tokenizer)
    head = _encode([glue], tokenizer)[0].ids if glue else []
    flat = [(piece, glue if i else "") for pieces in texts for i, piece in enumerate(pieces)]
    encoded = zip(flat, _encode([before + piece.text for piece, before in flat], tokenizer), strict=True)
    found = []
    for pieces in texts:
        ids: list[int] = []
        learned: list[int] = []
        for _ in pieces:
            (piece, before), encoding = next(encoded)
            more, said = _tokens(piece, encoding, len(head) if before else 0)
            if before and encoding.ids[: len(head)] != head:
                more, said = _tokens(piece, _encode([piece.text], tokenizer)[0], 0)
            ids += more
            learned += [1] * said + [0] * (len(more) - said)
        found.append((ids, learned))
    return found


def _signed(message: Message, starts: re.Pattern[str], cut: str) -> Mapping[str, Any]:
    return {key: starts.sub(rf"\1{cut}", text) if key in _GUARDED else text for key, text in message.items()}


def _encode(texts: Sequence[str], tokenizer: Any) -> list[Any]:
    # transformers' own call makes lists of everything, which takes twice as long for many pieces
    return tokenizer.encode_batch(list(texts), add_special_tokens=False)


def _glue(tokenizer: Any) -> str:
    """Return what to put before a piece from the middle of a text: a line break where the tokenizer begins every text with a space."""
    line, letter, both = (found.ids for found in _encode(["\n", "a", "\na"], tokenizer))
    return "" if both == line + letter else "\n"


def _tokens(piece: Piece, encoding: Any, head: int) -> tuple[list[int], int]:
    """Return a piece's ids without the first `head`, which are its glue's, and how many of them are learned."""
    ids = encoding.ids[head:]
    if not piece.learned or piece.learned == len(piece.text):
        return ids, len(ids) if piece.learned else 0
    return ids, bisect_left(encoding.offsets[head:], (piece.learned + (1 if head else 0),))
