"""The section `model`: which checkpoint, or which architecture anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from septet.recipe.block import Block, Count, Problem, Share, Text, key

# what rows may be files of, and the option of the task that names their column
FILES = {"picture": "image", "recording": "audio"}


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
        None,
        "Attention implementation: our own, which drops probabilities by row, or PyTorch's fused one, which drops none.",
        why="derived: on a CPU the faster one at the lengths of your rows, where nothing is dropped; on a GPU fused, and in bf16 and fp16 "
        "of all rows in one call (varlen_attn) where that was found right there",
        example="sdpa",
    )

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.name or f"{self.architecture} from scratch"

    def reads(self, media: str | None) -> Iterator[Problem]:
        """Yield what a new model lacks for the rows of its task.

        Args:
            media: what the rows are files of, `picture` or `recording`; None where they are texts.
        """
        if self.architecture is None:
            return
        if media:
            for name in ("tokenizer", "vocabulary"):
                if getattr(self, name) is not None:
                    yield Problem(name, f"would be ignored: the rows are {media}s.", "remove it")
        elif self.tokenizer is None and self.vocabulary is None:
            yield Problem(
                "tokenizer",
                "is missing: the folder of the new model's tokenizer.",
                "tokenizer: DIR, or vocabulary: {kind: bpe, size: 8000} to learn one",
            )

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
        if self.tokenizer is not None and self.vocabulary is not None:
            yield Problem("vocabulary", "cannot be given beside model.tokenizer.", "remove one of the two")
        if self.hidden is not None and self.heads is not None and self.hidden % self.heads:
            yield Problem(
                "hidden", f"must be a multiple of model.heads, which is {self.heads}.", f"hidden: {self.heads * 32}"
            )
