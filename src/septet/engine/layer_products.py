"""The products of a model's layers: their sizes as an update meets them, their operations, and how fast this machine does them.

    sizes = Counter()
    hooks = watch(model, sizes)     # until the hooks are removed, sizes are counted
    table, flops, ideal_s = measured(sizes, device, "bf16")

A linear layer is one matrix product forward, one for the gradient of its input and one for that of its weights; a convolution is the same with a row
for each place that it computes, as wide as its kernel over the channels of one group. What no layer does is not counted: attention's products of
scores and values, those of a loss that walks a large vocabulary in tiles (`model/tiled.py`), and what is computed again for the gradient.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from septet.engine.device import DTYPES

# sizes that are measured, and the seconds for all of them
MOST_SIZES, MEASURE_S = 24, 3.0
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution goes over its input.

    Args:
        places: of one input, as (height, width).
        computed: places of one output, all together.
        padding: as PyTorch takes it.
    """

    places: tuple[int, ...]
    computed: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True, slots=True)
class Size:
    """The products of one call of a layer.

    Args:
        rows: that are multiplied; of a convolution the places that it computes, over the whole micro-batch.
        n_in: numbers that each is computed from.
        n_out: numbers that each becomes.
        products: 1 for the forward one, 2 with the gradient of the input or of the weights, 3 with both.
        window: of a convolution.
    """

    rows: int
    n_in: int
    n_out: int
    products: int
    window: Window | None = None

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.n_in * self.n_out * self.products


def watch(model: Any, sizes: Counter[Size]) -> list[Any]:
    """Count the sizes of what a model computes with a gradient from now on; return the hooks that do."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, which keeps its weights the other way round

    def see(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
        # within a backward pass a layer is computed again
        if torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1:
            sizes[_size(module, args[0], output)] += 1

    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, Conv1D, *CONVOLUTIONS))]
    return [m.register_forward_hook(see) for m in layers]


def measured(sizes: Counter[Size], device: torch.device, precision: str) -> tuple[list[dict[str, Any]], float, float]:
    """Return the sizes with their measured rates, those with most operations first; the operations of all; and the seconds that they need.

    Layers of nearly as many rows are measured as one, at their mean.
    """
    alike: dict[tuple[Size, int], list[int]] = {}
    for size, calls in sizes.items():
        kind = alike.setdefault((replace(size, rows=0), round(2 * math.log2(max(1, size.rows)))), [0, 0])
        kind[0] += calls
        kind[1] += calls * size.rows
    means = [
        (replace(size, rows=max(1, round(rows / calls))), calls, rows) for (size, _), (calls, rows) in alike.items()
    ]
    weighed = sorted(
        ((replace(size, rows=rows).flops, calls, size) for size, calls, rows in means), key=lambda each: -each[0]
    )
    table, ideal_s = [], 0.0
    each_s = MEASURE_S / max(1, min(MOST_SIZES, len(weighed)))
    for flops, calls, size in weighed[:MOST_SIZES]:
        rate = best_rate(device, precision, size, seconds=each_s)
        ideal_s += flops / rate
        table.append({**_told(size), "calls": calls, "gflops": round(rate / 1e9, 1)})
    seen = sum(each[0] for each in weighed[:MOST_SIZES])
    whole = sum(each[0] for each in weighed)
    return table, whole, ideal_s * whole / seen if seen else 0.0


def best_rate(device: torch.device, precision: str, size: Size, *, seconds: float) -> float:
    """Return the most operations a second that products of a size reach when they are tried for so long."""
    numbers = torch.Generator().manual_seed(0)  # the global stream belongs to the run

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=numbers).to(device, DTYPES[precision])

    work, flops = (_linear(size, drawn), size.flops) if size.window is None else _convolution(size, size.window, drawn)
    best, until = float("inf"), time.perf_counter() + seconds
    for turn in range(1000):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - began) if turn else best
        if turn > 1 and now > until:
            break
    return flops / best


def _size(module: Any, x: torch.Tensor, output: torch.Tensor) -> Size:
    weight = module.weight
    products = 1 + int(x.requires_grad) + int(weight.requires_grad)
    if not isinstance(module, CONVOLUTIONS):
        n_out = weight.shape[0] if isinstance(module, nn.Linear) else weight.shape[1]
        return Size(x.numel() // x.shape[-1], x.shape[-1], n_out, products)
    n_out, n_in, *kernel = weight.shape
    padding: Any = module.padding
    window = Window(
        places=tuple(x.shape[-len(kernel) :]),
        computed=math.prod(output.shape[-len(kernel) :]),
        kernel=tuple(kernel),
        stride=tuple(module.stride),
        padding=padding if isinstance(padding, str) else tuple(padding),
        dilation=tuple(module.dilation),
        groups=module.groups,
    )
    return Size(output.numel() // n_out, n_in * math.prod(kernel), n_out, products, window)


def _told(size: Size) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": size.rows, "in": size.n_in, "out": size.n_out, "products": size.products}
    if size.window is not None:
        window = size.window
        facts |= {"kernel": list(window.kernel), "stride": list(window.stride), "groups": window.groups}
    return facts


def _linear(size: Size, drawn: Callable[..., torch.Tensor]) -> Callable[[], None]:
    x, w, dy = drawn(size.rows, size.n_in), drawn(size.n_out, size.n_in), drawn(size.rows, size.n_out)
    products: list[Callable[[], Any]] = [lambda: nn.functional.linear(x, w), lambda: dy @ w, lambda: dy.t() @ x]

    @torch.inference_mode()
    def work() -> None:
        for product in products[: size.products]:
            product()

    return work


def _convolution(size: Size, window: Window, drawn: Callable[..., torch.Tensor]) -> tuple[Callable[[], None], float]:
    """Return the work of a convolution over whole inputs, and its operations."""
    inputs = max(1, round(size.rows / window.computed))
    x = drawn(inputs, size.n_in // math.prod(window.kernel) * window.groups, *window.places)
    w = drawn(size.n_out, x.shape[1] // window.groups, *window.kernel)
    # where one gradient is asked for, it is mostly that of the weights: pictures and recordings have none
    w.requires_grad_(size.products > 1)
    x.requires_grad_(size.products > 2)
    by_sides: dict[int, Callable[..., torch.Tensor]] = {
        1: nn.functional.conv1d,
        2: nn.functional.conv2d,
        3: nn.functional.conv3d,
    }
    convolve = partial(
        by_sides[len(window.kernel)],
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=window.groups,
    )
    learning = [each for each in (x, w) if each.requires_grad]
    dy = torch.ones_like(convolve(x, w))

    def work() -> None:
        y = convolve(x, w)
        if learning:
            torch.autograd.grad(y, learning, dy)

    return work, replace(size, rows=inputs * dy[0, 0].numel()).flops
