"""Text, or a pair of texts, to token ids.

A processor is the tokenizer of the model's own folder. Truncation is counted: every encoded value carries the number of tokens cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from septet.errors import DataError

if TYPE_CHECKING:
    import torch

CHUNK = 2048
_KEYS = ("input_ids", "token_type_ids")


class Text:
    """One text a row, or two for a pair.

    Args:
        max_length: tokens kept, special tokens included; None keeps all.
    """

    def __init__(self, max_length: int | None = None):
        self.max_length = max_length

    def processor(self, folder: str) -> Any:
        """Return the tokenizer of a model folder, with no truncation or padding of its own.

        Raises:
            ModelError: the folder has no tokenizer that can be read.
        """
        from pathlib import Path

        from septet.model import tokenizer

        return tokenizer.read(Path(folder))

    def encode(self, values: Sequence[Any], processor: Any) -> list[dict[str, Any]]:
        """Return `input_ids` (and `token_type_ids` where the model wants them) of each value, with `truncated` tokens counted."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(values), CHUNK):
            found += self._encode_chunk(values[start : start + CHUNK], processor)
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

    def parse(self, value: Any, where: str) -> str:
        """Return a served value as text.

        Raises:
            DataError: it is not a string.
        """
        if not isinstance(value, str):
            raise DataError("A text was expected.", where=where, received=value)
        return value

    def _encode_chunk(self, values: Sequence[Any], processor: Any) -> list[dict[str, Any]]:
        pairs = [value if isinstance(value, tuple) else (value,) for value in values]
        columns = list(zip(*pairs, strict=True))
        # verbose would warn of rows beyond the model's limit, which are cut and counted here
        encoded = processor(
            *[list(c) for c in columns], add_special_tokens=True, return_attention_mask=False, verbose=False
        )
        keys = [key for key in _KEYS if key in encoded]
        rows = [{key: encoded[key][i] for key in keys} for i in range(len(values))]
        for i, row in enumerate(rows):
            if not row["input_ids"]:  # an empty text, where the tokenizer adds nothing: one token that stands for it
                row.update({key: [_start(processor) if key == "input_ids" else 0] for key in keys})
            length = len(row["input_ids"])
            if self.max_length is not None and length > self.max_length:
                row.update(self._shortened(pairs[i], processor, keys), truncated=length - self.max_length)
            else:
                row["truncated"] = 0
        return rows

    def _shortened(self, pair: tuple[str, ...], processor: Any, keys: list[str]) -> dict[str, Any]:
        encoded = processor(*pair, truncation="longest_first", max_length=self.max_length, return_attention_mask=False)
        processor.backend_tokenizer.no_truncation()
        return {key: encoded[key] for key in keys}


def framing(processor: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    whole, (bare,) = processor("a")["input_ids"], processor(["a"], add_special_tokens=False)["input_ids"]
    before = next((i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare), 0)
    return whole[:before], whole[before + len(bare) :]


def _start(processor: Any) -> int:
    """Return the token that a text begins or ends with."""
    named = (processor.bos_token_id, processor.eos_token_id, processor.pad_token_id)
    return next((token for token in named if token is not None), 0)
