"""The fp32 truth of every trainable tensor, whatever dtype the model computes in.

Every trainable tensor has one fp32 master. Where the model computes in fp32 the parameter is its own master; where it computes in
bf16 or fp16, gradients are added to the master's as soon as a backward pass has them, and the parameter is rounded from the
master after the update (`one_pass.py` does it all in one pass). An input embedding that shares no weights keeps masters and moments
only for the token rows that the training set holds; no gradient ever reaches the others, so their only change is weight decay, applied in closed form (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from septet.engine import statistics
from septet.engine.parts import Cut, shape_of
from septet.engine.ranks import Ranks
from septet.methods import input_embeddings
from septet.tasks import Example

# before the name of an embedding in a snapshot: the decay that its unused rows still wait for
PENDING = "pending_decay."


def keep(
    kept: dict[str, torch.Tensor], name: str, value: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Copy a tensor into the host's tensor of that name, which is made at first, and return it.

    The same memory is used each time, because the first touch of fresh memory costs more than the copy into it.
    """
    dtype = dtype or value.dtype
    buffer = kept.get(name)
    if buffer is None or buffer.shape != value.shape or buffer.dtype != dtype:
        buffer = kept[name] = torch.empty(value.shape, dtype=dtype, pin_memory=value.is_cuda)
    return buffer.copy_(value)


def used_embedding_rows(model: Any, examples: Sequence[Example], padding: int = 0) -> dict[str, torch.Tensor]:
    """Return the rows of the input embedding that training can touch, where the embedding learns and shares no weights.

    The others get no gradient in any step, so AdamW changes them by weight decay alone, which has a closed form.

    Args:
        padding: the token that fills short rows; its row is looked up too, also where the embedding declares no `padding_idx`.
    """
    embedding: Any = input_embeddings(model)
    if not isinstance(embedding, torch.nn.Embedding) or not embedding.weight.requires_grad:
        return {}
    shared = sum(p is embedding.weight for module in model.modules() for p in module.parameters(recurse=False))
    if shared > 1:
        return {}
    name = next(name for name, p in model.named_parameters() if p is embedding.weight)
    seen = np.unique(np.concatenate([np.asarray(e.inputs["input_ids"]) for e in examples]))
    rows = np.union1d(seen, [padding, padding if embedding.padding_idx is None else embedding.padding_idx]).astype(
        np.int64
    )
    return {name: torch.from_numpy(rows).to(embedding.weight.device)}


