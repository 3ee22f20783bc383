"""Raw text, learned without labels: the next token, hidden tokens, or hidden spans; from scratch or further (domain adaptation).

A row is a document. It is cut into windows of `model.max_length` tokens, each an example; a window begins with the last token of the one
before it, so that every token is predicted once. Windows of several documents share a micro-batch and do not see each other. What the
objectives `masked` and `span` hide is drawn anew for each epoch, and each time that an epoch shows a window, from the seed and the row; for
held-out rows it is fixed. A weight of `data.weights` is that of every window of a document: windows are drawn, not documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from septet.data.schema import Schema
from septet.errors import DataError, RecipeError, UsageError
from septet.inputs.text import Text as TextInput
from septet.inputs.text import framing
from septet.model.length import most_tokens
from septet.model.sizes import width
from septet.model.supervised import require_causal
from septet.recipe.block import Block, Positive, Text, key
from septet.tasks import Batch, Example, Head, Prediction, Row, Task
from septet.tasks._hidden import UNLEARNED, mask, sentinels_of, take_spans

if TYPE_CHECKING:
    import torch

    from septet.metrics import Texts

HEADS = {"causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "span": "AutoModelForSeq2SeqLM"}
CHUNK = 64
_MASK63 = (1 << 63) - 1
_STRIDE = 0x9E3779B97F4A7C15  # the golden ratio's bits: windows of a row get ids far apart


class Options(Block):
    """What `task: {name: pretrain, …}` takes."""

    text: Text | None = key(
        None,
        "Column with the text; plain text files have one of their own.",
        why="derived: found in the data",
        example="text",
    )
    objective: Literal["causal", "masked", "span"] | None = key(
        None,
        "What is predicted: the next token (causal), hidden tokens (masked), hidden spans (span).",
        why="derived: what the model's architecture is for",
        example="causal",
    )
    mask_rate: float = key(
        0.15,
        "Share of the tokens that masked and span hide.",
        why="as BERT and T5 do",
        gt=0,
        lt=1,
        change="texts are short",
    )
    span: Positive = key(3.0, "Mean length of a hidden span.", unit="tokens", why="as T5 does")


@dataclass(frozen=True)
class Pretrain(Task):
    """The task with what model and data taught it.

    Args:
        options: the recipe's block.
        context: tokens the model reads at most.
        max_length: tokens of a window.
    """

    options: Options
    context: int | None = None
    max_length: int | None = None
    metrics: tuple[str, ...] = ("loss", "perplexity", "bits_per_byte")

    name = "pretrain"
    primary = "loss"
    baselines = ()
    answers_with = "texts"
    loss_metric = "loss"
    answers_rows = False
    cuts = True
    coefficients = {"token": 1.0}  # noqa: RUF012

    # ---- columns ----

    @property
    def needs_columns(self) -> bool:
        return self.options.text is None

    def located(self, row: Mapping[str, Any]) -> Pretrain:
        """Return a copy that knows the column: `text`, or the only one there is.

        Raises:
            UsageError: neither is there.
        """
        names = {str(name).lower(): str(name) for name in row}
        column = names.get("text") or (next(iter(names.values())) if len(names) == 1 else None)
        if column is None:
            raise UsageError(
                "No column with the text is found.", received=", ".join(map(str, row)), hint="task.text=COLUMN"
            )
        return replace(self, options=self.options.model_copy(update={"text": column}))

    @property
    def schema(self) -> Schema:
        column = self.options.text or "text"
        return Schema((column,), None, classes=False, keys={column: "task.text"}, layout=True, documents=True)

    @property
    def texts(self) -> list[str]:
        return list(self.schema.texts)

    # ---- the model ----

    @property
    def objective(self) -> str:
        return self.options.objective or "causal"

    @property
    def draws(self) -> bool:
        return self.objective != "causal"

    @property
    def input(self) -> TextInput:
        return TextInput(self.max_length)

    def suited(self, config: Mapping[str, Any], folder: Path | None = None) -> Pretrain:
        """Return a copy that knows what the model is for and how much it reads."""
        options = self.options
        if options.objective is None:
            options = options.model_copy(update={"objective": _objective(config)})
        metrics = (
            self.metrics if options.objective == "causal" else tuple(m for m in self.metrics if m != "bits_per_byte")
        )
        return replace(self, options=options, context=most_tokens(config), metrics=metrics)

    def learn(self, rows: Sequence[Row], *, max_length: int | None = None) -> Pretrain:
        """Return a copy that knows the length of a window."""
        return replace(self, max_length=max_length or self.max_length)

    def derive(self, examples: Sequence[Example]) -> dict[str, tuple[Any, str]]:
        """Return the objective, and a window as long as the model reads."""
        longest = max(example.size for example in examples)
        return {
            "task.objective": (self.objective, "what the model's architecture is for"),
            "model.max_length": (
                longest,
                "windows as long as the model reads; documents are cut into them, and nothing is lost",
            ),
        }

    def heads(self) -> dict[str, Head]:
        return {"token": Head(HEADS[self.objective], {})}

    def findings(self, model: Any) -> list[Any]:
        if self.objective == "causal":
            require_causal(model)
        return []

    # ---- learning ----

    def encode(self, rows: Sequence[Row], processor: Any) -> list[list[Example]]:
        """Return the windows of each document; what `masked` and `span` hide is drawn later."""
        found = []
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            texts = [self._text(row) for row in chunk]
            encoded = processor(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)[
                "input_ids"
            ]
            found += [
                self._windows(row, np.array(ids, np.int32), processor) for row, ids in zip(chunk, encoded, strict=True)
            ]
        return found

    def draw(self, example: Example, rng: np.random.Generator, processor: Any) -> Example:
        """Return an example with its tokens hidden as the objective says."""
        ids = example.inputs["input_ids"]
        if self.objective == "masked":
            shown, labels = mask(ids, processor, self.options.mask_rate, rng)
        elif self.objective == "span":
            sentinels, end = sentinels_of(processor), processor.eos_token_id
            shown, labels = take_spans(ids, sentinels, end, self.options.mask_rate, self.options.span, rng)
        else:
            return example
        return replace(example, inputs={"input_ids": shown, "labels": labels})

    def collate(self, examples: Sequence[Example], processor: Any, length: int | None = None) -> Batch:
        """Return examples as tensors; what nobody has hidden yet is hidden as for held-out rows."""
        if self.objective != "causal":
            examples = [
                e if "labels" in e.inputs else self.draw(e, np.random.default_rng([0, e.row]), processor)
                for e in examples
            ]
        inputs = self.input.pad([{"input_ids": e.inputs["input_ids"]} for e in examples], processor, length)
        return Batch(inputs, self._labels(examples, inputs), [e.row for e in examples], [e.meta for e in examples])

    def weights(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: the tokens each window is to predict."""
        return {"token": (self._goals(batch) != UNLEARNED).sum(1).float()}

    def loss(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Return (B,) float32: the sum of each window's cross-entropy in nats."""
        from septet.model.supervised import decoder_reads, token_losses

        inputs, goals_BT = batch.inputs, self._goals(batch)
        places = goals_BT.shape[1] + (self.objective == "causal")
        if self.objective == "span":
            inputs = {**inputs, "decoder_input_ids": decoder_reads(model, batch.targets)}  # pyright: ignore
        return {"token": token_losses(model, batch, inputs, goals_BT, places)}

    def measure(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Return each window's loss."""
        losses = self.loss(model, batch)["token"].double().tolist()
        weights = self.weights(batch)["token"].tolist()
        return [Prediction(row, None, loss=a, weight=b) for row, a, b in zip(batch.rows, losses, weights, strict=True)]

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """Return a document's one prediction: the losses of its windows add up."""
        first = parts[0]
        first.loss, first.weight = math.fsum(p.loss for p in parts), math.fsum(p.weight for p in parts)
        return first

    def predict(self, model: Any, batch: Batch, processor: Any, embed: bool = False) -> list[Prediction]:
        """Refuse: this model is the beginning of another.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "A model that was pre-trained answers no rows yet.",
            hint="tune it: model: RUN/model in a recipe of classify or generate",
        )

    def target(self, row: Row) -> str:
        """Return the document."""
        return self._text(row)

    def messages(self, row: Row) -> list[dict[str, str]]:
        """Return the beginning of a document, for reports."""
        return [{"role": "text", "content": self._text(row)[:600]}]

    def judge(
        self, rows: Sequence[Row], measured: Sequence[Prediction], written: Sequence[Prediction] | None = None
    ) -> Texts:
        """Return the documents and their losses, ready for metrics."""
        from septet.metrics import Texts

        return Texts(
            np.array([row["_row"] for row in rows], dtype=np.int64),
            [self._text(row) for row in rows],
            None,
            np.array([p.loss for p in measured]),
            np.array([p.weight for p in measured], dtype=np.int64),
        )

    def parse(self, value: Any, where: str = "input") -> dict[str, str]:
        """Return one served item as a row.

        Raises:
            DataError: it is no text.
        """
        column = self.texts[0]
        found = value.get(column) if isinstance(value, Mapping) else value
        return {column: self.input.parse(found, where)}

    def refusal(self, row: Row, processor: Any) -> str:
        """Return why a document gave no window."""
        if not self.draws:
            return "The document has fewer than two tokens."
        return "The document has fewer than two tokens, or none but special ones: the vocabulary knows none of its letters."

    def to_json(self) -> dict[str, Any]:
        options = self.options.model_dump(include=set(Options.model_fields))
        return {"name": self.name, "options": options, "context": self.context, "max_length": self.max_length}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Pretrain:
        return cls(Options(**value["options"]), value["context"], value["max_length"]).suited(
            {"max_position_embeddings": value["context"]}
        )

    # ---- private ----

    def _text(self, row: Row) -> str:
        column = self.texts[0]
        if column not in row:
            raise DataError(f"The column {column!r} is missing.", received=", ".join(map(str, row)))
        return str(row[column])

    def _windows(self, row: Row, ids: np.ndarray, processor: Any) -> list[Example]:
        start, end = processor.bos_token_id, processor.eos_token_id
        start = end if start is None else start
        if self.objective == "causal":
            ids = np.array([*([] if start is None else [start]), *ids, *([] if end is None else [end])], np.int32)
        size, lap = self._size(), 1 if self.objective == "causal" else 0
        special = np.array(processor.all_special_ids)
        base = int(row.get("_row", 0))
        found = []
        for i, place in enumerate(range(0, max(1, len(ids) - lap), size - lap)):
            window = ids[place : place + size]
            if len(window) < 2 or (self.draws and bool(np.isin(window, special).all())):
                continue
            if self.objective == "masked":
                before, after = framing(processor)
                window = np.array([*before, *window, *after], np.int32)
            name = (base ^ (i * _STRIDE)) & _MASK63 if i else base
            found.append(Example(name, {"input_ids": window}, None, len(window), {"truncated": 0}))
        return found

    def _size(self) -> int:
        """Return the tokens of a window before special ones."""
        size = self.max_length or self.context or 512
        special = {"causal": 0, "masked": 2, "span": 1}[self.objective]
        if size < 2 + special:
            raise RecipeError(
                f"model.max_length must be at least {2 + special} to learn by the objective {self.objective}.",
                received=size,
                hint="leave it out: windows are then as long as the model reads",
            )
        return size - special

    def _labels(self, examples: Sequence[Example], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        if self.objective == "causal":
            real = inputs.get("attention_mask")
            ids = inputs["input_ids"]
            return ids if real is None else ids.masked_fill(real == 0, UNLEARNED)
        longest = max(len(e.inputs["labels"]) for e in examples)
        places = inputs["input_ids"].shape[1] if self.objective == "masked" else width(longest, self.max_length)
        labels = np.full((len(examples), places), UNLEARNED, dtype=np.int64)
        for row, example in zip(labels, examples, strict=True):
            row[: len(example.inputs["labels"])] = example.inputs["labels"]
        return torch.from_numpy(labels)

    def _goals(self, batch: Batch) -> torch.Tensor:
        if batch.targets is None:
            raise DataError("There is nothing to learn.")
        return batch.targets[:, 1:] if self.objective == "causal" else batch.targets


def _objective(config: Mapping[str, Any]) -> str:
    """Return what an architecture is for."""
    if config.get("is_encoder_decoder"):
        return "span"
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return "masked" if config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES else "causal"
