"""Parts of a model that compute by our own kernels (`engine/native`) while they learn in bf16 on a CPU; what they compute stays the same.

Replaced is, module by module and only where a probe gives the same, the block of BERT and its kin that adds dropout of a projection to a residual and
norms the sum. Attention over rows laid end to end looks at `DropoutClock.native`, AdamW at what `hasten.py` says. Everything else, and every pass that
does not learn, computes as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache as once
from typing import Any

import torch
from torch import nn

from septet.engine import native
from septet.engine.dropout import AttentionSite, DropoutClock, RowDropout
from septet.engine.unpad import Layout
from septet.report import Finding

# operations of a run that repay some seconds of compiling: a minute of a small encoder
REPAYS = 2e12
TILE = 32
# longer rows, whole or causal, are attended to by PyTorch: a thread keeps all scores of a row of one head
LONGEST, LONGEST_CAUSAL = 512, 1024


def worth(flops: float, device: torch.device, precision: str, *, divided: bool = False) -> tuple[bool, str]:
    """Return whether the kernels are used in a run of so many operations, and why."""
    if device.type == "cpu" and precision == "bf16" and flops < REPAYS:
        return False, "the run is over before they are compiled"
    if why := unfit(device, precision, divided=divided):
        return False, why
    return True, "fewer passes over memory, attention within rows included"


def unfit(device: torch.device, precision: str, *, divided: bool = False) -> str:
    """Return why the kernels cannot be used; empty where they can. They are compiled for it."""
    if device.type != "cpu" or precision != "bf16":
        return "they are of bf16 on a CPU"
    if divided:
        return "the model is divided (train.shard)"
    return native.lacking() or ("" if _agree() else "as compiled here, they give other numbers than PyTorch")


def unused(why: str) -> Finding:
    """Return what is told where a recipe asks for the kernels and they cannot be used."""
    return Finding(
        "kernels-unused",
        "warning",
        f"train.kernels does nothing here: {why}.",
        "install a C++ compiler (g++), or train.kernels: false" if "g++" in why else "train.kernels: false",
    )


@once
def _agree() -> bool:
    """Whether the kernels give what PyTorch gives, for a few numbers: another compiler may have made something else of them."""
    from septet.engine.attention import _Unpadded

    draws = torch.Generator().manual_seed(0)
    lengths = [37, 20, 7]
    rows = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    places = torch.cat([torch.arange(length) for length in lengths])
    clock = DropoutClock(0)
    layout, site, place = Layout(lengths, rows, places), AttentionSite(clock), clock.place()
    clock.set([1, 2, 3], 0)
    words, rest = clock.words(37 * TILE, "cpu"), (layout, site, 0.2, 0.2, False)  # pyright: ignore[reportArgumentType]

    def norm(x: torch.Tensor, beside: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return _Norm.apply(x, beside, rows, places, clock.keys_SB[place], words, 0.2, weight, bias, 1e-5)  # pyright: ignore[reportReturnType]

    def plain_norm(x: torch.Tensor, beside: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        with clock.layout(layout):
            dropped = clock.drop(x[None], place, 0.2)[0]
        return nn.functional.layer_norm(dropped + beside, (TILE,), weight, bias)

    pairs: list[tuple[Any, Any, list[tuple[int, ...]]]] = [
        (norm, plain_norm, [(64, TILE), (64, TILE), (TILE,), (TILE,)]),
        (lambda *x: Attention.apply(*x, *rest), lambda *x: _Unpadded.apply(*x, *rest), [(64, 2, TILE)] * 3),
    ]
    for ours, torchs, shapes in pairs:
        given = [torch.randn(shape, generator=draws).bfloat16() for shape in shapes]
        found, exact = _with_gradients(ours, given), _with_gradients(torchs, [x.float() for x in given])
        if any((a - b).norm() > 0.02 * b.norm() for a, b in zip(found, exact, strict=True)):
            return False
    return True


def _with_gradients(function: Any, given: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.enable_grad():
        inputs = [x.clone().requires_grad_() for x in given]
        out = function(*inputs)
        out.backward(torch.linspace(-1, 1, out.numel()).bfloat16().view(out.shape).to(out.dtype))
    return [out.detach().float(), *(x.grad.float() for x in inputs if x.grad is not None)]


def install(model: nn.Module, clock: DropoutClock) -> int:
    """Let the parts of a model that learn use the kernels, and return how many do.

    Args:
        model: in fp32, before it is rounded; what torch.compile has taken is left alone.
    """
    clock.native = True
    compiled = [m for m in model.modules() if "forward" in vars(m) or getattr(m, "_compiled_call_impl", None)]
    taken = {id(m) for each in compiled for m in each.modules()}
    done = 0
    for module in model.modules():
        if id(module) in taken:
            continue
        forward = _of_norm(module, clock)
        if forward is not None:
            module.forward = forward
            done += 1
    return done


def _of_norm(module: nn.Module, clock: DropoutClock) -> Callable[..., torch.Tensor] | None:
    dense, drop, norm = (getattr(module, name, None) for name in ("dense", "dropout", "LayerNorm"))
    if not isinstance(drop, RowDropout) or not isinstance(norm, nn.LayerNorm) or not isinstance(dense, nn.Module):
        return None
    width = norm.normalized_shape[0]
    if len(norm.normalized_shape) != 1 or width % 16 or norm.weight is None or norm.bias is None or drop.shared:
        return None
    plain = module.forward
    if not _norms(module, dense, norm):
        return None

    def forward(hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        places = _places(clock, input_tensor) if _learns(module, input_tensor) else None
        if places is None:
            return plain(hidden_states, input_tensor)
        keys = clock.keys_SB[drop.site]
        words = clock.words((int(places[2]) + 1) * width, input_tensor.device)
        x = dense(hidden_states)
        if not x.dtype == input_tensor.dtype == norm.weight.dtype == norm.bias.dtype:
            return norm(drop(x) + input_tensor)
        rest = (*places[:2], keys, words, float(drop.p), norm.weight, norm.bias, norm.eps)
        return _Norm.apply(x, input_tensor, *rest)  # pyright: ignore[reportReturnType]

    return forward


def _norms(module: nn.Module, dense: nn.Module, norm: nn.LayerNorm) -> bool:
    """Whether the block does what we do in its place."""
    wide = getattr(dense, "in_features", None)
    if not isinstance(wide, int):
        return False
    device, dtype = norm.weight.device, norm.weight.dtype
    probe = torch.linspace(-1, 1, 2 * wide, device=device, dtype=dtype).view(1, 2, wide)
    beside = torch.linspace(1, -2, 2 * norm.normalized_shape[0], device=device, dtype=dtype).view(1, 2, -1)
    was = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            found = module.forward(probe, beside)  # without hooks: one may cut it to the first token
            return found.shape == beside.shape and torch.allclose(found, norm(dense(probe) + beside), atol=1e-5)
    except Exception:  # a block of another kind, which takes other things
        return False
    finally:
        for each, training in was:
            each.training = training


def _places(clock: DropoutClock, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Return the row and the place of each token of (1, N, H) or (B, T, H), and the last place; None where it is neither."""
    layout, rows = clock.unpadded, clock.keys_SB.shape[1]
    if layout is not None and x.shape[:-1] == (1, len(layout.rows_N)):
        return layout.rows_N, layout.places_N, max(layout.lengths) - 1
    if x.dim() != 3 or x.shape[0] != rows:
        return None
    tokens = x.shape[1]
    places = torch.arange(tokens).repeat(rows)
    return torch.arange(rows).repeat_interleave(tokens), places, tokens - 1


