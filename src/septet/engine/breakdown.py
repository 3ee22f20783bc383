"""Where the time of an update goes: by part, by operator, and as a share of what the machine's matrix products allow.

    breakdown = Breakdown(setup.model, timer, updates=100, precision="fp32", compiled=False)
    for step in steps:
        breakdown.after(step)
    breakdown.facts()

Parts are timed at every update, by the timer. Operators are traced over a few updates only, because tracing is slow: the update before them is looked at
for the sizes of its layers' products (`layer_products.py`), and all of these are left out of the times by part. The ceiling is then measured for these
sizes. Where layers are compiled their sizes cannot be seen: products are not counted then, and no share is told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from septet.engine.dropout import RowDropout
from septet.engine.layer_products import Size, measured, watch
from septet.engine.loop import Step
from septet.engine.timing import STEP_PARTS, Timer

# updates that warm up before the window, and updates that are traced
WARM_STEPS, TRACED_STEPS = 5, 3
DROPOUT = "septet::dropout"
# what an operator's time counts as, by the end of its name; the first that fits
GROUPS = {
    "matrix products": ("::mm", "::addmm", "::linear", "::matmul", "_linear", "_addmm_activation", "linear_pointwise"),
    "convolutions": ("convolution", "::conv1d", "::conv2d", "::conv3d", "conv2d_forward", "_conv_depthwise2d"),
    "loss": ("log_softmax", "_log_softmax_backward_data", "nll_loss", "nll_loss_forward", "cross_entropy"),
    "attention": (
        "bmm",
        "softmax",
        "_softmax_backward_data",
        "attention",
        "attention_forward",
        "varlen_attn",
        "_for_cpu",
    ),
    "norms and activations": ("norm", "gelu", "silu", "relu", "tanh", "sigmoid", "rsqrt", "::mean", "::pow"),
    "dropout": ("dropout", "bitwise_xor", "__xor__"),
    "copies and look-ups": (
        *(
            "copy",
            "_to_copy",
            "clone",
            "contiguous",
            "::cat",
            "index",
            "gather",
            "scatter",
            "embedding",
            "fill",
            "zero",
        ),
        *("zeros", "empty", "empty_like", "index_select", "index_add", "index_copy", "embedding_dense"),
    ),
}
# functions of ours, forward and backward, whose time counts as one thing
FUNCTIONS = {"_Unpadded": "attention", "Attention": "attention", "_Norm": "norms and activations"}
REST = "other operators"
OUTSIDE = "outside operators"  # Python, and waiting


class Breakdown:
    """What a profiled run's updates spent their time on.

    Args:
        model: that learns.
        timer: told of the parts of each update.
        updates: still to come.
        precision: that the model computes in.
        compiled: whether layers are compiled.
    """

    def __init__(self, model: Any, timer: Timer, *, updates: int, precision: str, compiled: bool = False):
        self.model = model
        self.timer = timer
        self.precision = precision
        self.compiled = compiled
        self.device = next(model.parameters()).device
        self.warm = min(WARM_STEPS, max(0, updates - TRACED_STEPS - 1))
        self.traced = max(0, min(TRACED_STEPS, updates - self.warm - 1))
        self.window: list[int] = []
        self.operators: list[dict[str, Any]] = []
        self._steps: list[dict[str, float]] = []
        self._before: dict[str, float] = {}
        self._sizes: Counter[Size] = Counter()
        self._hooks: list[Any] = []
        self._profiler: Any = None
        self._seen = 0
        if self.device.type == "cuda":
            timer.sync = torch.cuda.synchronize
        if self.warm == 0:
            self._watch_sizes()

    def after(self, step: Step) -> None:
        """Note an update that is done, and open or close the window behind it."""
        self._seen += 1
        spent = self.timer.settle()
        parts = {part: spent.get(part, 0.0) - self._before.get(part, 0.0) for part in STEP_PARTS}
        if self._seen == self.warm + 1:
            self._unwatch()
            if self.traced:
                self._trace()
        elif self.warm + 1 < self._seen <= self.warm + 1 + self.traced:
            self.window.append(step.step)
            if self._seen == self.warm + 1 + self.traced:
                self._traced()
        elif self._seen > self.warm:
            self._steps.append({**parts, "seconds": step.seconds, "tokens": step.tokens})
        if self._seen == self.warm:
            self._watch_sizes()
        self._before = self.timer.settle()

    def close(self) -> None:
        """Close what a run that ends early left open."""
        self._unwatch()
        if self._profiler is not None:
            self._traced()

    def facts(self, *, tokens_per_s: float, step_s: float) -> dict[str, Any]:
        """Return what was found; the ceiling is measured now.

        Args:
            tokens_per_s: of the whole run.
            step_s: mean seconds of an update, for a run too short to have any outside the window.
        """
        self.close()
        step_s = float(np.mean([each["seconds"] for each in self._steps])) if self._steps else step_s
        products, flops, ideal_s = measured(self._sizes, self.device, self.precision)
        return {
            "format": 1,
            "device": self.device.type,
            "synchronised": self.timer.sync is not None or self.device.type == "cpu",
            "counted_steps": len(self._steps),
            "step_ms": round(1000 * step_s, 3),
            "parts": {part: self._spread(part) for part in STEP_PARTS} if self._steps else {},
            "window": self.window,
            "operators": self.operators,
            "precision": self.precision,
            "products": products,
            "flops_per_step": None if self.compiled else round(flops),
            "ceiling_gflops": round(flops / ideal_s / 1e9, 1) if ideal_s else None,
            "reached_gflops": None if self.compiled else round(flops / step_s / 1e9, 1),
            "ceiling_share": None if self.compiled else round(ideal_s / step_s, 4),
            "tokens_per_s": tokens_per_s,
        }

    # ---- private ----

    def _spread(self, part: str) -> dict[str, float]:
        ms = np.array([1000 * each[part] for each in self._steps])
        whole = sum(each["seconds"] for each in self._steps)
        low, middle, high = np.quantile(ms, (0.1, 0.5, 0.9)).tolist()
        return {
            "mean_ms": round(float(ms.mean()), 3),
            "p10_ms": round(low, 3),
            "p50_ms": round(middle, 3),
            "p90_ms": round(high, 3),
            "share": round(float(ms.sum()) / 1000 / whole, 4),
        }

    def _watch_sizes(self) -> None:
        if not self.compiled:
            self._hooks = watch(self.model, self._sizes)

    def _unwatch(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _trace(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._hooks = _scopes(self.model)
        self.timer.scope = torch.profiler.record_function
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()
        self._began = time.perf_counter()

    def _traced(self) -> None:
        seconds = time.perf_counter() - self._began
        self._profiler.stop()
        self.timer.scope = None
        self._unwatch()
        if self.window:
            self.operators = by_group(
                self._profiler.events(), seconds, len(self.window), cuda=self.device.type == "cuda"
            )
        self._profiler = None


def by_group(events: Sequence[Any], seconds: float, steps: int, *, cuda: bool = False) -> list[dict[str, Any]]:
    """Return milliseconds an update of each group of operators, the longest first, and what passed outside of them.

    Args:
        events: of torch.profiler.
        seconds: that all updates of the window took.
        steps: updates of the window.
        cuda: count the accelerator's time.
    """
    spent: dict[str, float] = {}
    calls: Counter[str] = Counter()
    for event in events:
        us = event.self_device_time_total if cuda else event.self_cpu_time_total
        # a GPU's kernels are events of their own, too: their time is counted where they were launched
        if us <= 0 or event.name in (*STEP_PARTS, DROPOUT) or event.device_type.name != "CPU":
            continue
        name = group_of(event)
        spent[name] = spent.get(name, 0.0) + us
        calls[name] += 1
    spent[OUTSIDE] = max(0.0, 1e6 * seconds - sum(spent.values()))
    return [
        {
            "name": name,
            "ms": round(us / 1000 / steps, 3),
            "share": round(us / 1e6 / seconds, 4),
            "calls": round(calls[name] / steps, 1),
        }
        for name, us in sorted(spent.items(), key=lambda item: -item[1])
    ]


def group_of(event: Any) -> str:
    """Return what an operator counts as: by where it was called, else by its name."""
    above = event
    while above is not None:
        if above.name == "optimizer":
            return "optimizer"
        if above.name == DROPOUT:
            return "dropout"
        if (function := above.name.removesuffix("Backward")) in FUNCTIONS:
            return FUNCTIONS[function]
        above = above.cpu_parent
    name = event.name.removesuffix("_backward").removesuffix("_")
    if "cpp_fused" in name or "triton" in name or "ompiled" in name:
        return "compiled blocks"
    return next(
        (group for group, ends in GROUPS.items() if f"::{name}".endswith(ends) or event.name.endswith(ends)), REST
    )


def _scopes(model: Any) -> list[Any]:
    """Open a scope around each dropout of a model; return the hooks."""
    hooks = []
    for module in model.modules():
        if isinstance(module, (RowDropout, nn.Dropout)):
            scope = torch.profiler.record_function(DROPOUT)
            hooks.append(module.register_forward_pre_hook(partial(_enter, scope)))
            hooks.append(module.register_forward_hook(partial(_leave, scope)))
    return hooks


def _enter(scope: Any, *_call: Any) -> None:
    scope.__enter__()


def _leave(scope: Any, *_call: Any) -> None:
    scope.__exit__(None, None, None)
