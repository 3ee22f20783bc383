"""The attention functions that transformers calls by names of ours: eager with counted dropout, and fused; padded or not.

Where the padding is out (`engine/unpad.py`), the eager one attends to rows of like length together, forward and backward by hand: no padding
between rows of unlike length, and no pass over the probabilities that bits can do. The fused one calls PyTorch's kernel for each row, or on a GPU for
all of them (`engine/varlen.py`): it keeps no probabilities, and it cannot drop any by row. Which is faster is measured (`engine/attention_speed.py`).

Shapes: B rows, T tokens, N tokens of all rows, R of them real, D numbers a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from septet.engine import kernels, varlen
from septet.engine.dropout import AttentionSite
from septet.engine.unpad import Layout
from septet.errors import ModelError
from septet.report import Finding

ATTENTION, FUSED = "septet", "septet_fused"


@torch.compiler.disable
def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Eager attention with counted dropout, in the signature transformers calls.

    Args:
        query, key, value: (B, heads, T, D); (1, heads, N, D) where the padding is out.
        attention_mask: (B or 1, 1 or heads, T, T) additive float, or None; not read where the padding is out.
        softcap: scores are squeezed to below this by tanh (Gemma 2).

    Returns:
        (B, T, heads, D), or (1, N, heads, D), and the probabilities of the padded form.

    Raises:
        ModelError: the model has attention sinks (gpt-oss), or wants its scores capped where padding is out.
    """
    if s_aux is not None:
        raise ModelError("Counted attention knows no sinks.")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rate = dropout if module.training else 0.0
    # none yet while a model is loaded and looked at; without it nothing can be dropped
    site: AttentionSite = getattr(module, "_septet_site", None)  # type: ignore[assignment]
    if (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if site is not None and (layout := site.clock.unpadded) is not None:
        if softcap is not None:
            raise ModelError("Rows laid end to end cannot have capped scores.")
        tokens = [x.squeeze(0).transpose(0, 1).contiguous() for x in (query, key, value)]
        causal = bool(getattr(module, "is_causal", False))
        by_kernel = site.clock.native and kernels.attends(tokens, layout, causal=causal)
        attend = kernels.Attention if by_kernel else _Unpadded
        return attend.apply(*tokens, layout, site, rate, scale, causal)[None], None  # pyright: ignore
    scores = (query * scale) @ key.transpose(2, 3)
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    probabilities = scores.softmax(-1)
    if rate:
        probabilities = probabilities * site.factors(
            query.shape[1], query.shape[2], key.shape[2], rate, query.dtype, query.device
        )
    return (probabilities @ value).transpose(1, 2).contiguous(), probabilities


@torch.compiler.disable
def fused(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fused attention: all rows at once or row by row where the padding is out, else as transformers calls it. Takes and gives what `attention` does.

    Raises:
        ValueError: the model wants its scores capped, or probabilities dropped.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    site: AttentionSite | None = getattr(module, "_septet_site", None)
    if site is None or (layout := site.clock.unpadded) is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if options.get("softcap") is not None or (options.get("dropout") and module.training):
        raise ValueError("Fused attention of rows laid end to end caps no scores and drops no probabilities.")
    causal = bool(getattr(module, "is_causal", False))
    attend = varlen.at_once if site.clock.varlen and varlen.takes(query) else varlen.by_row
    return attend(query, key, value, layout, scaling, causal), None


def register_attention() -> None:
    """Make our names of attention known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask, sdpa_mask

    for name, function, mask in ((ATTENTION, attention, eager_mask), (FUSED, fused, sdpa_mask)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, mask)


def attends_alike(model: Any, asked: dict[str, torch.Tensor] | None = None) -> bool:
    """Whether the model, loaded with this attention, answers as with transformers' own eager one.

    One does not where its attention knows more than scores, mask and softmax, and where it does not take attention functions at all.

    Args:
        asked: inputs of two rows, for a model that reads no tokens.
    """
    inputs = asked
    if inputs is None:
        ids_BT = torch.arange(2 * 12, device=next(model.parameters()).device).view(2, 12) % 7 + 1
        inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
        inputs["attention_mask"][1, 7:] = 0
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids_BT[:, :9]
    was_training, name = model.training, model.config._attn_implementation
    model.eval()
    try:
        with torch.inference_mode():
            ours = model(**inputs).logits.float()
            model.set_attn_implementation("eager")
            theirs = model(**inputs).logits.float()
        model.set_attn_implementation(name)
    except Exception:  # whatever a model says that hands other things to its attention
        return False
    finally:
        model.train(was_training)
    return bool(torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4))


def sees_whole(model: Any, tokens: int) -> bool:
    """Whether every layer of a model without a decoder beside it sees rows of so many tokens whole, and none through a window."""
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "window_size")]
    return not config.is_encoder_decoder and all(not isinstance(w, int) or w >= tokens for w in windows)


def caps_scores(config: Any) -> bool:
    """Whether a model squeezes its scores before the softmax, which fused attention cannot."""
    return bool(getattr(config.get_text_config(), "attn_logit_softcapping", None))


def not_dropped(attention: str) -> Finding:
    """Return that no attention probabilities are dropped, and why: `sdpa`, or a model that attends in a way of its own."""
    fused = attention == "sdpa"
    return Finding(
        "attention-dropout-off",
        "note",
        "Attention probabilities are not dropped: "
        + ("fused attention" if fused else "this model's own attention")
        + " draws from a global stream, which a resume cannot repeat.",
        "model.attention=eager drops them by row" if fused else "model.dropout still drops everything else",
    )


class _Unpadded(torch.autograd.Function):
    """Attention over (N, heads, D) tokens within their rows; a token sees all of its row, or what is before it where it is causal."""

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
        heads = query.shape[1]
        found = layout.empty(query)
        kept = []
        for bucket in layout.buckets(heads):
            q = bucket.firsts_of(query) if site.first_only else bucket.rows_of(query)
            k, v = bucket.rows_of(key), bucket.rows_of(value)
            hidden = bucket.later if causal else bucket.hidden
            scores = torch.baddbmm(hidden.to(q.dtype), q, k.transpose(1, 2), alpha=scale)
            p = _softmax(scores)
            bits = (
                site.bits(bucket.members, heads, (p.shape[1], p.shape[2]), rate, p.dtype).view(p.shape)
                if rate
                else None
            )
            context = _masked(p, bits) @ v
            bucket.put_firsts(found, context) if site.first_only else bucket.put(found, context)
            kept += [q, k, v, p] if bits is None else [q, k, v, p, bits]
        if rate:
            found *= 1.0 / (1.0 - rate)
        ctx.layout, ctx.rate, ctx.scale, ctx.first_only = layout, rate, scale, site.first_only
        ctx.save_for_backward(*kept)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        given = grads[0] * (1.0 / (1.0 - ctx.rate)) if ctx.rate else grads[0].contiguous()
        kept = list(ctx.saved_tensors)
        each = 5 if ctx.rate else 4
        dq = torch.zeros_like(given) if ctx.first_only else ctx.layout.empty(given)
        dk, dv = ctx.layout.empty(given), ctx.layout.empty(given)
        for i, bucket in enumerate(ctx.layout.buckets(given.shape[1])):
            q, k, v, p, *bits = kept[each * i : each * (i + 1)]
            mask = bits[0] if bits else None
            do = bucket.firsts_of(given) if ctx.first_only else bucket.ended_rows_of(given)
            bucket.put(dv, _masked(p, mask).transpose(1, 2) @ do)
            dp = _masked(do @ v.transpose(1, 2), mask)
            ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
            (bucket.put_firsts if ctx.first_only else bucket.put)(dq, _scaled_bmm(ds, k, ctx.scale))
            bucket.put(dk, _scaled_bmm(ds.transpose(1, 2), q, ctx.scale))
        return dq, dk, dv, None, None, None, None, None


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    # in bf16 it is faster where a row fills whole vectors, and much slower elsewhere
    if scores.shape[-1] % 32 == 0 or scores.dtype == torch.float32:
        return scores.softmax(-1)
    return scores.float().softmax(-1).to(scores.dtype)


def _scaled_bmm(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.baddbmm(a.new_zeros(1, 1, 1), a, b, beta=0, alpha=scale)


def _masked(x: torch.Tensor, bits: torch.Tensor | None) -> torch.Tensor:
    """Return `x` with its dropped numbers 0."""
    return x if bits is None else (x.view(bits.dtype) & bits).view(x.dtype)