class Masters:
    """The fp32 truth of every trainable tensor of a model.

    Args:
        model: with `requires_grad` set by the method.
        used_rows: by parameter name, the sorted (R,) int64 rows of an embedding that training can touch.
        dtype: what the model computes in from now on. The masters are taken from the weights as they are before, and then every
            floating parameter is rounded to it; None leaves the parameters alone.
    """

    # how tensors lie over the processes that a model is divided over (`engine/shard.py`); None: whole on each
    cut: Cut | None = None

    def __init__(
        self, model: nn.Module, used_rows: dict[str, torch.Tensor] | None = None, dtype: torch.dtype | None = None
    ):
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.used_rows = used_rows or {}
        self.tensors: dict[str, torch.Tensor] = {}
        self._decay: dict[str, float] = dict.fromkeys(self.used_rows, 1.0)
        # gradients of masters that are not their parameter: kept, because fresh memory costs more than the copy into it
        self._grads: dict[str, torch.Tensor] = {}
        self._rounded: dict[str, torch.Tensor] = {}
        # with `holds`, gradients in the parameter's dtype for as long as one micro-batch made them
        self.holds = False
        self._held: dict[str, torch.Tensor] = {}
        # all rows of a compact embedding in fp32, where the parameter itself is rounded
        self._whole: dict[str, torch.Tensor] = {}
        # what a batch norm knows of its batches, kept with the masters: a checkpoint without it would be of another model
        self.statistics = statistics.buffers(model)
        exact = statistics.parameters(model)
        for name, p in self.parameters.items():
            self.tensors[name] = self._adopt(name, p, model, p.dtype if dtype is None or name in exact else dtype)
        for name, p in model.named_parameters():
            if dtype is not None and p.is_floating_point() and p.dtype != dtype and name not in exact:
                p.data = p.data.to(dtype)

    def gradient(self, name: str) -> torch.Tensor | None:
        """Return a master's gradient: fp32, or as the backward pass left it where it is held; None where there is none."""
        return self._held.get(name, self.tensors[name].grad)

    def add_up_gradients(self, ranks: Ranks) -> None:
        """Replace each master's gradient by its sum over the ranks, in fp32; a tensor that no rank has a gradient of keeps none."""
        if ranks.world == 1:
            return
        names = list(self.tensors)
        there = ranks.sum([float(self.gradient(name) is not None) for name in names])
        chosen = [name for name, count in zip(names, there, strict=True) if count]
        for name in chosen:
            master = self.tensors[name]
            if name in self._held:
                master.grad = self._grads[name].copy_(self._held.pop(name))
            elif master.grad is None:
                master.grad = self._grads[name].zero_() if name in self._grads else torch.zeros_like(master)
        ranks.add_up([self.tensors[name].grad for name in chosen])  # type: ignore[misc]

    def drop_gradients(self) -> None:
        self._held.clear()
        for master in self.tensors.values():
            master.grad = None

    @contextmanager
    def written(self, name: str) -> Iterator[torch.Tensor]:
        """Yield what the rounded master is to be written to, which then is in the parameter."""
        p = self.parameters[name]
        if name not in self.used_rows:
            yield p.data
            return
        if name not in self._rounded:
            self._rounded[name] = torch.empty_like(self.tensors[name], dtype=p.dtype)
        yield self._rounded[name]
        p.data.index_copy_(0, self.used_rows[name], self._rounded[name])

    def update_parameters(self) -> None:
        """Round the masters into the parameters the model computes with."""
        with torch.no_grad():
            for name in self.used_rows:
                with self.written(name) as rounded:
                    rounded.copy_(self.tensors[name].data)
            apart = [
                name
                for name, p in self.parameters.items()
                if name not in self.used_rows and self.tensors[name] is not p
            ]
            if apart:
                torch._foreach_copy_([self.parameters[n].data for n in apart], [self.tensors[n].data for n in apart])

    def decay_unused(self, name: str, factor: float) -> None:
        """Note one step's weight decay of the rows that have no master."""
        self._decay[name] *= factor

    def settle(self) -> None:
        """Apply the weight decay noted since the last call to the rows that have no master."""
        with torch.no_grad():
            for name, rows in self.used_rows.items():
                if self._decay[name] == 1.0:
                    continue
                p = self.parameters[name]
                unused = torch.ones(len(p), dtype=torch.bool, device=p.device)
                unused[rows] = False
                whole = self._whole.get(name, p.data)
                whole[unused] *= self._decay[name]
                if whole is not p.data:
                    p.data[unused] = whole[unused].to(p.dtype)
                self._decay[name] = 1.0

    def state(self) -> dict[str, torch.Tensor]:
        """Return every trainable tensor whole, in fp32 (an embedding with all its rows), and the statistics of batch norms."""
        self.settle()
        whole = {}
        for name, p in self.parameters.items():
            master = self.tensors[name].detach()
            whole[name] = (
                self._whole.get(name, p.detach()).float().index_copy(0, self.used_rows[name], master)
                if name in self.used_rows
                else master.clone()
            )
        return whole | {name: value.clone() for name, value in self.statistics.items()}

    def snapshot(self, into: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy what `load_state` takes into tensors on the host, and return them.

        Unlike `state` it changes nothing, so that a save at any moment leaves the run's bytes as they would have been: the
        decay noted since the last `settle` is a scalar of its own, applied when it would have been.

        Args:
            into: what an earlier call returned, to be written over, or empty.
        """
        for name, p in self.parameters.items():
            if name in self.used_rows:
                rows = keep(into, name, self._whole.get(name, p.detach()), torch.float32)
                rows.index_copy_(0, self.used_rows[name].cpu(), self.tensors[name].detach().cpu())
                keep(into, PENDING + name, torch.tensor(self._decay[name], dtype=torch.float64))
            else:
                keep(into, name, self.tensors[name].detach())
        for name, value in self.statistics.items():
            keep(into, name, value)
        return into

    def norm_of_all(self, norm: torch.Tensor) -> torch.Tensor:
        """Return the 2-norm of what all processes hold, given that of what this one holds: the same, as each holds everything."""
        return norm

    def own(self, saved: Mapping[str, torch.Tensor], key: str, name: str) -> torch.Tensor:
        """Return what was saved for a parameter's numbers as this run keeps it: of a compact embedding the used rows."""
        rows = self.used_rows.get(name)
        if rows is None or shape_of(saved, key) != tuple(self.parameters[name].shape):
            return saved[key]
        return saved[key][rows.cpu()]

    def release(self) -> None:
        """Give all memory back; nothing can be learned with them afterwards."""
        for held in (self.parameters, self.tensors, self._grads, self._rounded, self._held, self._whole):
            held.clear()

    def load_state(self, whole: Mapping[str, torch.Tensor]) -> None:
        """Take the values that `state` or `snapshot` gave.

        Raises:
            KeyError: a trainable tensor is missing.
        """
        with torch.no_grad():
            for name, p in self.parameters.items():
                value = whole[name].to(p.device)
                if name in self.used_rows:
                    p.data.copy_(value)
                    if name in self._whole:
                        self._whole[name].copy_(value)
                    self.tensors[name].data.copy_(value[self.used_rows[name]])
                    self._decay[name] = float(whole.get(PENDING + name, 1.0))
                else:
                    self.tensors[name].data.copy_(value)
            for name, value in self.statistics.items():
                value.copy_(whole[name])
        self.update_parameters()

    def _adopt(self, name: str, p: nn.Parameter, model: nn.Module, dtype: torch.dtype) -> torch.Tensor:
        if name in self.used_rows:
            if dtype != torch.float32:
                self._whole[name] = p.detach().float().clone()
            rows = self.used_rows[name].to(p.device)
            master = p.detach().float()[rows].clone()
            place = torch.full((len(p),), -1, dtype=torch.int64, device=p.device)
            place[rows] = torch.arange(len(rows), device=p.device)
            model.get_submodule(name.rpartition(".")[0]).sparse = True  # type: ignore[assignment]
            self._grads[name] = torch.zeros_like(master)
            p.register_post_accumulate_grad_hook(lambda q: _add_rows(q, master, self._grads[name], place))
            return master
        if dtype == torch.float32:
            return p
        master = p.detach().float().clone()
        self._grads[name] = torch.empty_like(master)
        p.register_post_accumulate_grad_hook(lambda q: self._add_whole(name, q))
        return master

    def _add_whole(self, name: str, p: torch.Tensor) -> None:
        master, grad = self.tensors[name], p.grad
        p.grad = None
        if master.grad is not None:
            master.grad.add_(grad)  # type: ignore[arg-type]
        elif name in self._held:
            master.grad = self._grads[name].copy_(self._held.pop(name)).add_(grad)  # type: ignore[arg-type]
        elif self.holds:
            self._held[name] = grad  # type: ignore[assignment]
        else:
            master.grad = self._grads[name].copy_(grad)  # type: ignore[arg-type]


def _add_rows(p: torch.Tensor, master: torch.Tensor, kept: torch.Tensor, place: torch.Tensor) -> None:
    grad: torch.Tensor = p.grad  # type: ignore[assignment]
    if master.grad is None:
        master.grad = kept.zero_()
    if grad.is_sparse:
        places, values = place[grad._indices()[0]], grad._values().float()
        if master.is_cuda:  # sorted first: `index_add_` adds in whatever order a GPU comes to it
            master.grad.index_put_((places,), values, accumulate=True)
        else:
            master.grad.index_add_(0, places, values)
    else:
        master.grad.add_(grad[place >= 0])
    p.grad = None
