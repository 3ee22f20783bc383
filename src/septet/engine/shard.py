"""A model divided over the processes of a run by PyTorch's FSDP2: weights, gradients, fp32 masters and moments, a share each.

The blocks of the model are gathered one at a time, in the dtype it computes in, and given back after they were used; gradients are summed in fp32, and
each process gets its rows of them. What a process keeps is its rows of the fp32 masters, which are FSDP's own sharded parameters, and the moments of
these. A pass of one process is a pass of all: `Planner.in_step` gives each as many micro-batches, and `Ranks.in_step` does the like for validation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from septet.engine import statistics
from septet.engine.masters import PENDING, Masters, keep
from septet.engine.parts import Cut, Share, rows_of, shape_of
from septet.engine.ranks import Ranks, here
from septet.methods import layer_list
from septet.metrics import needs_texts
from septet.recipe import Recipe
from septet.report import Finding


def refusal(model: nn.Module, recipe: Recipe, optimizer: Any) -> Finding | None:
    """Return why a model cannot be divided so that it learns what one process would teach it, or None.

    Args:
        recipe: resolved.
        optimizer: its part.
    """
    train, name = recipe.train, recipe.optimizer.name
    told = None
    if not optimizer.by_number:
        told = f"optimizer {name} looks at whole tensors, of which a process has some rows", "optimizer: adamw or sgd"
    elif train.compile:
        told = "compiled blocks hold whole weights", "train.compile: false"
    elif train.metric is not None and needs_texts(train.metric):
        told = (
            f"the checkpoint is chosen by {train.metric}, for which each process would write texts of its own length",
            "train.metric: loss",
        )
    elif statistics.live(model):
        told = "its batch norms keep statistics beside the weights", "train.shard: false"
    elif getattr(model, "main_input_name", "") == "pixel_values":
        told = "a model that reads pictures was never compared with one process", "train.shard: false"
    elif scalars := [n for n, p in model.named_parameters() if p.dim() == 0]:
        told = f"{scalars[0]} is a single number, which has no rows", ""
    if told is None:
        return None
    return Finding("not-divisible", "blocker", f"train.shard cannot divide this run: {told[0]}.", told[1])


def held_bytes(model: nn.Module, dtype: torch.dtype, moment_bytes: float, *, world: int) -> tuple[int, int]:
    """Return the bytes that each of so many processes would hold of a divided model, and those of its largest part while that learns.

    Args:
        model: whole.
        dtype: what it would compute in.
        moment_bytes: that the optimizer keeps for each number that learns.
    """
    # master and gradient in fp32
    each = {p: 8 + moment_bytes if p.requires_grad else dtype.itemsize for p in model.parameters()}
    inside = [list(block.parameters()) for block in _blocks(model)]
    within = {p for block in inside for p in block}
    parts = [*inside, [p for p in each if p not in within]]
    # gathered weights and their gradients, and these once more in fp32 while they are summed
    largest = max(sum(p.numel() * (2 * dtype.itemsize + 4) for p in part) for part in parts)
    return round(sum(p.numel() * size for p, size in each.items()) / world), largest


def divide(
    model: nn.Module, device: torch.device, dtype: torch.dtype, used_rows: dict[str, torch.Tensor]
) -> ShardedMasters:
    """Divide a model over the processes of the run, and return its masters.

    Args:
        model: whole, in fp32, on the host or the device, with `requires_grad` set by the method.
        device: where it computes; it never holds more of the weights than this process's share and what is gathered.
        dtype: what the model computes in.
        used_rows: of a compact embedding, as a run with whole weights would have them: what such a run saved is read by it.
    """
    for p in model.parameters():
        # what learns stays in fp32: it is its own master
        rounds = not p.requires_grad and p.is_floating_point()
        p.data = p.data.to(dtype if rounds else p.dtype).contiguous()
    mesh = init_device_mesh(device.type, (here().world,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in (*_blocks(model), model):
        # what stays gathered after a pass would not see that weights are moved or loaded
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        # our losses are divided by the weights of the whole group: gradients are summed, never averaged
        module.set_force_sum_reduction_for_comms(True)  # type: ignore[operator]
        module.set_gradient_divide_factor(1.0)  # type: ignore[operator]
    # what is gathered first in inference mode could not learn later
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()
    return ShardedMasters(model, used_rows, here())


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Return the repeated layers of a model, lowest first; those that share a weight with another part stay with the root."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            owners[id(p)] = owners.get(id(p), 0) + 1
    found = []
    for _, block in layer_list(model):
        inside: dict[int, int] = {}
        for module in block.modules():
            for p in module.parameters(recurse=False):
                inside[id(p)] = inside.get(id(p), 0) + 1
        if inside and all(owners[each] == count for each, count in inside.items()):
            found.append(block)
    return found


class ShardedMasters(Masters):
    """The rows of the fp32 masters that this process holds: FSDP's sharded parameters themselves.

    Args:
        model: divided.
        whole_rows: of a compact embedding, in a run that divides nothing.
        ranks: that the model is divided over.
    """

    cut: Cut

    def __init__(self, model: nn.Module, whole_rows: dict[str, torch.Tensor], ranks: Ranks):
        self._whole_rows = whole_rows
        self.ranks = ranks
        super().__init__(model)
        self.cut = Cut(Share(ranks.rank, ranks.world), {name: len(p) for name, p in self.parameters.items()})

    def add_up_gradients(self, ranks: Ranks) -> None:
        """Give each master the gradient that FSDP has summed over the ranks."""
        for name, p in self.parameters.items():
            if p.grad is not None:
                self.tensors[name].grad = p.grad.to_local()  # type: ignore[attr-defined]
                p.grad = None

    def drop_gradients(self) -> None:
        super().drop_gradients()
        for p in self.parameters.values():
            p.grad = None

    def norm_of_all(self, norm: torch.Tensor) -> torch.Tensor:
        """Return the 2-norm over all processes, given that of this one's rows."""
        (total,) = self.ranks.sum([float(norm) ** 2])
        return torch.tensor(math.sqrt(total), dtype=torch.float64)

    def update_parameters(self) -> None:
        """The parameters are the masters."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return every trainable tensor whole, in fp32; all processes must ask."""
        return {name: p.detach().full_tensor() for name, p in self.parameters.items()}  # type: ignore[attr-defined]

    def snapshot(self, into: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy this process's rows into tensors on the host, and return them."""
        for name, master in self.tensors.items():
            keep(into, name, master.detach())
        return into

    def load_state(self, whole: Mapping[str, torch.Tensor]) -> None:
        """Take this process's rows of the values that a run saved, divided or whole.

        Raises:
            KeyError: a trainable tensor is missing.
        """
        with torch.no_grad():
            for name, master in self.tensors.items():
                first, end = self._rows(name)
                master.copy_(rows_of(whole, name, first, end))
                if PENDING + name in whole:
                    unused = torch.ones(self.cut.sizes[name], dtype=torch.bool)
                    unused[self._whole_rows[name].cpu()] = False
                    master[unused[first:end]] *= float(whole[PENDING + name])

    def own(self, saved: Mapping[str, torch.Tensor], key: str, name: str) -> torch.Tensor:
        """Return this process's rows of what was saved for a parameter's numbers; one number for all of them as it is."""
        shape = shape_of(saved, key)
        if not shape:
            return saved[key]
        first, end = self._rows(name)
        whole = tuple(self.parameters[name].shape)
        if shape == whole:
            return rows_of(saved, key, first, end)
        # of a compact embedding: rows that no token reached have nothing yet
        rows = self._whole_rows[name].cpu()
        value = saved[key]
        return value.new_zeros(whole).index_copy_(0, rows, value)[first:end]

    def _rows(self, name: str) -> tuple[int, int]:
        return self.cut.share.rows(self.cut.sizes[name])

    def _adopt(self, name: str, p: nn.Parameter, model: nn.Module, dtype: torch.dtype) -> torch.Tensor:
        return p.detach().to_local()  # type: ignore[attr-defined]
