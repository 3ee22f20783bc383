"""Text, or a pair of texts, to token ids.

A processor is the tokenizer of the model's own folder. Truncation is counted: every encoded value carries the number of tokens cut off.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.errors import DataError, ModelError

if TYPE_CHECKING:
    import torch

# texts that are encoded in one call, and calls that may be ahead of what is read
CHUNK, AHEAD = 2048, 2
_KEYS = ("input_ids", "token_type_ids")


class Text:
    """One text a row, or two for a pair.

    Args:
        max_length: tokens kept, special tokens included; None keeps all.
    """

    classifier = "AutoModelForSequenceClassification"
    varies = True

    def __init__(self, max_length: int | None = None):
        self.max_length = max_length

    def processor(self, folder: str) -> Any:
        """Return the tokenizer of a model folder, with no truncation or padding of its own.

        Raises:
            ModelError: the folder has no tokenizer that can be read.
        """
        from septet.model import tokenizer

        return tokenizer.read(Path(folder))

    def encode(self, values: Sequence[Any], processor: Any) -> list[dict[str, Any]]:
        """Return `input_ids` (and `token_type_ids` where the model wants them) of each value, with `truncated` tokens counted."""
        keys = [key for key in _KEYS if key in processor.model_input_names]
        found = [_row(encoding, keys, processor) for encoding in _encodings(values, processor.backend_tokenizer)]
        for item in found:
            item["truncated"] = max(0, len(item["input_ids"]) - (self.max_length or len(item["input_ids"])))
        long = [i for i, item in enumerate(found) if item["truncated"]]
        if long:
            with _limited(processor, self.max_length):
                shorter = _encodings([values[i] for i in long], processor.backend_tokenizer)
                for i, encoding in zip(long, shorter, strict=True):
                    found[i].update(_row(encoding, keys, processor))
        return found

    def pad(
        self, inputs: Sequence[dict[str, Any]], processor: Any, length: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Return (B, T) int64 tensors; no attention mask where no row is padded.

        Args:
            inputs: encoded values.
            processor: the tokenizer.
            length: pad to this many tokens; None pads to the longest row.
        """
        import numpy as np
        import torch

        lengths = np.array([len(item["input_ids"]) for item in inputs])
        width = max(int(lengths.max()), length or 0)
        fill = {"input_ids": processor.pad_token_id or 0, "token_type_ids": 0}
        real = np.arange(width)[None, :] < lengths[:, None]
        if processor.padding_side == "left":
            real = real[:, ::-1]
        padded = {}
        for key in _KEYS:
            if key in inputs[0]:
                table = np.full((len(inputs), width), fill[key], dtype=np.int64)
                table[real] = np.concatenate([np.asarray(item[key], dtype=np.int64) for item in inputs])
                padded[key] = torch.from_numpy(table)
        if not real.all():
            padded["attention_mask"] = torch.from_numpy(np.ascontiguousarray(real).astype(np.int64))
        return padded

    def size(self, inputs: dict[str, Any], processor: Any) -> int:
        """Return the tokens of a value."""
        return len(inputs["input_ids"])

    def save(self, processor: Any, folder: Path, reads: int | None) -> None:
        """Write the tokenizer, and see that it gives the same ids once it is read back; see `save`."""
        save(processor, folder, reads)

    def parse(self, value: Any, where: str) -> str:
        """Return a served value as text.

        Raises:
            DataError: it is not a string.
        """
        if not isinstance(value, str):
            raise DataError("A text was expected.", where=where, received=value)
        return value


def _encodings(values: Sequence[Any], tokenizer: Any) -> Iterator[Any]:
    """Yield the encoding of each value, in order; the next chunks are encoded while one is read."""
    if len(values) <= CHUNK:
        yield from tokenizer.encode_batch_fast(list(values))
        return
    with ThreadPoolExecutor(1) as ahead:  # the tokenizer itself uses every core, and leaves Python free meanwhile
        waiting: deque[Future[list[Any]]] = deque()
        for start in range(0, len(values), CHUNK):
            # transformers' own call makes lists of everything, and notes where each token stands in its text
            waiting.append(ahead.submit(tokenizer.encode_batch_fast, list(values[start : start + CHUNK])))
            if len(waiting) > AHEAD:
                yield from waiting.popleft().result()
        for chunk in waiting:
            yield from chunk.result()


def _row(encoding: Any, keys: Sequence[str], processor: Any) -> dict[str, Any]:
    ids = encoding.ids
    if not ids:  # an empty text, where the tokenizer adds nothing: one token that stands for it
        return {key: [_start(processor) if key == "input_ids" else 0] for key in keys}
    return {key: ids if key == "input_ids" else encoding.type_ids for key in keys}


@contextlib.contextmanager
def _limited(processor: Any, most: int | None) -> Iterator[None]:
    """Let a tokenizer cut what is longer, the longest of a pair first, as long as the block lasts."""
    tokenizer = processor.backend_tokenizer
    tokenizer.enable_truncation(most, strategy="longest_first", direction=processor.truncation_side)
    try:
        yield
    finally:
        tokenizer.no_truncation()


def save(processor: Any, folder: Path, reads: int | None) -> None:
    """Write a tokenizer into a model folder.

    Args:
        reads: tokens that the model is asked with at most.

    Raises:
        ModelError: read back, it gives other ids than it gave in training.
    """
    from septet.model import tokenizer

    if reads:
        processor.model_max_length = reads
    for name in ("local_files_only", "is_local"):  # how it was loaded here, which transformers would write down
        processor.init_kwargs.pop(name, None)
    processor.save_pretrained(str(folder))
    # transformers can rewrite a tokenizer on saving; the ids that trained are the ones that must be served
    probe = ["Hello, world!", "two  spaces", "naïve café – 10 €", "ALL CAPS and 12345", "emoji 🙂 end", ""]
    if processor(probe)["input_ids"] != tokenizer.read(folder)(probe)["input_ids"]:
        raise ModelError("The tokenizer gives other ids after saving than it gave in training.", where=str(folder))


def framing(processor: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    whole, (bare,) = processor("a")["input_ids"], processor(["a"], add_special_tokens=False)["input_ids"]
    before = next((i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare), 0)
    return whole[:before], whole[before + len(bare) :]


def _start(processor: Any) -> int:
    """Return the token that a text begins or ends with."""
    named = (processor.bos_token_id, processor.eos_token_id, processor.pad_token_id)
    return next((token for token in named if token is not None), 0)
