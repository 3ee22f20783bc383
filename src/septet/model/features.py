"""Vectors of texts: the mean of a backbone's hidden states over a text's tokens.

`Features` embeds texts with an untouched checkpoint, at its last layer: a baseline. `pooled_states` takes a vector for
monitoring from a forward pass that is run anyway, at a third of the depth: fine-tuning pulls the last layers together until all
that a label does not need is gone, and with it what is new in a text (docs/why.md, "Where monitoring looks").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.inputs.text import Text
from septet.methods import layer_list
from septet.model.load import check_folder, resolve, silent
from septet.progress import Listen, quiet

if TYPE_CHECKING:
    import numpy as np
    import torch

TOKENS = 4096


class Pooled:
    """Collects the hidden states of one forward pass and pools them over the real tokens."""

    def __init__(self, mask: torch.Tensor | None):
        self.mask = mask
        self.hidden_BTH: torch.Tensor | None = None

    def vectors(self) -> np.ndarray | None:
        """Return (B, H) float16 means, or None where no pooling was asked for."""
        if self.hidden_BTH is None:
            return None
        import numpy as np

        mask_BT, steps = self.mask, self.hidden_BTH.shape[1]
        if mask_BT is not None and mask_BT.shape[1] != steps:  # of samples, of which many are one step
            mask_BT = mask_BT[:, [i * mask_BT.shape[1] // steps for i in range(steps)]]
        return mean_pool(self.hidden_BTH, mask_BT).cpu().numpy().astype(np.float16)


@contextlib.contextmanager
def pooled_states(model: Any, inputs: dict[str, torch.Tensor], *, wanted: bool) -> Iterator[Pooled]:
    """Catch the hidden states at a third of the backbone's depth in the forward pass run inside the block."""
    pooled = Pooled(inputs.get("attention_mask"))
    if not wanted:
        yield pooled
        return

    def keep(_module: Any, _args: Any, output: Any) -> None:
        if pooled.hidden_BTH is not None:  # a model that writes is called for each token; the first call reads the text
            return
        hidden = getattr(output, "last_hidden_state", output)
        hidden = hidden if hasattr(hidden, "shape") else hidden[0]
        if hidden.dim() == 4:  # (B, channels, height, width) of a picture: its places are its tokens
            hidden = hidden.flatten(2).transpose(1, 2)
        # beams come as copies of their row, side by side
        pooled.hidden_BTH = hidden[:: len(hidden) // len(next(iter(inputs.values())))]

    blocks = layer_list(model)
    place = blocks[max(0, len(blocks) // 3 - 1)][1] if blocks else model.base_model
    handle = place.register_forward_hook(keep)
    try:
        yield pooled
    finally:
        handle.remove()


def mean_pool(hidden_BTH: torch.Tensor, mask_BT: torch.Tensor | None) -> torch.Tensor:
    """Return (B, H) float32 means over the tokens of the mask."""
    hidden_BTH = hidden_BTH.float()
    if mask_BT is None:
        return hidden_BTH.mean(1)
    real_BT1 = mask_BT.to(hidden_BTH)[..., None]
    return (hidden_BTH * real_BT1).sum(1) / real_BT1.sum(1).clamp(min=1)


class Features:
    """An untouched checkpoint as an encoder of texts.

    Args:
        model: `starter`, a folder or a hub id.
        max_length: tokens kept of a text.
        device: where to run; the CPU when None.
    """

    def __init__(self, model: str | Path, *, max_length: int = 128, device: str | None = None):
        import torch
        from transformers import AutoModel

        folder = resolve(str(model))
        check_folder(folder)
        self.device = torch.device(device or "cpu")
        self.input = Text(max_length)
        self.processor = self.input.processor(str(folder))
        with silent():
            self.model = AutoModel.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
            )
        self.model.to(self.device).eval()

    def encode(self, texts: list[Any], listen: Listen = quiet) -> np.ndarray:
        """Return (N, H) float32 vectors in the order of the texts."""
        import numpy as np
        import torch

        encoded = self.input.encode(texts, self.processor)
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]["input_ids"]))
        vectors = np.zeros((len(texts), self.model.config.get_text_config().hidden_size), dtype=np.float32)
        done = 0
        for chunk in by_tokens(order, [len(e["input_ids"]) for e in encoded], TOKENS):
            inputs = self.input.pad(
                [{k: v for k, v in encoded[i].items() if k != "truncated"} for i in chunk], self.processor
            )
            with torch.inference_mode():
                hidden = self.model(**{k: v.to(self.device) for k, v in inputs.items()}).last_hidden_state
            mask = inputs.get("attention_mask")
            vectors[chunk] = mean_pool(hidden, None if mask is None else mask.to(self.device)).cpu().numpy()
            done += len(chunk)
            listen("progress", what="features", done=done, total=len(texts))
        return vectors


def by_tokens(order: list[int], sizes: list[int], budget: int) -> Iterator[list[int]]:
    """Yield runs of `order` (sorted by size) whose padded size stays within the budget; at least one item each."""
    chunk: list[int] = []
    for i in order:
        if chunk and (len(chunk) + 1) * max(sizes[i], sizes[chunk[-1]]) > budget:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
