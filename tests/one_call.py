"""A stand-in of PyTorch's `varlen_attn` in plain PyTorch, so that how it is called can be tested without a GPU; it refuses what the kernel would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

WORDS = frozenset({"window_size", "scale", "enable_gqa"})


def varlen_attn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return (N, heads, D): attention within the rows that end at `cu_seq_q`, computed in fp64."""
    tokens, heads, depth = query.shape
    if cu_seq_q.dtype != torch.int32 or cu_seq_k.dtype != torch.int32 or cu_seq_q.device != query.device:
        raise TypeError("the ends of the rows are int32, on the device of the queries")
    if any(x.stride(-1) != 1 for x in (query, key, value)) or depth % 8 or depth > 256:
        raise ValueError("heads lie in one piece and have a multiple of 8 numbers, 256 at most")
    ends = cu_seq_q.tolist()
    longest = max(b - a for a, b in zip(ends, ends[1:], strict=False))
    if ends[0] != 0 or ends[-1] != tokens or (max_q, max_k) != (longest, longest) or cu_seq_k.tolist() != ends:
        raise ValueError(
            f"rows end at {ends}, the longest has {longest} tokens; got {tokens} tokens and {max_q}, {max_k}"
        )
    if window_size not in ((-1, -1), (-1, 0)):
        raise ValueError(f"no such window is asked for: {window_size}")
    groups = heads // key.shape[1]
    if (groups > 1) != enable_gqa:
        raise ValueError("enable_gqa says whether heads share keys")
    rows = torch.repeat_interleave(torch.arange(len(ends) - 1), torch.tensor(ends).diff())
    seen = rows[:, None] == rows
    if window_size == (-1, 0):
        seen = seen.tril()
    hidden = torch.zeros(tokens, tokens, dtype=torch.float64).masked_fill(~seen, float("-inf")).to(query.device)
    q, k, v = (x.double().transpose(0, 1) for x in (query, key, value))
    k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
    scores = q @ k.transpose(1, 2) * (depth**-0.5 if scale is None else scale) + hidden
    return (scores.softmax(-1) @ v).transpose(0, 1).to(query.dtype)


def of_torch_2_10(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
) -> torch.Tensor:
    """The same with the words of PyTorch 2.10, which knew neither scales nor shared keys."""
    window = (-1, 0 if is_causal else -1)
    return varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=window)


@contextlib.contextmanager
def standing_in(function: Callable[..., Any] = varlen_attn, words: frozenset[str] = WORDS) -> Iterator[list[int]]:
    """Within, Septet calls the stand-in, also in fp32; yields the number of rows of each call."""
    import pytest

    from septet.engine import varlen

    calls: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(len(args[3]) - 1)
        return function(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "_function", lambda: (counted, words))
        patch.setattr(varlen, "HALVES", (*varlen.HALVES, torch.float32))
        yield calls
