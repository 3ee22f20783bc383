"""Conversations to token ids, with the tokens an assistant says marked.

`read_rows` reads rows of any usual format as turns (`_conversation.py`), `Chat` renders turns with the tokenizer's template
(`_templates.py`) and encodes them (`_pieces.py`). Training, evaluation and serving share `Chat`: the prompt of a served answer is, in
bytes and in tokens, the beginning of what was trained. A row that is too long keeps its beginning; the tokens cut are counted, and so
are the supervised ones among them. `encode_sides` is for models with an encoder. Tools, documents and images are not for this input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from septet.errors import DataError
from septet.inputs._conversation import (
    Columns,
    Reading,
    Turn,
    conversation,
    detect,
    is_turns,
    read_rows,
    served,
)
from septet.inputs._named import fitted
from septet.inputs._pieces import Piece, guarded, pieces_of, tokenize
from septet.inputs._templates import Message, Template, template_of
from septet.inputs.text import CHUNK, Text, framing, save
from septet.model.sizes import width

if TYPE_CHECKING:
    import torch

__all__ = [
    "UNSUPERVISED",
    "Chat",
    "Columns",
    "Reading",
    "Turn",
    "asked",
    "conversation",
    "detect",
    "is_turns",
    "read_rows",
    "with_system",
]

UNSUPERVISED = -100


class Chat:
    """Conversations as one text each, or as the two sides that a model with an encoder takes.

    Args:
        template: a named template, a `*.jinja` file, a template's source, or None for the tokenizer's own (`plain` where it has none).
        max_length: tokens kept of a conversation, or of each side; None keeps all.
        train_on: learn all answers of a conversation, or only its last. A plain text is learned as a whole.
        base: the folder that a template file is relative to.
    """

    varies = True

    def __init__(
        self,
        template: str | None = None,
        max_length: int | None = None,
        train_on: Literal["all", "last"] = "all",
        *,
        base: Path | None = None,
    ):
        self.template = template
        self.max_length = max_length
        self.train_on = train_on
        self.base = base

    def processor(self, folder: str) -> Any:
        """Return the tokenizer of a model folder, carrying the template: saving the one saves the other.

        Raises:
            ModelError: the tokenizer or the template cannot be read, or the template does not tell answers from prompts.
            UsageError: there is no such template.
        """
        tokenizer = Text().processor(folder)
        tokenizer.chat_template, _ = template_of(self.template, tokenizer, self.base)
        Template.of(tokenizer).check()
        return tokenizer

    def save(self, processor: Any, folder: Path, reads: int | None) -> None:
        """Write the tokenizer with the template; see `text.save`."""
        save(processor, folder, reads)

    def render(self, turns: Sequence[Turn], processor: Any, *, answer: bool) -> str:
        """Return the text of a conversation; with `answer`, up to where the assistant is to speak.

        Raises:
            DataError: the template refuses the conversation.
        """
        template = _Templates(processor).of(turns)
        return template.render(_messages(turns, answer), answer=answer)

    def encode(self, conversations: Sequence[Sequence[Turn]], processor: Any) -> list[dict[str, Any]]:
        """Return `input_ids`, `supervised` (0 or 1 a token), `truncated` and `lost` (tokens and supervised tokens cut) of each.

        A conversation of which nothing can be learned has the reason in `refused`, and no tokens where it is the template that
        refuses it.

        Raises:
            ModelError: the template fails, or does not tell answers from prompts.
        """
        templates = _Templates(processor)
        templates.chat.check()
        found: list[dict[str, Any]] = []
        for start in range(0, len(conversations), CHUNK):
            marked = [self._marked(turns, templates) for turns in conversations[start : start + CHUNK]]
            tokens = tokenize([pieces for pieces, _ in marked], processor)
            found += [self._row(*both, refused) for (_, refused), both in zip(marked, tokens, strict=True)]
        return found

    def prompts(self, conversations: Sequence[Sequence[Turn]], processor: Any) -> list[dict[str, Any]]:
        """Return `input_ids` of each conversation up to where the assistant is to speak, and `truncated`.

        A prompt that is too long keeps its end, where the question is, and its BOS.

        Raises:
            DataError: the template refuses a conversation.
        """
        templates = _Templates(processor)
        pieces = [_pieces(turns, templates.of(turns), None) for turns in conversations]
        found = []
        for ids, _ in tokenize(pieces, processor):
            cut = max(0, len(ids) - self.max_length) if self.max_length is not None else 0
            first = ids[:1] if cut and self.max_length and ids[0] == processor.bos_token_id else []
            found.append({"input_ids": first + ids[cut + len(first) :], "truncated": cut})
        return found

    def sides(self, turns: Sequence[Turn], processor: Any) -> list[tuple[str, str]]:
        """Return (source, target) for each answer to learn: what came before it, and the answer with EOS.

        The source is the rendered turns, without the mark that asks the assistant to speak and without BOS and EOS, which are
        the tokenizer's to write. Where the tokenizer has no template of its own and none is named, it is the bare texts, a line each.

        Raises:
            DataError: the template refuses the conversation.
        """
        template = _Templates(processor).side(turns)
        end = processor.eos_token or ""
        return [
            (_source(_messages(turns[:place]), template), turns[place].content + end) for place in self._wanted(turns)
        ]

    def encode_sides(self, conversations: Sequence[Sequence[Turn]], processor: Any) -> list[list[dict[str, Any]]]:
        """Return, for each conversation, the `input_ids` and `labels` of each answer to learn, with `truncated` and `lost` tokens.

        Both have the special tokens that the tokenizer itself puts around a text, and labels end with one EOS. What is too long keeps its beginning.
        A conversation of which nothing can be learned is one dict without tokens, with the reason in `refused`; so is an answer of which nothing is left.
        """
        templates, frame = _Templates(processor), framing(processor)
        return [self._encoded_sides(turns, templates, processor, frame) for turns in conversations]

    def sources(self, conversations: Sequence[Sequence[Turn]], processor: Any) -> list[dict[str, Any]]:
        """Return `input_ids` of the encoder's side of conversations that wait for their answer, and `truncated`.

        Raises:
            DataError: the template refuses a conversation.
        """
        encoded = self.encode_sides([[*turns, Turn("assistant", "")] for turns in conversations], processor)
        for (found,) in encoded:
            if not found["input_ids"]:
                raise DataError(found["refused"])
        return [{"input_ids": f["input_ids"], "truncated": f["truncated"] - f["lost"]} for (f,) in encoded]

    def stops(self, processor: Any) -> list[int]:
        """Return the token ids that end an answer: EOS, and the token that the template ends it with."""
        ends = set() if processor.eos_token_id is None else {processor.eos_token_id}
        return sorted(ends | self._learned_ends(processor))

    def learns_to_stop(self, processor: Any) -> bool:
        """Return whether answers end with a token of `stops`; where they do not, a trained model speaks on to its limit."""
        return bool(self._learned_ends(processor))

    def pad(
        self, inputs: Sequence[dict[str, Any]], processor: Any, length: int | None = None, left: bool = False
    ) -> dict[str, torch.Tensor]:
        """Return (B, T) int64 `input_ids`, `attention_mask` where a row is padded, and `labels` where all rows have an answer.

        Labels are -100 where nothing is learned, and are not shifted. Those of sides have a width of their own.

        Args:
            inputs: encoded conversations, prompts or sides.
            processor: the tokenizer.
            length: pad to this many tokens; None pads to the longest row.
            left: pad before the text, as generation needs.
        """
        import numpy as np
        import torch

        pad = processor.pad_token_id
        real = _places([len(item["input_ids"]) for item in inputs], length, left)
        padded = {"input_ids": _table(inputs, "input_ids", real, 0 if pad is None else pad)}
        if not real.all():
            padded["attention_mask"] = real.astype(np.int64)
        if all("supervised" in item for item in inputs):
            learned = _table(inputs, "supervised", real, 0) == 1
            padded["labels"] = np.where(learned, padded["input_ids"], UNSUPERVISED)
        elif all("labels" in item for item in inputs):
            sizes = [len(item["labels"]) for item in inputs]
            places = _places(sizes, width(max(sizes), self.max_length), False)
            padded["labels"] = _table(inputs, "labels", places, UNSUPERVISED)
        return {key: torch.from_numpy(value) for key, value in padded.items()}

    def parse(self, value: Any, where: str) -> list[Turn]:
        """Return a served value as turns: a text, a list of turns, or an object with `messages`.

        Raises:
            DataError: it is none of them, or malformed.
        """
        return served(value, where)

    def _wanted(self, turns: Sequence[Turn]) -> list[int]:
        """Return the places of the answers to learn."""
        answers = [i for i, turn in enumerate(turns) if turn.role in ("assistant", "text")]
        return [i for i in (answers if self.train_on == "all" else answers[-1:]) if turns[i].train]

    def _marked(self, turns: Sequence[Turn], templates: _Templates) -> tuple[list[Piece], str]:
        """Return a conversation's pieces, and why nothing can be learned of it, if so."""
        try:
            return _pieces(turns, templates.of(turns), self._wanted(turns)), ""
        except DataError as error:
            return [], error.reason

    def _row(self, ids: list[int], learned: list[int], refused: str) -> dict[str, Any]:
        kept = len(ids) if self.max_length is None else self.max_length
        row = {
            "input_ids": ids[:kept],
            "supervised": learned[:kept],
            "truncated": len(ids[kept:]),
            "lost": sum(learned[kept:]),
        }
        if not refused and not any(row["supervised"]):
            refused = (
                f"No token of an answer is within the first {kept} tokens."
                if row["lost"]
                else "There is no answer to learn."
            )
        return {**row, "refused": refused} if refused else row

    def _encoded_sides(
        self, turns: Sequence[Turn], templates: _Templates, processor: Any, frame: tuple[list[int], list[int]]
    ) -> list[dict[str, Any]]:
        pieces, (before, after) = [], frame
        try:
            template = templates.side(turns)
            for place in self._wanted(turns):
                messages, cut = guarded(_messages(turns[: place + 1]), templates.chat.marks)
                pieces.append(pieces_of(_source(messages[:-1], template), [], [], cut))
                pieces.append(pieces_of(messages[-1]["content"], [], [], cut))
            if not pieces:
                raise DataError("There is no answer to learn.")
        except DataError as error:
            return [{"input_ids": [], "labels": [], "truncated": 0, "lost": 0, "refused": error.reason}]
        tokens = [ids for ids, _ in tokenize(pieces, processor)]
        eos = [processor.eos_token_id]
        end = after if after[-1:] == eos or eos == [None] else [*after, *eos]
        found = []
        for source, answer in zip(tokens[::2], tokens[1::2], strict=True):
            ids, cut = self._framed(source, before, after)
            labels, lost = self._framed(answer, before, end)
            found.append({"input_ids": ids, "labels": labels, "truncated": cut + lost, "lost": lost})
            if lost == len(answer):
                found[-1]["refused"] = f"No token of an answer is within the first {self.max_length} tokens."
        return found

    def _framed(self, ids: list[int], before: list[int], after: list[int]) -> tuple[list[int], int]:
        """Return a side with its special tokens, and how many tokens are cut from its end to make it fit."""
        room = len(ids) if self.max_length is None else max(0, self.max_length - len(before) - len(after))
        return [*before, *ids[:room], *after], len(ids[room:])

    def _learned_ends(self, processor: Any) -> set[int]:
        """Return the added token that ends a learned answer; empty where it ends with none."""
        (row,) = Chat().encode([[Turn("user", "One?"), Turn("assistant", "Two.")]], processor)
        said = [i for i, on in zip(row["input_ids"], row["supervised"], strict=True) if on]
        return set(said[-1:]) & set(processor.added_tokens_decoder)


