"""Blocks that see each token alike, compiled: feed-forward networks and norms that PyTorch has no kernel of its own for.

Passes over the activations become one, forward and backward; attention and everything with dropout stay as they are, because their
shapes and random numbers change with each micro-batch. Needs a C++ compiler on a CPU; compiling takes about ten seconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from septet.engine.dropout import RowDropout
from septet.report import Finding

# how transformers names them, by the end of a class's name
KINDS = ("MLP", "RMSNorm", "LayerNorm", "DenseActDense", "DenseGatedActDense", "FeedForward")


def compile_blocks(model: Any) -> Finding:
    """Compile a model's blocks in place, at their first call, and say how many; without a compiler none is, and why."""
    try:
        torch.compile(_probe)(torch.ones(8))
    except Exception as error:  # whatever a compiler that is missing or broken says
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return Finding(
            "nothing-compiled", "warning", f"train.compile does nothing here: {why}", "install a C++ compiler (g++)"
        )
    blocks = [m for m in model.modules() if _is_block(m)]
    for block in blocks:
        block.compile(dynamic=True)
    if not blocks:
        return Finding(
            "nothing-compiled",
            "warning",
            "train.compile does nothing here: the model has no feed-forward block or norm without dropout.",
            "train.compile: false",
        )
    return Finding("blocks-compiled", "note", f"{len(blocks)} blocks are compiled at their first call.")


def _is_block(module: nn.Module) -> bool:
    name = type(module).__name__
    drops = any(isinstance(m, (nn.Dropout, RowDropout)) and m.p > 0 for m in module.modules())
    return name.endswith(KINDS) and not isinstance(module, nn.LayerNorm) and not drops


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1
