"""Cross-entropy over a large vocabulary without its logits: the vocabulary is walked in tiles, forward and again backward.

Logits of 2,048 places over 150,000 words are 1.2 GB in fp32, and several such lie between a loss and its gradient. Here one tile lives at a
time. Forward, the logarithm of the sum of exponentials is carried from tile to tile; backward, each tile is projected again: one more product
beside three. A tile's rows of the output embedding get their whole gradient by one product, so nothing of it is rounded on the way; the gradient of
the hidden states is summed over the tiles in fp32. It is done for models that do nothing with their logits but add a bias and cap them, which a
probe finds out.

PyTorch's own `linear_cross_entropy` (2.13) goes by chunks of places, is slower on a CPU than the whole, and knows no cap.

Shapes: N places, H hidden, V vocabulary, W words of a tile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

# bytes of fp32 logits up to which they are computed as a whole; a compiled loss over them is faster than tiles
WHOLE, WHOLE_COMPILED = 1 << 27, 1 << 29
# numbers of a tile: on a CPU as many as malloc does not fetch anew from the system each time, elsewhere 128 MiB of fp32
ON_CPU, ELSEWHERE = 1 << 22, 1 << 25
# the attribute of an output embedding that says how its logits are capped: 0 not at all; None where more is done with them
CAP = "_septet_cap"


def settle(model: Any) -> None:
    """Find out by a probe whether a model's logits are what its output embedding gives, capped or as they are; one that does not write has none."""
    find = getattr(model, "get_output_embeddings", None)
    head: Any = None if find is None else find()
    if type(head) is not nn.Linear:
        return
    limit = getattr(model.get_input_embeddings(), "num_embeddings", 1)
    cap = float(getattr(model.config.get_text_config(), "final_logit_softcapping", None) or 0.0)
    ids_BT = torch.arange(12, device=head.weight.device).view(2, 6) % limit
    sides = {"decoder_input_ids": ids_BT} if model.config.is_encoder_decoder else {}
    read: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: read.append(args[0]))
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            logits = model(input_ids=ids_BT, use_cache=False, **sides).logits
            same = len(read) == 1 and _same(_logits(read[0], head.weight, head.bias, cap), logits)
    finally:
        handle.remove()
        model.train(was_training)
    setattr(head, CAP, cap if same else None)


def large(model: Any, places: int, compiled: bool) -> bool:
    """Whether the logits of so many places are too large to be computed as a whole, and need not be.

    Args:
        compiled: whether the loss over them would be compiled.
    """
    head = model.get_output_embeddings()
    # the weights of a divided model are there during its forward pass alone; those of an adapted head are several
    if type(head) is not nn.Linear or type(head.weight) is not nn.Parameter:
        return False
    if 4 * places * head.out_features <= (WHOLE_COMPILED if compiled else WHOLE):
        return False
    if not hasattr(head, CAP) and not model.training:
        settle(model)
    return getattr(head, CAP, None) is not None


def losses_at(
    model: Any, inputs: dict[str, torch.Tensor], places_N: torch.Tensor, goals_N: torch.Tensor
) -> torch.Tensor:
    """Return (N,) float32: the cross-entropy in nats at places of the flattened outputs, 0 where the goal is negative, by one call of the model.

    Args:
        model: its logits are `large`.
        inputs: what it is called with.
        places_N: int64 indices into the flattened places of its outputs.
        goals_N: int64 words.
    """
    head = model.get_output_embeddings()
    read: list[torch.Tensor] = []

    def cut(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_BTH, *rest = args
        read.append(hidden_BTH.flatten(0, -2)[places_N])
        # the model gets the logits of one place, which nobody reads
        return read[0][None, :1], *rest

    handle = head.register_forward_pre_hook(cut)
    try:
        model(**inputs, use_cache=False)
    finally:
        handle.remove()
    return _Losses.apply(read[0], head.weight, head.bias, goals_N, getattr(head, CAP))  # pyright: ignore


class _Losses(torch.autograd.Function):
    """Cross-entropies of (N, H) hidden states projected to (V, H) words, whose capped logits are never there as a whole."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        goals_N: torch.Tensor,
        cap: float,
    ) -> torch.Tensor:
        total_N = torch.full((len(hidden_NH),), -torch.inf, device=hidden_NH.device)
        goal_N = torch.zeros_like(total_N)
        for tile in _tiles(hidden_NH, weight_VH):
            logits_NW = _logits(hidden_NH, weight_VH[tile], None if bias_V is None else bias_V[tile], cap).float()
            rows, words = _goals_in(tile, goals_N)
            goal_N[rows] = logits_NW[rows, words]
            most_N = logits_NW.amax(1)
            sums_N = logits_NW.sub_(most_N[:, None]).exp_().sum(1)
            total_N = torch.logaddexp(total_N, sums_N.log_().add_(most_N))
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, goals_N, total_N)
        ctx.cap = cap
        return (total_N - goal_N).masked_fill(goals_N < 0, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden_NH, weight_VH, bias_V, goals_N, total_N = ctx.saved_tensors
        given_N1 = grads[0].masked_fill(goals_N < 0, 0.0)[:, None]
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        hidden_grad = torch.zeros(hidden_NH.shape, dtype=torch.float32, device=hidden_NH.device) if of_hidden else None
        weight_grad = torch.empty_like(weight_VH) if of_weight else None
        bias_grad = torch.empty_like(bias_V) if of_bias else None
        for tile in _tiles(hidden_NH, weight_VH):
            part_WH = weight_VH[tile]
            logits_NW = _logits(hidden_NH, part_WH, None if bias_V is None else bias_V[tile], ctx.cap).float()
            slope_NW = 1.0 - (logits_NW / ctx.cap).square() if ctx.cap else None
            rows, words = _goals_in(tile, goals_N)
            grad_NW = logits_NW.sub_(total_N[:, None]).exp_()
            grad_NW[rows, words] -= 1.0
            grad_NW *= given_N1
            if slope_NW is not None:
                grad_NW *= slope_NW
            grad_NW = grad_NW.to(hidden_NH.dtype)
            if hidden_grad is not None:
                hidden_grad += grad_NW @ part_WH
            if weight_grad is not None:
                torch.mm(grad_NW.t(), hidden_NH, out=weight_grad[tile])
            if bias_grad is not None:
                torch.sum(grad_NW, 0, out=bias_grad[tile])
        return None if hidden_grad is None else hidden_grad.to(hidden_NH.dtype), weight_grad, bias_grad, None, None


def _tiles(hidden_NH: torch.Tensor, weight_VH: torch.Tensor) -> list[slice]:
    """Return the words of each tile; as many in each, and of few sizes (`model/sizes.py`)."""
    most = (ON_CPU if hidden_NH.device.type == "cpu" else ELSEWHERE) // len(hidden_NH)
    words = max(256, 1 << max(0, most.bit_length() - 1))
    return [slice(a, min(a + words, len(weight_VH))) for a in range(0, len(weight_VH), words)]


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, cap: float) -> torch.Tensor:
    logits = linear(hidden, weight, bias)
    return (logits / cap).tanh() * cap if cap else logits


def _goals_in(tile: slice, goals_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places whose goal is a word of a tile, and which of its words."""
    (rows,) = ((goals_N >= tile.start) & (goals_N < tile.stop)).nonzero(as_tuple=True)
    return rows, goals_N[rows] - tile.start


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    largest = float(theirs.abs().max())
    return 0 < largest < torch.inf and float((ours - theirs).abs().max()) <= 1e-3 * largest
