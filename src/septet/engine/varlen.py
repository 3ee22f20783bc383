"""Fused attention of rows laid end to end: one kernel for all of them on a GPU, or PyTorch's fused attention once a row.

`torch.nn.attention.varlen.varlen_attn` (PyTorch 2.10 and later) takes the rows' ends and attends within each row in one launch, forward and backward,
where a call a row is a launch a row: of many short rows nothing else. It is used where `lacking` finds nothing against it on this
machine: one small comparison of outputs and gradients with the call a row, before training.

Shapes: N tokens of all rows with the filling, R of them real, D numbers a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache as once
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from septet.engine.unpad import Layout

HALVES = (torch.bfloat16, torch.float16)
# of a head: what the kernel takes
STEP, LARGEST = 8, 256
# of the norm of the exact numbers: what rounding to half precision may change
TOLERANCE = 0.02
LENGTHS, FILLING = [37, 1, 130, 64, 2], 6


def by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scale: float | None, causal: bool
) -> torch.Tensor:
    """Attend within each row by a call of its own.

    Args:
        query: (1, heads, N, D).
        key, value: the same, or with fewer heads, each for a group of the query's.

    Returns:
        (1, N, heads, D), zeros in the filling.
    """
    if (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    filling = query.shape[2] - layout.starts[-1]
    # by `split`, whose gradients are put together once; a slice's would be a tensor of all tokens each
    *each, _ = zip(*(x.split([*layout.lengths, filling], 2) for x in (query, key, value)), strict=True)
    rows = [scaled_dot_product_attention(*qkv, is_causal=causal, scale=scale) for qkv in each]
    rows.append(query.new_zeros(*query.shape[:2], filling, query.shape[3]))
    return torch.cat(rows, 2).transpose(1, 2)


def at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scale: float | None, causal: bool
) -> torch.Tensor:
    """Attend within all rows by one call; takes and gives what `by_row` does, in half precision."""
    filling = query.shape[2] - layout.starts[-1]
    # the kernel leaves what belongs to no row as it finds it in memory, in the gradients too
    tokens = [x.squeeze(0).transpose(0, 1).split([layout.starts[-1], filling])[0] for x in (query, key, value)]
    found = _called(tokens, layout, scale, causal)
    return (pad(found, (0, 0, 0, 0, 0, filling)) if filling else found)[None]


def takes(query: torch.Tensor) -> bool:
    """Whether the kernel is made for such queries."""
    return query.dtype in HALVES and _fits(query.shape[-1])


def lacking(device: torch.device, dtype: torch.dtype, config: dict[str, Any]) -> str:
    """Return why the rows of a run cannot be attended to by one call; empty where they can.

    Args:
        dtype: the model computes in it.
        config: of the model, as its `config.json` has it.
    """
    if device.type != "cuda":
        return "it is for NVIDIA GPUs"
    if dtype not in HALVES:
        return "it is for bf16 and fp16"
    text = config.get("text_config", config)
    heads = next((int(text[n]) for n in ("num_attention_heads", "n_head", "n_heads") if text.get(n)), 0)
    hidden = next((int(text[n]) for n in ("hidden_size", "n_embd", "dim") if text.get(n)), 0)
    depth = int(text.get("head_dim") or (hidden // heads if heads else 0))
    if not depth:
        return "this model's config does not say how its heads are made"
    if not _fits(depth):
        return f"heads of {depth} numbers do not fit: it takes multiples of {STEP} up to {LARGEST}"
    return _differs(device, dtype, heads, int(text.get("num_key_value_heads") or heads), depth)


def _fits(depth: int) -> bool:
    return depth % STEP == 0 and depth <= LARGEST


@once
def _differs(device: torch.device, dtype: torch.dtype, heads: int, pairs: int, depth: int) -> str:
    """Return what is wrong with the kernel on this device: it fails, or its outputs or gradients are not those of a call a row."""
    try:
        for causal in (False, True):
            gap = _gap(device, dtype, heads, pairs, depth, causal)
            if not gap < TOLERANCE:
                return f"compared here with a call a row, it is {gap:.1%} off"
    except Exception as error:  # a PyTorch without it, a GPU it was not built for, whatever a driver says
        told = str(error).strip().splitlines() or [type(error).__name__]
        return f"it fails here ({told[0][:120]})"
    return ""


def _gap(device: torch.device, dtype: torch.dtype, heads: int, pairs: int, depth: int, causal: bool) -> float:
    """Return the largest distance of output and gradients from those of a call a row in fp32, as a share of their norms."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    places = torch.cat([torch.arange(length) for length in LENGTHS])
    layout = Layout(LENGTHS, pad(rows, (0, FILLING)).to(device), pad(places, (0, FILLING)).to(device))
    tokens = len(rows) + FILLING
    given = [torch.randn(1, n, tokens, depth, generator=draws).to(device, dtype) for n in (heads, pairs, pairs)]
    weights = torch.randn(1, tokens, heads, depth, generator=draws).to(device, dtype)

    def computed(attend: Callable[..., torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in given]
        out = attend(*inputs, layout, None, causal)
        return [out.detach(), *torch.autograd.grad(out, inputs, weights.to(dtype))]

    with torch.enable_grad():
        found, exact = computed(at_once, dtype), computed(by_row, torch.float32)
    gaps = [float((a.float() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
    return max(gaps, key=lambda gap: float("inf") if gap != gap else gap)


def _called(tokens: Sequence[torch.Tensor], layout: Layout, scale: float | None, causal: bool) -> torch.Tensor:
    """Call PyTorch's function over (R, heads, D) queries, keys and values; it has learned more words from one version to the next."""
    function, known = _function()
    (query, key, value), longest = tokens, max(layout.lengths)
    options: dict[str, Any] = {}
    if "window_size" in known:
        options["window_size"] = (-1, 0 if causal else -1)
    else:
        options["is_causal"] = causal
    if scale is not None and "scale" in known:
        options["scale"] = scale
    elif scale is not None:
        query = query * (scale * query.shape[-1] ** 0.5)
    if (groups := query.shape[1] // key.shape[1]) > 1:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return function(query, key, value, layout.ends, layout.ends, longest, longest, **options)


@once
def _function() -> tuple[Callable[..., Any], frozenset[str]]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)
