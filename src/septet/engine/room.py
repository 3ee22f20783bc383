"""Whether a micro-batch has room in memory, told before training from what two small forward passes keep for their gradients.

What is kept grows with the tokens, and with their square where attention keeps its probabilities; two lengths tell it for all. Beside it lie
weights, gradients, masters and moments, which are counted. Where the longest row alone has no room, layers are computed again in the backward pass
(`engine/recompute.py`); a token budget that was derived is halved until a micro-batch has room. It is an estimate, and an update stays the same whatever it
says; memory that runs out all the same halves micro-batches (`engine/guard.py`).

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from septet.engine.machine import memory_limit
from septet.errors import amount

# tokens of the longer of the two passes, if a row has so many
LONG = 64
# of what is kept in fp32, what a model that computes in halves keeps: its norms keep fp32 (64 tokens: a Llama 0.55 and 0.59, a BERT 0.50)
HALVED = 0.6
# bytes of a number that learns: its moments, and its master where the model computes in halves
MOMENTS, MASTER = 8, 4
# of the memory there is: the rest is what a backward pass makes for a moment, and what no count knows of
USABLE = 0.85


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a forward pass keeps for its gradient.

    Args:
        per_token: of one row's tokens.
        per_pair: of each two tokens of a row.
        layers: that can be computed again; 0: none.
        inputs: of a token, what all these layers take; computed again, a layer keeps no more, and one at a time the rest.
    """

    per_token: float
    per_pair: float
    layers: int
    inputs: float

    def of(self, tokens: int, row: int, *, again: bool = False) -> float:
        """Return the bytes of so many tokens.

        Args:
            row: tokens of a row.
            again: layers are computed again.
        """
        whole = tokens * (self.per_token + self.per_pair * row)
        return whole / self.layers + tokens * self.inputs if again else whole


@dataclass(frozen=True, slots=True)
class Fit:
    """What has room.

    Args:
        again: layers are to be computed again.
        why: of that.
        budget: tokens of a micro-batch.
    """

    again: bool
    why: str
    budget: int


def kept(model: Any, longest: int, layers: int, *, halves: bool) -> Kept:
    """Return what a model of tokens keeps, told by two rows of which no gradient is taken.

    Args:
        longest: tokens of the longest row of one side.
        layers: that can be computed again.
        halves: it will compute in bf16 or fp16; now it is in fp32.
    """
    sides = 2 if model.config.is_encoder_decoder else 1
    long = max(1, min(LONG, longest))
    short = max(1, long // 2)
    scale = HALVED if halves else 1.0
    each = [scale * kept_bytes(model, _row(model, tokens)) / (sides * tokens) for tokens in (short, long)]
    per_pair = max(0.0, each[1] - each[0]) / (sides * max(1, long - short))
    per_token = max(0.0, each[0] - per_pair * sides * short)
    width = int(getattr(model.config.get_text_config(), "hidden_size", 0) or 0) * (2 if halves else 4)
    return Kept(per_token, per_pair, layers, layers * width)


def kept_bytes(model: nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    """Return the bytes of all that one forward pass keeps, but for the model's own tensors; nothing is dropped in it."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        # detached: an output that its own node keeps would hold itself, and the model, for ever
        return tensor.detach()

    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad(), saved_tensors_hooks(count, lambda tensor: tensor):
            # held until all is counted: memory that is free again would be counted once for two
            outputs = model(**inputs)
        del outputs
    finally:
        model.train(was_training)
    return sum(found.values())


def fit(keeps: Kept, free: float, *, longest: int, budget: int, derived: bool) -> Fit:
    """Return what has room.

    Args:
        free: bytes for all that is kept.
        longest: tokens of the longest row.
        budget: tokens that a micro-batch may hold.
        derived: the budget may be made smaller.
    """
    usable = USABLE * max(0.0, free)
    alone = keeps.of(longest, longest)
    again = keeps.layers > 0 and alone > usable
    why = f"a row of {longest:,} tokens keeps about {amount(alone)} for its gradient, and about {amount(max(0.0, free))} are free"
    fits = budget
    while derived and fits > longest and keeps.of(fits, longest, again=again) > usable:
        fits = max(longest, fits // 2)
    return Fit(again, why, fits)


def free_bytes(model: nn.Module, device: torch.device, *, halves: bool, processes: int = 1) -> float:
    """Return the bytes that are left for what passes keep, once weights, gradients, masters and moments are there.

    Args:
        device: that the model learns on; weights that are there already are counted once.
        halves: it will compute in bf16 or fp16.
        processes: that all of it is divided over.
    """
    weights = list(model.parameters())
    there = sum(p.nbytes for p in weights if p.device.type == device.type)
    size = 2 if halves else 4
    held = sum(p.numel() * (size + p.requires_grad * (size + MOMENTS + MASTER * halves)) for p in weights)
    return _free(device) + there - held / processes


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]
    memory = psutil.virtual_memory()
    return min(memory.available, memory_limit(memory.total))


def _row(model: Any, tokens: int) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    ids_BT = torch.arange(tokens, device=device)[None] % 7 + 1
    inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids_BT
    return inputs
