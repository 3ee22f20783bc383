"""What sees each token alike, compiled: layers of decoders, feed-forward blocks, norms and the loss over a vocabulary.

Passes over the activations become one, forward and backward; attention and everything with dropout stay as they are, because their
shapes and random numbers change with each micro-batch. A decoder's layer without dropout is compiled around its attention, and it and the loss
only while they learn: answers are written with caches and lengths that would each be compiled anew. Needs a C++ compiler on a CPU; compiling
takes ten to thirty seconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from septet.engine.dropout import RowDropout
from septet.model.supervised import COMPILED, cross_entropies
from septet.report import Finding

# how transformers names them, by the end of a class's name
BLOCKS = ("MLP", "RMSNorm", "LayerNorm", "DenseActDense", "DenseGatedActDense", "FeedForward")
LAYERS = ("DecoderLayer",)


def compile_blocks(model: Any) -> Finding:
    """Compile a model's layers and blocks in place, at their first call, and say how many; without a compiler none is, and why."""
    try:
        torch.compile(_probe)(torch.ones(8))
    except Exception as error:  # whatever a compiler that is missing or broken says
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return Finding(
            "nothing-compiled", "warning", f"train.compile does nothing here: {why}", "install a C++ compiler (g++)"
        )
    plain = [m for m in model.modules() if not _drops(m)]
    layers = [m for m in plain if type(m).__name__.endswith(LAYERS)]
    within = {id(m) for layer in layers for m in layer.modules()}
    blocks = [m for m in plain if type(m).__name__.endswith(BLOCKS) and not isinstance(m, nn.LayerNorm)]
    blocks = [m for m in blocks if id(m) not in within]
    if not layers and not blocks:
        return Finding(
            "nothing-compiled",
            "warning",
            "train.compile does nothing here: the model has no feed-forward block or norm without dropout.",
            "train.compile: false",
        )
    for layer in layers:
        _compile_while_learning(layer)
    for block in blocks:
        block.compile(dynamic=True)
    setattr(model, COMPILED, torch.compile(cross_entropies, dynamic=True))
    return Finding(
        "blocks-compiled",
        "note",
        f"Compiled at their first call: decoder layers {len(layers)}, blocks {len(blocks)}, and the loss over a vocabulary.",
    )


def _compile_while_learning(layer: nn.Module) -> None:
    eager = layer.forward
    compiled = torch.compile(eager, dynamic=True)

    def forward(*args: Any, **options: Any) -> Any:
        return (compiled if layer.training else eager)(*args, **options)

    layer.forward = forward


def _drops(module: nn.Module) -> bool:
    return any(isinstance(m, (nn.Dropout, RowDropout)) and m.p > 0 for m in module.modules())


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1