def asked(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns before the last answer, where nothing follows it."""
    end = len(turns)
    while end > 1 and turns[end - 1].role == "assistant":
        end -= 1
    return list(turns[:end])


class _Templates:
    """The templates a tokenizer's texts are rendered with."""

    def __init__(self, processor: Any):
        self.chat = Template.of(processor)
        self.text = Template.of(processor, fitted("verbatim", processor))
        self.bare = self.chat.source == fitted("plain", processor)

    def of(self, turns: Sequence[Turn]) -> Template:
        """Return the tokenizer's template; for a plain text the one that adds nothing but BOS and EOS."""
        return self.text if _is_text(turns) else self.chat

    def side(self, turns: Sequence[Turn]) -> Template | None:
        """Return the template of a source; None where it is the bare texts."""
        if _is_text(turns):
            raise DataError("A plain text has no prompt, which a model with an encoder needs.")
        ends = {name: "" for name in ("bos_token", "eos_token") if name in self.chat.tokens}
        return None if self.bare else replace(self.chat, tokens={**self.chat.tokens, **ends})


def _is_text(turns: Sequence[Turn]) -> bool:
    return bool(turns) and turns[0].role == "text"


def _messages(turns: Sequence[Turn], answer: bool = False) -> list[Message]:
    """Return what a template is given; a plain text is said by the assistant, or by the user where it is to be continued."""
    if _is_text(turns):
        return [{"role": "user" if answer else "assistant", "content": turns[0].content}]
    return [_message(turn) for turn in turns]


def _message(turn: Turn) -> Message:
    message = {"role": turn.role, "content": turn.content}
    if turn.input:
        message |= {"instruction": turn.content.removesuffix(f"\n\n{turn.input}"), "input": turn.input}
    return message


def _pieces(turns: Sequence[Turn], template: Template, wanted: Sequence[int] | None) -> list[Piece]:
    """Return a conversation's pieces with the answers at `wanted` learned; None renders the prompt for the next answer.

    Raises:
        DataError: the template refuses the conversation, or shows an answer otherwise than it was asked for.
    """
    asking = wanted is None
    messages, cut = guarded(_messages(turns, asking), template.marks)
    text, spans = template.answers(messages, answer=asking)
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    chosen = [span for i, span in zip(answers, spans, strict=True) if i in (wanted or ())]
    learned = [span for span in chosen if span is not None]
    if len(learned) < len(chosen):
        raise DataError(
            "The chat template shows an earlier answer otherwise than it was asked for: learn the last answer only, or name a template."
        )
    if asking:
        spans = [*spans, (len(text), len(text))]
    return pieces_of(text, spans, learned, cut)


def _source(messages: Sequence[Message], template: Template | None) -> str:
    return "\n".join(message["content"] for message in messages) if template is None else template.render(messages)


def _places(lengths: list[int], length: int | None, left: bool) -> Any:
    """Return (B, T) whether a place holds a token of a row."""
    import numpy as np

    real = np.arange(max(*lengths, length or 0))[None, :] < np.array(lengths)[:, None]
    return np.ascontiguousarray(real[:, ::-1]) if left else real


def _table(inputs: Sequence[dict[str, Any]], key: str, real: Any, fill: int) -> Any:
    """Return (B, T) int64: a row's values where `real`, else `fill`."""
    import numpy as np

    found = np.full(real.shape, fill, dtype=np.int64)
    found[real] = np.concatenate([np.asarray(item[key], dtype=np.int64) for item in inputs])
    return found


def with_system(turns: list[Turn], prompt: str | None) -> list[Turn]:
    """Return turns with a fixed system prompt in front, unless they have one of their own."""
    if not (prompt or "").strip() or turns[0].role == "system":
        return turns
    return [Turn("system", str(prompt)), *turns]
