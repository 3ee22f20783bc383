"""Which attention is faster on this machine for the rows of a run, measured: eager by hand, or PyTorch's fused kernel.

One layer's attention is timed, forward and backward, over rows as long as those of a usual micro-batch of the run. Fused attention is
chosen where nothing is lost by it, and where it is faster by more than a measurement errs, so that the same run does not choose
otherwise tomorrow; a run that goes on reads what was chosen from its recipe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from septet.engine.attention import attention, caps_scores, fused
from septet.engine.dropout import AttentionSite, DropoutClock
from septet.engine.measured import measured
from septet.engine.unpad import Layout
from septet.model.sizes import filled

# up to here attention is a small part of a layer's work, whichever it is
SHORT = 128
# eager attention stays where fused attention is not faster by more than this
CLEARLY = 1.1
# rows that are timed hold at most so many tokens, each at most so many; and so many scores over all heads, or one head for each thread
TOKENS, LONGEST, SCORES = 1024, 2048, 1 << 22
# turns of each, and the seconds after which two are enough
TURNS, ENOUGH_S = 5, 0.15


def choose(
    model: Any, lengths: Sequence[int], *, dtype: torch.dtype, budget: int, laid: bool, native: bool = False
) -> tuple[str, str]:
    """Return `eager` or `sdpa`, and why.

    Args:
        model: with the sites of its dropout.
        lengths: tokens of each training row.
        dtype: the model computes in it.
        budget: tokens of a micro-batch.
        laid: whether its rows are laid end to end.
        native: whether our own kernels compute what they can, which is eager attention within short rows.
    """
    if _drops(model.config):
        return "eager", "it drops attention's probabilities by row, and fused attention cannot"
    if caps_scores(model.config):
        return "eager", "the model caps its scores, and fused attention cannot"
    if max(lengths) <= SHORT:
        return "eager", f"rows of at most {SHORT} tokens: attention is a small part of the work"
    text = model.config.get_text_config()
    heads = int(getattr(text, "num_attention_heads", 0) or 0)
    if not laid or not heads:
        return (
            "eager",
            "the rows of this model are not laid end to end, and fused attention is timed for such rows alone",
        )
    depth = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    causal = any(getattr(m, "is_causal", False) for m in model.modules() if hasattr(m, "_septet_site"))
    rows = typical(lengths, budget)
    heads = min(heads, max(torch.get_num_threads(), SCORES // sum(length**2 for length in rows)))
    facts = {"rows": rows, "heads": heads, "depth": depth, "dtype": str(dtype), "causal": causal, "native": native}
    took = partial(times, rows, heads, depth, dtype=dtype, causal=causal, native=native)
    found = measured("attention", facts, took, better=min)
    return faster(found.figures, f"{len(rows)} rows of {min(rows)} to {max(rows)} tokens, {heads} heads; {found.told}")


def faster(times_ms: dict[str, float], told: str) -> tuple[str, str]:
    """Return what the times say.

    Args:
        times_ms: of `eager` and `sdpa`.
        told: of what, and when it was measured.
    """
    eager, sdpa = times_ms["eager"], times_ms["sdpa"]
    figures = f"a layer's attention takes {eager:.1f} ms eager, {sdpa:.1f} ms fused ({told})"
    if eager > CLEARLY * sdpa:
        return "sdpa", f"{eager / sdpa:.1f} times as fast: {figures}"
    return "eager", figures if sdpa > eager else f"fused attention is hardly faster: {figures}"


def typical(lengths: Sequence[int], budget: int) -> list[int]:
    """Return the rows that are timed: a micro-batch of the lengths that lie in the middle of equal shares of all."""
    count = max(1, int(min(budget, TOKENS) / np.mean(lengths)))
    middles = np.quantile(lengths, (np.arange(count) + 0.5) / count, method="nearest")
    return [min(LONGEST, filled(int(length), 4)) for length in middles]


def times(
    rows: Sequence[int], heads: int, depth: int, *, dtype: torch.dtype, causal: bool, native: bool = False
) -> dict[str, float]:
    """Return the milliseconds that each attention takes, forward and backward, of this many heads over rows laid end to end; they take turns."""
    rows_N = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
    clock = DropoutClock(0)
    module: Any = SimpleNamespace(training=True, is_causal=causal, _septet_site=AttentionSite(clock))
    clock.native = native
    clock.set(list(range(len(rows))), 0)
    draws = torch.Generator().manual_seed(0)

    def drawn() -> torch.Tensor:
        return torch.randn(1, len(rows_N), heads, depth, generator=draws).to(dtype)

    q, k, v = (drawn().transpose(1, 2).requires_grad_() for _ in range(3))
    given = drawn()
    found = {"eager": float("inf"), "sdpa": float("inf")}
    ways: dict[str, Any] = {"eager": attention, "sdpa": fused}
    began = time.perf_counter()
    with clock.layout(Layout(list(rows), rows_N, torch.cat([torch.arange(length) for length in rows]))):
        for turn in range(TURNS):
            if turn > 1 and time.perf_counter() - began > ENOUGH_S:
                break
            for name, attend in ways.items():
                start = time.perf_counter()
                attend(module, q, k, v, None)[0].backward(given)
                found[name] = min(found[name], 1000 * (time.perf_counter() - start))
    return found


def _drops(config: Any) -> bool:
    """Whether attention's probabilities are dropped in training; a model without a rate of its own for them takes the one it has."""
    rates = {
        name: value
        for name, value in config.to_dict().items()
        if "drop" in name and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return any([rate for name, rate in rates.items() if "att" in name] or rates.values())
