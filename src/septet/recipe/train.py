"""The sections `model` and `train`: which checkpoint, and how it learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from septet.recipe.block import Block, Count, Pair, Positive, Problem, Share, Text, Whole, key

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Vocabulary(Block):
    """A tokenizer learned from the training rows, as `septet tokenizer` learns one."""

    kind: Literal["bpe", "unigram", "wordpiece"] = key(
        "bpe",
        "Byte-level BPE (GPT-2, Llama), Unigram with sentinels (T5), or WordPiece with a mask (BERT).",
        why="any text can be written with it",
        change="the objective is span (unigram) or masked (wordpiece)",
    )
    size: Annotated[int, Field(ge=200)] = key(
        8000, "Tokens, special ones included.", unit="tokens", why="enough for one language", change="rows are many"
    )
    lowercase: bool = key(False, "Fold the case.", why="case carries meaning")
    chat: bool = key(
        False,
        "Add ChatML's marks of a turn, and its template.",
        why="not every model talks",
        change="it is to become an assistant",
    )


class Model(Block):
    """The checkpoint to start from, or the architecture to build anew."""

    name: Text | None = key(
        "starter",
        "A local folder, a hub id, `starter` (an English encoder) or `starter-lm` (a small English Llama); null with architecture.",
        why="the starter runs offline, with no account; null where architecture says what is built",
        change="the task writes (starter-lm), or a larger model is at hand",
        example="starter",
    )
    architecture: Text | None = key(
        None,
        "Instead of name: the model_type of transformers that is built from scratch, its weights drawn from train.seed.",
        why="a checkpoint knows a language already",
        change="there is none for your texts, or a small model is enough",
        example="gpt2",
    )
    tokenizer: Text | None = key(
        None,
        "With architecture: the folder of its tokenizer (tokenizer.json, or GPT-2's vocab.json and merges.txt, the merges alone too), a hub id or `starter`.",
        why="the checkpoint's own",
        example="tokenizer",
    )
    vocabulary: Vocabulary | None = key(
        None,
        "With architecture, instead of tokenizer: learn one from the training rows.",
        why="the tokenizer that is named",
        example={"kind": "bpe", "size": 8000},
    )
    layers: Count | None = key(
        None, "With architecture: transformer layers.", unit="layers", why="the architecture's own", example=4
    )
    hidden: Count | None = key(
        None, "With architecture: width of the hidden states.", why="the architecture's own", example=128
    )
    heads: Count | None = key(None, "With architecture: attention heads.", why="the architecture's own", example=4)
    inner: Count | None = key(
        None,
        "With architecture: width of the feed-forward blocks.",
        why="four times hidden where hidden is given",
        example=512,
    )
    config: dict[Text, Any] | None = key(
        None,
        "With architecture: any other field of its config, under transformers' name.",
        why="the architecture's own",
        example={"max_position_embeddings": 256},
    )
    revision: Text | None = key(
        None,
        "Branch, tag or commit of a hub checkpoint (or of the tokenizer).",
        why="the newest; the commit is recorded",
        change="a run must be repeatable",
        example="main",
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = key(
        None,
        "Number format of the stored weights; training keeps fp32 masters whatever is stored.",
        why="the checkpoint's own; float32 for a new model",
        change="the file should be half as large",
        example="bfloat16",
    )
    max_length: Annotated[int, Field(ge=2)] | None = key(
        None,
        "Longest row; longer ones are cut and counted.",
        unit="tokens",
        why="derived from the lengths of your rows",
        change="findings report truncation",
        example=128,
    )
    dropout: Share | None = key(
        None,
        "Dropout of the whole network, a share of activations.",
        why="the checkpoint's own",
        change="the model overfits (more)",
        example=0.1,
    )
    attention: Literal["eager", "sdpa"] | None = key(
        None, "Attention implementation.", why="derived: the faster one on this machine", example="sdpa"
    )

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or f"{self.architecture} from scratch"

    @model_validator(mode="before")
    @classmethod
    def _no_default_beside_architecture(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("architecture") is not None:
            return {"name": None, **values}
        return values

    def problems(self) -> Iterator[Problem]:
        if self.architecture is None:
            if self.name is None:
                yield Problem(
                    "name", "or model.architecture is needed: a checkpoint, or what is built.", "name: starter"
                )
            for name in ("tokenizer", "vocabulary", "layers", "hidden", "heads", "inner", "config"):
                if getattr(self, name) is not None:
                    yield Problem(
                        name,
                        "would be ignored: it belongs to a model from scratch.",
                        "architecture: gpt2, or remove it",
                    )
            return
        if self.name is not None:
            yield Problem(
                "architecture",
                f"cannot be given beside model.name, which is {self.name}: a model is read or built.",
                "remove one of the two",
            )
        if self.tokenizer is None and self.vocabulary is None:
            yield Problem(
                "tokenizer",
                "is missing: the folder of the new model's tokenizer.",
                "tokenizer: DIR, or vocabulary: {kind: bpe, size: 8000} to learn one",
            )
        if self.tokenizer is not None and self.vocabulary is not None:
            yield Problem("vocabulary", "cannot be given beside model.tokenizer.", "remove one of the two")
        if self.hidden is not None and self.heads is not None and self.hidden % self.heads:
            yield Problem(
                "hidden", f"must be a multiple of model.heads, which is {self.heads}.", f"hidden: {self.heads * 32}"
            )


class EarlyStopping(Block):
    """Stop when validation no longer improves."""

    patience: Count = key(means="Evaluations without improvement that are waited for.", unit="evaluations", example=3)
    min_delta: Annotated[float, Field(ge=0)] = key(
        0.0,
        "Smallest change of the metric that counts as improvement.",
        why="any improvement counts",
        change="the metric jitters",
    )


class Train(Block):
    """How the model learns: length, update size, learning rate, precision, evaluation, stopping."""

    epochs: Positive | None = key(
        None,
        "Passes over the training rows.",
        why="derived from method and number of rows",
        change="the report says under- or overfitting",
        example=3,
    )
    max_steps: Count | None = key(
        None,
        "Updates at most; with epochs, what comes first ends the run.",
        unit="steps",
        why="epochs decide",
        example=500,
    )
    batch: Count | None = key(
        None,
        "Rows in one update.",
        unit="rows",
        why="derived from the number of rows",
        change="the loss is noisy (more) or rows are few (less)",
        example=32,
    )
    micro_batch: Count | None = key(
        None,
        "Rows in one forward pass at most; speed and memory only, the update stays the same.",
        unit="rows",
        why="token_budget decides",
        change="memory is short",
        example=8,
    )
    token_budget: Count | None = key(
        None,
        "Tokens in one forward pass; speed and memory only, the update stays the same.",
        unit="tokens",
        why="derived: what fills this kind of device",
        change="memory is short",
        example=4096,
    )
    pad: Literal["longest", "max_length"] = key(
        "longest",
        "Pad to the longest row of a micro-batch, or always to max_length.",
        why="padding is work without result",
        change="you repeat a recipe that padded to the maximum",
    )
    lr: Positive | None = key(
        None,
        "Peak learning rate.",
        why="derived from the method",
        change="the loss diverges (lower) or hardly falls (higher)",
        example=1e-4,
    )
    schedule: Literal["linear", "cosine", "constant"] = key(
        "linear",
        "How lr falls after the warm-up.",
        why="the usual choice for fine-tuning",
        change="the run may be prolonged (constant)",
    )
    warmup: Whole | Annotated[float, Field(ge=0)] = key(
        0.06,
        "Rise of lr at the start: a share of all steps below 1, else a number of steps.",
        why="6 %, as in RoBERTa",
        change="the first steps are unstable (more)",
        example=0.06,
    )
    weight_decay: Annotated[float, Field(ge=0)] = key(
        0.01,
        "Decoupled weight decay of matrices (never of biases and norms).",
        why="the usual choice for fine-tuning",
        change="the model overfits (more)",
    )
    optimizer: Literal["adamw", "muon"] = key(
        "adamw",
        "AdamW, or Muon: orthogonalised momentum for hidden matrices, AdamW for embeddings, head, biases and norms.",
        why="what pre-trained models were trained with",
        change="the model is built from scratch (muon is reported to need fewer tokens)",
    )
    betas: Pair[Share] = key(
        (0.9, 0.999), "Decay rates of AdamW's two averages.", why="AdamW's own", example=[0.9, 0.999]
    )
    eps: Positive = key(1e-8, "AdamW's epsilon.", why="AdamW's own")
    clip: Positive | None = key(
        1.0,
        "Largest gradient norm; null turns clipping off.",
        why="tames a single bad step, leaves others alone",
        change="spikes remain (lower)",
    )
    seed: Whole = key(
        42,
        "Seed of everything random in training.",
        why="fixed, so that the run can be repeated",
        change="the spread over seeds matters",
    )
    precision: Literal["fp32", "bf16", "fp16"] | None = key(
        None,
        "Number format of the forward and backward pass.",
        why="derived from a measurement of this machine",
        example="fp32",
    )
    compile: bool | None = key(
        None,
        "Compile decoder layers, feed-forward blocks, norms, the loss and, in bf16 on a CPU, AdamW with torch.compile.",
        why="derived: decoders that learn for minutes, where a compiler works; compiling takes half a minute",
        change="that is not worth waiting for, or worth more",
        example=False,
    )
    threads: Count | None = key(
        None,
        "CPU threads; another number gives other rounding.",
        why="derived: the cores of this machine",
        change="the machine is shared",
        example=2,
    )
    device: Literal["cpu", "cuda", "mps"] | None = key(
        None, "Where to compute.", why="derived: the best that is there", example="cpu"
    )
    eval_every: Literal["epoch"] | Count | Positive = key(
        "epoch",
        "When validation is scored: epoch, a whole number of steps, or a share of an epoch such as 0.25.",
        why="one look an epoch",
        change="epochs are long",
        example="epoch",
    )
    save_every: Count | None = key(
        None,
        "Checkpoint for resuming after every N steps, besides each evaluation.",
        unit="steps",
        why="checkpoints are saved at each evaluation",
        change="evaluations are rare",
        example=100,
    )
    keep: Count = key(
        2,
        "Checkpoints kept: the newest; the best is always kept.",
        unit="checkpoints",
        why="one to resume from, and one in reserve",
        change="the disk is small or you compare checkpoints",
    )
    early_stopping: EarlyStopping | None = key(
        None,
        "Stop when validation no longer improves.",
        why="off: the best checkpoint is kept anyway",
        change="time matters",
        example={"patience": 3},
    )
    metric: Text | None = key(
        None,
        "Validation metric that chooses the best checkpoint.",
        why="derived: the task's primary metric",
        example="f1",
    )
    max_time: Text | None = key(
        None,
        "Stop cleanly after this time, with an artifact: 45s, 30m, 1h30m.",
        why="no limit",
        change="the machine is rented",
        example="30m",
    )

    @property
    def max_time_s(self) -> int | None:
        """The time limit in seconds."""
        return None if self.max_time is None else seconds(self.max_time)

    def problems(self) -> Iterator[Problem]:
        if isinstance(self.warmup, float) and self.warmup >= 1 and not self.warmup.is_integer():
            yield Problem("warmup", "must be a share below 1 or a whole number of steps.", "warmup: 0.06")
        elif self.max_steps is not None and self.warmup >= 1 and self.warmup > self.max_steps:
            yield Problem(
                "warmup", f"is longer than the whole run (train.max_steps is {self.max_steps}).", "warmup: 0.06"
            )
        if self.batch is not None and self.micro_batch is not None and self.micro_batch > self.batch:
            yield Problem(
                "micro_batch", f"must not be above train.batch, which is {self.batch}.", f"micro_batch: {self.batch}"
            )
        if self.max_time is not None and not seconds(self.max_time):
            yield Problem("max_time", "must be a time such as 45s, 30m or 1h30m.", "max_time: 30m")
        if self.precision == "fp16" and self.device == "cpu":
            yield Problem(
                "precision",
                "cannot be fp16 on the cpu: half precision trains only with loss scaling on a GPU.",
                "precision: auto",
            )


def seconds(text: str) -> int:
    """Return the seconds in a time such as 1h30m; 0 when it is none."""
    match = _DURATION.fullmatch(text.replace(" ", ""))
    hours, minutes, rest = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return hours * 3600 + minutes * 60 + rest
