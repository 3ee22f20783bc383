"""What sees each token alike, compiled: layers of decoders, feed-forward blocks, norms and the loss over a vocabulary.

Passes over the activations become one, forward and backward; attention and everything with dropout stay as they are, because their
shapes and random numbers change with each micro-batch. A decoder's layer without dropout is compiled around its attention, and it and the loss
only while they learn: answers are written with caches and lengths that would each be compiled anew. Needs a C++ compiler on a CPU; compiling
takes ten to thirty seconds.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from septet import cache
from septet.engine.device import Ceiling, flops_per_token
from septet.engine.dropout import RowDropout
from septet.engine.guard import TrainingError
from septet.model.supervised import COMPILED, cross_entropies
from septet.report import Finding

# how transformers names them, by the end of a class's name
BLOCKS = ("MLP", "RMSNorm", "LayerNorm", "DenseActDense", "DenseGatedActDense", "FeedForward")
LAYERS = ("DecoderLayer",)
# where inductor keeps the code it has made
KEEPS = "TORCHINDUCTOR_CACHE_DIR"
# what training that is not compiled reaches of the measured rate of matrix products, and the seconds of it that compiling repays
EAGER_SHARE, REPAYS_S = 0.15, 240


def compile_blocks(model: Any) -> Finding:
    """Compile a model's layers and blocks in place, at their first call, and say how many."""
    plain = [m for m in model.modules() if not _drops(m)]
    layers = _layers(model)
    within = {id(m) for layer in layers for m in layer.modules()}
    blocks = [m for m in plain if type(m).__name__.endswith(BLOCKS) and not isinstance(m, nn.LayerNorm)]
    blocks = [m for m in blocks if id(m) not in within]
    if not layers and not blocks:
        return Finding(
            "nothing-compiled",
            "warning",
            "Nothing of the model is compiled: it has no feed-forward block or norm without dropout.",
            "train.compile: false",
        )
    for layer in layers:
        _compile_while_learning(layer)
    for block in blocks:
        block.compile(dynamic=True)
    loss = ""
    if model.get_output_embeddings() is not None:
        setattr(model, COMPILED, torch.compile(cross_entropies, dynamic=True))
        loss = ", and the loss over a vocabulary"
    return Finding(
        "blocks-compiled",
        "note",
        f"Compiled at their first call: decoder layers {len(layers)}, blocks {len(blocks)}{loss}.",
    )


def unused(why: str) -> Finding:
    """Return what is told where a recipe asks to compile and a compiler is missing."""
    return Finding(
        "nothing-compiled", "warning", f"train.compile does nothing here: {why}", "install a C++ compiler (g++)"
    )


def worth(model: Any, tokens: float, ceiling: Ceiling, precision: str) -> tuple[bool, str]:
    """Return whether compiling repays in a run of so many tokens, and why."""
    if not _layers(model):
        return False, "the model has no decoder layer without dropout, and compiling the rest gains little"
    seconds = flops_per_token(model)[1] * tokens / (EAGER_SHARE * ceiling.rate(precision) * 1e9)
    if seconds < REPAYS_S:
        return False, f"about {seconds:.0f} s of training; compiling takes half a minute"
    if why := no_compiler(_device(model)):
        return False, f"no compiler works here: {why}"
    return True, f"about {seconds / 60:.0f} min of training without; compiling takes half a minute"


def _layers(model: Any) -> list[nn.Module]:
    return [m for m in model.modules() if type(m).__name__.endswith(LAYERS) and not _drops(m)]


def or_plain(eager: Callable[..., Any], what: str, *, must: bool = False) -> Callable[..., Any]:
    """Return a function compiled; where the compiler cannot do it, it computes as it is from then on, with a warning.

    Args:
        must: it may not, because other processes go on with what is compiled.

    Raises:
        TrainingError: where it is called, the compiler cannot do it, and it must.
    """
    compiled = torch.compile(eager, dynamic=True)
    fails = False

    def called(*args: Any, **options: Any) -> Any:
        nonlocal fails
        if not fails:
            try:
                return compiled(*args, **options)
            except TorchDynamoException as error:
                told = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                if must:
                    raise TrainingError(f"{what} cannot be compiled: {told}", hint="train.compile=false") from error
                fails = True
                warnings.warn(f"{what} cannot be compiled and computes as it is: {told}", stacklevel=2)
        return eager(*args, **options)

    return called


def no_compiler(device: str = "cpu") -> str:
    """Return why nothing can be compiled for a device here; empty where it can. What is compiled from then on is kept in the user's cache.

    Args:
        device: a GPU's code is made by Triton, a CPU's by a C++ compiler.
    """
    if KEEPS not in os.environ:
        with contextlib.suppress(OSError):  # a home that cannot be written: PyTorch's own place will do
            cache.folder("compiled").mkdir(parents=True, exist_ok=True)
            os.environ[KEEPS] = str(cache.folder("compiled"))
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:  # whatever a compiler that is missing or broken says
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ""


def _compile_while_learning(layer: nn.Module) -> None:
    """Compile a layer where it learns."""
    eager = layer.forward
    learning = or_plain(eager, "A layer")
    layer.forward = lambda *args, **options: (learning if layer.training else eager)(*args, **options)


def _device(model: Any) -> str:
    return next(model.parameters()).device.type


def _drops(module: nn.Module) -> bool:
    return any(isinstance(m, (nn.Dropout, RowDropout)) and m.p > 0 for m in module.modules())


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1