def _learns(module: nn.Module, x: torch.Tensor) -> bool:
    return module.training and torch.is_grad_enabled() and x.dtype == torch.bfloat16 and x.device.type == "cpu"


class _Norm(torch.autograd.Function):
    """norm(drop(x) + beside) over the last axis; nothing is kept but what came in, the means and the scales."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        beside: torch.Tensor,
        rows: torch.Tensor,
        places: torch.Tensor,
        keys: torch.Tensor,
        words: torch.Tensor,
        rate: float,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        x, beside = x.contiguous(), beside.contiguous()
        out, size = torch.empty_like(x), (x[..., 0].numel(), x.shape[-1])
        means, scales = torch.empty(2, size[0], dtype=torch.float32)
        drop = (rows, places, keys.contiguous(), words, rate)
        native.call("septet_norm", x, beside, *drop, weight, bias, eps, *size, out, means, scales)
        ctx.drop, ctx.size = drop, size
        ctx.save_for_backward(x, beside, weight, means, scales)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, beside, weight, means, scales = ctx.saved_tensors
        found = [torch.empty_like(t) for t in (x, beside, weight, weight)]
        grad = grads[0].contiguous()
        native.call("septet_norm_back", grad, x, beside, *ctx.drop, weight, means, scales, *ctx.size, *found)
        return found[0], found[1], None, None, None, None, None, found[2], found[3], None


def attends(tokens: Sequence[torch.Tensor], layout: Layout, *, causal: bool) -> bool:
    """Whether attention over (N, heads, D) queries, keys and values laid end to end is computed by the kernel."""
    query, key, value = tokens
    longest = LONGEST_CAUSAL if causal else LONGEST
    plain = query.dtype == key.dtype == value.dtype == torch.bfloat16 and query.device.type == "cpu"
    alike = query.shape == key.shape == value.shape
    return plain and alike and query.shape[-1] % TILE == 0 and max(layout.lengths) <= longest


class Attention(torch.autograd.Function):
    """What `attention._Unpadded` computes, with scores and sums in fp32."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: Layout,
        site: AttentionSite,
        rate: float,
        scale: float,
        causal: bool,
    ) -> torch.Tensor:
        tokens, heads, depth = query.shape
        rows = len(layout.lengths)
        words = site.clock.words_of_heads(heads, query.device)
        # the filling, and what is not asked for behind each row's first token
        out = torch.zeros_like(query) if site.first_only else layout.empty(query)
        logs = torch.empty(tokens, heads, dtype=torch.float32)
        ctx.given = (
            layout.starts_B1,
            site.clock.keys_SB[site.site].contiguous(),
            words,
            rate,
            scale,
            rows,
            heads,
            depth,
            causal,
            site.first_only,
        )
        native.call("septet_attention", query, key, value, *ctx.given, out, logs)
        ctx.layout = layout
        ctx.save_for_backward(query, key, value, logs)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        query, key, value, logs = ctx.saved_tensors
        dq = torch.zeros_like(query) if ctx.given[-1] else ctx.layout.empty(query)
        dk, dv = ctx.layout.empty(query), ctx.layout.empty(query)
        native.call("septet_attention_back", query, key, value, *ctx.given, grads[0].contiguous(), logs, dq, dk, dv)
        return dq, dk, dv, None, None, None, None, None
