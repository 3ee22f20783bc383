"""One owner of device, precision and threads: what is there, what it multiplies, and how the model is placed on it.

The precision is chosen from a measurement on this machine at the model's own shapes, never from a list of chips.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from septet.engine.machine import cores
from septet.engine.measured import measured
from septet.launch import launched
from septet.model.placing import roomy
from septet.report import Finding

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# bf16 costs rounding; below this gain it is not worth it
WORTHWHILE = 1.3
# rows of the product that is timed: on a GPU, fewer are launches and little else
TOKENS, TOKENS_OF_GPU = 1024, 8192
# how often each precision is timed at most, and the seconds after which it is not timed again
TURNS, ENOUGH_S = 5, 1.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Measured matrix-product rates in GFLOP/s, at (tokens x hidden) @ (hidden x inner); `told` says when."""

    device: str
    threads: int
    tokens: int
    hidden: int
    inner: int
    fp32: float
    bf16: float
    fp16: float | None = None
    told: str = "measured now"

    def rate(self, precision: str) -> float:
        """Return the rate of a precision in GFLOP/s."""
        return {"fp32": self.fp32, "bf16": self.bf16, "fp16": self.fp16 or self.bf16}[precision]

    def to_json(self) -> dict[str, Any]:
        return {name: round(v, 1) if isinstance(v, float) else v for name, v in asdict(self).items()}


def crowded(threads: int | None) -> Finding | None:
    """Return what is told where a recipe asks for more threads than this process may use cores."""
    if threads is None or threads <= cores():
        return None
    message = f"train.threads is {threads:,} and this process may use {cores():,} cores: threads wait for one another."
    return Finding("threads-waiting", "warning", message, f"train.threads={cores()}, or leave it out")


def choose_device(wanted: str | None) -> torch.device:
    """Return the device asked for, or the best one there is.

    Raises:
        UsageError: the device asked for is not there, or there are more processes than GPUs.
    """
    from septet.errors import UsageError

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted is None:
        wanted = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[wanted]:
        raise UsageError(
            f"train.device is {wanted}, and this machine has none that PyTorch can use.", hint="train.device=cpu"
        )
    if wanted == "cuda":  # read at the first matrix product: sums of products come in one order then (`repeatable`)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    launch = launched()
    if launch.world > 1 and wanted == "mps":
        raise UsageError("Several processes cannot share an MPS device.", hint="train.device=cpu, or one process")
    if launch.world > 1 and wanted == "cuda":
        if launch.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"There are more processes on this machine than its {torch.cuda.device_count()} GPUs.",
                hint=f"torchrun --nproc-per-node {torch.cuda.device_count()}, or train.device=cpu",
            )
        torch.cuda.set_device(launch.local_rank)
    return torch.device(wanted)


@contextmanager
def repeatable(wanted: str | None) -> Iterator[None]:
    """Let a GPU compute within what it computed before from the same numbers: its sums come in one order, where PyTorch has such a kernel.

    Args:
        wanted: device of the recipe; None: the best one there is.
    """
    if wanted in ("cpu", "mps") or not torch.cuda.is_available():
        yield
        return
    settings: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")
    settings.fill_uninitialized_memory = False  # it finds defects, and takes a pass over each new tensor
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        settings.fill_uninitialized_memory = before[1]


def with_room(device: torch.device, model_bytes: int) -> str:
    """Return the device, or the CPU where it has no room for a whole model, of which it may have held a share so far."""
    return str(device) if device.type != "cuda" or roomy(model_bytes) else "cpu"


def ceiling(device: torch.device, hidden: int, inner: int) -> Ceiling:
    """Return this machine's matrix-product rates at a model's widths, from the cache where they are known."""

    def rates() -> dict[str, float]:
        taken = measure_ceiling(device, hidden, inner)
        return {name: rate for name in DTYPES if (rate := getattr(taken, name)) is not None}

    tokens = _tokens(device)
    found = measured("products", {"device": device.type, "tokens": tokens, "hidden": hidden, "inner": inner}, rates)
    return Ceiling(device.type, torch.get_num_threads(), tokens, hidden, inner, **found.figures, told=found.told)


def measure_ceiling(device: torch.device, hidden: int, inner: int, tokens: int | None = None) -> Ceiling:
    """Time the matrix product of one feed-forward layer in each precision; takes tenths of a second.

    The precisions take turns, and the best of each counts: other processes slow a machine for a while, not its best moment.
    """
    tokens = tokens or _tokens(device)
    names = ("fp32", "bf16") + (("fp16",) if device.type == "cuda" else ())
    rates = dict.fromkeys(names, 0.0)
    began = time.perf_counter()
    for turn in range(TURNS):
        if turn and time.perf_counter() - began > ENOUGH_S:
            break
        for name in names:
            rates[name] = max(rates[name], _rate(device, DTYPES[name], tokens, hidden, inner))
    return Ceiling(device.type, torch.get_num_threads(), tokens, hidden, inner, **rates)


def choose_precision(ceiling: Ceiling) -> tuple[str, str]:
    """Return the precision and the reason for it."""
    ratio = ceiling.bf16 / ceiling.fp32
    measured = f"measured: bf16 {ceiling.bf16:.0f}, fp32 {ceiling.fp32:.0f} GFLOP/s"
    if ratio >= WORTHWHILE:
        return "bf16", f"this {ceiling.device.upper()} multiplies bf16 {ratio:.1f} times as fast as fp32 ({measured})"
    return "fp32", f"bf16 is {ratio:.1f} times the speed of fp32 on this {ceiling.device.upper()} ({measured})"


def flops_per_token(model: Any, unused: Iterable[nn.Module] = ()) -> tuple[float, float]:
    """Return the matrix-product operations a token costs: forward, and forward with backward.

    Each weight matrix costs 2 operations a token forward, 2 for the gradient of its input and 2 for its own where it learns; the gradient of
    an input is needed only above the lowest learning part, which is taken as all or nothing here. Embedding look-ups cost none.

    Args:
        unused: modules of the model that are not run.
    """
    left_out = set(unused)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in left_out]
    matrices = [(m.weight.numel(), m.weight.requires_grad) for m in linear]
    forward = 2.0 * sum(size for size, _ in matrices)
    own = 2.0 * sum(size for size, learns in matrices if learns)
    lowest = any(p.requires_grad for p in model.get_input_embeddings().parameters()) or any(
        learns for _, learns in matrices[:1]
    )
    through = forward if lowest else 2.0 * sum(size for size, _ in matrices[_first_learning(matrices) :])
    return forward, forward + own + through


def _first_learning(matrices: list[tuple[int, bool]]) -> int:
    return next((i for i, (_, learns) in enumerate(matrices) if learns), len(matrices))


def _tokens(device: torch.device) -> int:
    return TOKENS_OF_GPU if device.type == "cuda" else TOKENS


def _rate(device: torch.device, dtype: torch.dtype, tokens: int, hidden: int, inner: int) -> float:
    a = torch.randn(tokens, hidden, device=device).to(dtype)
    b = torch.randn(inner, hidden, device=device).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for i in range(6):
            began = time.perf_counter()
            torch.nn.functional.linear(a, b)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if i:
                best = min(best, time.perf_counter() - began)
    return 2.0 * tokens * hidden * inner / best / 1e9
