"""A text that answers a text: instruction tuning, chat, translation, summaries; models with and without an encoder.

The loss is cross-entropy over the tokens the assistant says, each weighing the same: the prompt is read and not learned. Logits are
computed at the learned places only. The model decides how a row is laid out: a decoder reads prompt and answer as one text; with an
encoder, prompt and answer are its two sides. Rows are read by `inputs/chat.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from septet.data.schema import Schema
from septet.errors import DataError
from septet.inputs.chat import UNSUPERVISED, Chat, Columns, Turn, asked, conversation, detect, read_rows, with_system
from septet.model.length import most_tokens
from septet.model.supervised import require_causal
from septet.model.writing import Decode, check_room, configure, write
from septet.recipe.block import Block, Problem, Text, key
from septet.tasks import Batch, Example, Head, Prediction, Row, Task

if TYPE_CHECKING:
    import torch

    from septet.metrics import Texts

COLUMNS = ("messages", "prompt", "answer", "input", "history", "system", "instruction")


class Options(Block):
    """What `task: {name: generate, …}` takes. Without any column, those of a usual format are found."""

    messages: Text | None = key(
        None, "Column with a list of turns (role and content).", why="derived: found in the data", example="messages"
    )
    prompt: Text | None = key(None, "Column with what is asked.", why="derived: found in the data", example="question")
    answer: Text | None = key(
        None, "Column with the answer to learn.", why="derived: found in the data", example="answer"
    )
    input: Text | None = key(
        None, "Column with a text that the prompt is about.", why="derived: found in the data", example="context"
    )
    history: Text | None = key(
        None, "Column with earlier (question, answer) pairs.", why="derived: found in the data", example="history"
    )
    system: Text | None = key(
        None, "Column with a system prompt of the row's own.", why="derived: found in the data", example="system"
    )
    instruction: Text | None = key(
        None,
        "Column with an instruction of the row's own, beside the question.",
        why="derived: found in the data",
        example="instruction",
    )
    limits: Text | None = key(
        None, "Column of limits each answer is held to; no model reads it.", why="none are stated", example="limits"
    )
    system_prompt: Text | None = key(
        None, "A system prompt for all rows without one of their own.", why="none", example="You answer for a shop."
    )
    template: Text | None = key(
        None,
        "Chat template: a name (chatml, llama3, alpaca …), a *.jinja file, or its text.",
        why="the tokenizer's own; plain lines where it has none",
        change="the base model was trained with another one",
        example="chatml",
    )
    train_on: Literal["all", "last"] = key(
        "all",
        "Which answers of a conversation are learned.",
        why="every answer teaches",
        change="earlier answers are not worth learning",
    )
    decode: Decode = key(Decode(), "How answers are written.")

    def problems(self) -> Iterator[Problem]:
        yield from self.decode.problems()
        if self.messages and self.prompt:
            yield Problem("prompt", "cannot be given beside task.messages.", "remove one of the two")
        if (self.prompt is None) != (self.answer is None):
            missing, given = ("answer", "prompt") if self.prompt else ("prompt", "answer")
            yield Problem(missing, f"is missing beside task.{given}.", f"{missing}: COLUMN")


@dataclass(frozen=True)
class Generate(Task):
    """The task with what model and data taught it.

    Args:
        options: the recipe's block.
        encoder: whether the model has an encoder, so that prompt and answer are two sides.
        context: tokens the model reads at most, prompt and answer together.
        max_length: tokens kept of a row in training, or of each side.
        folder: what a template file is relative to.
    """

    options: Options
    encoder: bool = False
    context: int | None = None
    max_length: int | None = None
    folder: Path | None = None

    name = "generate"
    metrics = ("loss", "perplexity", "bleu", "chrf", "rouge1", "rouge2", "rougeL", "exact_match")
    primary = "loss"
    baselines = ("constant", "nearest", "copy", "lead")
    answers_with = "texts"
    loss_metric = "loss"
    coefficients = {"token": 1.0}  # noqa: RUF012

    def __post_init__(self) -> None:
        if self.options.limits is not None:
            object.__setattr__(self, "metrics", (*type(self).metrics, "adherence"))

    @property
    def needs_columns(self) -> bool:
        return not any((self.options.messages, self.options.prompt))

    def located(self, row: Mapping[str, Any]) -> Generate:
        """Return a copy that knows the columns of a usual format, found in a table's first row.

        Raises:
            UsageError: there are none.
        """
        found = detect(row)
        if found.text is not None:
            hint = "name the columns: task.prompt and task.answer, or task.messages"
            raise DataError("The data hold texts without questions and answers.", received=found.text, hint=hint)
        named = {name: getattr(found, name) for name in COLUMNS if getattr(self.options, name) is None}
        return replace(self, options=self.options.model_copy(update=named))

    @cached_property
    def columns(self) -> Columns:
        """Where a row's conversation is."""
        return Columns(
            **{name: getattr(self.options, name) for name in COLUMNS}, system_prompt=self.options.system_prompt
        )

    @property
    def schema(self) -> Schema:
        given = {name: getattr(self.options, name) for name in (*COLUMNS, "limits") if getattr(self.options, name)}
        label = given.pop("answer", None)
        texts = tuple(dict.fromkeys(given.values()))
        keys = {column: f"task.{name}" for name, column in reversed(given.items())}
        return Schema(
            texts,
            label,
            classes=False,
            # an empty prompt may still have an input to ask of
            required=tuple(given[name] for name in ("messages", "prompt") if name in given and "input" not in given),
            keys=keys | ({label: "task.answer"} if label else {}),
            layout=True,
        )

    @property
    def texts(self) -> list[str]:
        return [column for column in self.schema.texts if column != self.options.limits]

    def problems(self, rows: Sequence[Row]) -> dict[int, str]:
        """Return why rows cannot be read, by their place."""
        from septet.metrics.adhere import malformed

        refused = {place: error.reason for place, error in read_rows(rows, self.columns).problems.items()}
        return malformed(rows, self.options.limits) | refused

    def left_out(self, rows: Sequence[Row]) -> dict[int, int]:
        """Return how many turns after its last answer a row has, of which nothing is learned, by its place."""
        return read_rows(rows, self.columns).left_out

    @property
    def input(self) -> Chat:
        return Chat(self.options.template, self.max_length, self.options.train_on, base=self.folder)

    @property
    def reads(self) -> int | None:
        """Tokens of a prompt that are read at most."""
        if self.context is None or self.encoder:
            return self.context
        return max(1, self.context - (self.options.decode.max_new_tokens or 0))

    def suited(self, config: Mapping[str, Any], folder: Path | None = None) -> Generate:
        """Return a copy that knows the model's shape; `folder` is what a template file is relative to."""
        check_room(self.options.decode, config)
        return replace(self, encoder=bool(config.get("is_encoder_decoder")), context=most_tokens(config), folder=folder)

    def learn(self, rows: Sequence[Row], *, max_length: int | None = None) -> Generate:
        """Return a copy that knows how long rows may be."""
        return replace(self, max_length=max_length)

    def derive(self, examples: Sequence[Example]) -> dict[str, tuple[Any, str]]:
        """Return what training examples say of the recipe's open values."""
        lengths = sorted(example.learned for example in examples)
        most = lengths[math.ceil(0.99 * len(lengths)) - 1]
        tokens = max(16, -(-most * 5 // 4 // 8) * 8)
        if self.context is not None:
            tokens = min(tokens, max(1, self.context // 2))
        return {
            "task.decode.max_new_tokens": (tokens, f"99 % of the training answers have at most {most} tokens"),
        }

    def heads(self) -> dict[str, Head]:
        return {"token": Head("AutoModelForSeq2SeqLM" if self.encoder else "AutoModelForCausalLM", {})}

    def finish(self, model: Any, processor: Any) -> None:
        """Write the recipe's decoding into a model, which is saved with it."""
        configure(model, processor, self.options.decode, self.input.stops(processor))

    def findings(self, model: Any) -> list[Any]:
        require_causal(model)
        return []

    # ---- learning ----

    def encode(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]:
        """Return the examples of each row: one, or with an encoder one an answer; none where nothing can be learned."""
        turns = [self._turns(row) for row in rows]
        if self.encoder:
            encoded = self.input.encode_sides(turns, processor)
        else:
            encoded = [[item] for item in self.input.encode(turns, processor)]
        return [
            [_example(row, item) for item in items if "refused" not in item]
            for row, items in zip(rows, encoded, strict=True)
        ]

    def refusal(self, row: Row, processor: Any) -> str:
        """Return why nothing of a row can be learned; empty where something can."""
        turns = [self._turns(row)]
        items = self.input.encode_sides(turns, processor)[0] if self.encoder else self.input.encode(turns, processor)
        return next((item["refused"] for item in items if "refused" in item), "")

    def collate(self, examples: Sequence[Example], processor: Any, length: int | None = None) -> Batch:
        """Return examples as tensors; `labels` are targets and no input, except that a decoder beside an encoder reads them."""
        prompts = "supervised" not in examples[0].inputs and "labels" not in examples[0].inputs
        inputs = self.input.pad([e.inputs for e in examples], processor, length, left=prompts and not self.encoder)
        targets = inputs.pop("labels", None)
        return Batch(inputs, targets, [e.row for e in examples], [e.meta for e in examples])

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: each row's learned tokens."""
        return {"token": (self._goals(batch) != UNSUPERVISED).sum(1).float()}

    def loss(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: the sum over each row's learned tokens of their cross-entropy in nats."""
        from septet.model.supervised import decoder_reads, token_losses

        inputs, goals_BT = batch.inputs, self._goals(batch)
        if self.encoder:
            inputs = {**inputs, "decoder_input_ids": decoder_reads(model, batch.targets)}  # pyright: ignore
        return {"token": token_losses(model, batch, inputs, goals_BT, goals_BT.shape[1] + (not self.encoder))}

    def _goals(self, batch: Batch) -> torch.Tensor:
        """Return what each output is to be: (B, T) labels of a decoder beside an encoder, (B, T - 1) the next tokens elsewhere."""
        if batch.targets is None:
            raise DataError("There is no answer to learn.")
        return batch.targets if self.encoder else batch.targets[:, 1:]

    # ---- answering ----

    def prompts(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]:
        """Return the prompt of each row: all before its last answer."""
        read = replace(self, max_length=self.reads).input
        turns = [asked(self._turns(row, answered=False)) for row in rows]
        encoded = read.sources(turns, processor) if self.encoder else read.prompts(turns, processor)
        return [[_example(row, item)] for row, item in zip(rows, encoded, strict=True)]

    def predict(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Return each prompt's answer and, when asked, the mean-pooled hidden state that monitoring looks at."""
        from septet.model.features import pooled_states

        with pooled_states(model, batch.inputs, wanted=embed) as pooled:
            ids_BT = self.write(model, batch)
        vectors_BH = pooled.vectors()
        stops = set(self.input.stops(processor))
        found = []
        for i, ids in enumerate(ids_BT.tolist()):
            end = next((place for place, token in enumerate(ids) if token in stops), None)
            found.append(
                Prediction(
                    batch.rows[i],
                    processor.decode(ids[:end], skip_special_tokens=True).strip(),
                    embedding=None if vectors_BH is None else vectors_BH[i],
                    tokens=int(batch.meta[i].get("size", batch.inputs["input_ids"].shape[1])),
                    truncated=batch.meta[i].get("truncated", 0),
                    written=len(ids) if end is None else end + 1,
                    ended=end is not None,
                )
            )
        return found

    def write(self, model: Any, batch: Batch, *, streamer: Any = None) -> torch.Tensor:
        """Return (B, T) token ids of the answers to prompts; a streamer is handed them as they come."""
        return write(model, batch.inputs, seed=self.options.decode.seed, streamer=streamer)

    def measure(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Return each row's loss over its learned tokens; nothing is written."""
        losses = self.loss(model, batch)["token"].double().tolist()
        weights = self.weights(batch)["token"].tolist()
        return [
            Prediction(row, None, truncated=meta.get("truncated", 0), loss=loss, weight=weight)
            for row, meta, loss, weight in zip(batch.rows, batch.meta, losses, weights, strict=True)
        ]

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """Return a row's one prediction: the losses of its answers add up."""
        first = parts[0]
        if len(parts) > 1:
            first.loss = math.fsum(part.loss for part in parts)
            first.weight = math.fsum(part.weight for part in parts)
        return first

    def target(self, row: Row) -> str:
        """Return the answer that a row should get: its last one."""
        answers = [turn.content for turn in self._turns(row) if turn.role == "assistant"]
        return answers[-1] if answers else ""

    def words(self, row: Row) -> list[str]:
        """Return what is said in a row."""
        return [turn.content for turn in self._turns(row)]

    def messages(self, row: Row) -> list[dict[str, str]]:
        """Return what a row asks as role and content of each turn, as chat templates take them."""
        return [{"role": t.role, "content": t.content} for t in asked(self._turns(row, answered=False))]

    def rendered(self, row: Row, processor: Any) -> str:
        """Return the text of a row up to where the assistant is to speak."""
        return self.input.render(asked(self._turns(row, answered=False)), processor, answer=True)

    def judge(
        self, rows: Sequence[Row], measured: Sequence[Prediction], written: Sequence[Prediction] | None = None
    ) -> Texts:
        """Return rows and what was said of them, ready for metrics.

        Args:
            rows: with their answers.
            measured: of `measure`.
            written: of `predict`; None where only the loss is asked for.
        """
        import numpy as np

        from septet.metrics import Texts
        from septet.metrics.adhere import limits_of

        return Texts(
            np.array([p.row for p in measured], dtype=np.int64),
            [self.target(row) for row in rows],
            None if written is None else [str(p.value) for p in written],
            np.array([p.loss for p in measured]),
            np.array([p.weight for p in measured], dtype=np.int64),
            limits_of(rows, self.options.limits),
        )

    def parse(self, value: Any, where: str = "input") -> dict[str, Any]:
        """Return one served item as a row.

        Raises:
            DataError: it is neither a text, nor turns, nor an object with the task's columns.
        """
        named = self.options.messages or self.options.prompt
        if isinstance(value, Mapping) and (named in value or "messages" not in value):
            if named is not None and named not in value:
                raise DataError(f"The field {named!r} is missing.", where=where, received=sorted(map(str, value)))
            row = {column: value.get(column) for column in self.texts}
            self._turns(row, answered=False)
            return row
        turns = self.input.parse(value, where)
        return {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            # the tokenizer is saved with the template
            "options": {**self.options.model_dump(include=set(Options.model_fields)), "template": None},
            "encoder": self.encoder,
            "context": self.context,
            "max_length": self.max_length,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Generate:
        options = Options(**{**value["options"], "decode": Decode(**value["options"]["decode"])})
        return cls(options, value["encoder"], value["context"], value["max_length"])

    def _turns(self, row: Row, answered: bool = True) -> list[Turn]:
        named = self.options.messages or self.options.prompt
        # a served conversation has the recipe's system prompt, and no columns of its own
        if "messages" in row and (named not in row or (not answered and row.keys() == {"messages"})):
            return with_system(self.input.parse(row["messages"], "messages"), self.options.system_prompt)
        return conversation(row, self.columns, answered=answered)


def _example(row: Row, item: dict[str, Any]) -> Example:
    inputs = {name: item[name] for name in ("input_ids", "supervised", "labels") if name in item}
    size = len(inputs["input_ids"]) + len(inputs.get("labels", ()))
    meta = {"truncated": item["truncated"], "lost": item.get("lost", 0)}
    return Example(int(row.get("_row", 0)), inputs, None, size, meta)
