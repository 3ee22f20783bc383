"""The projection to the vocabulary, at the places that are learned only.

Most tokens of a conversation are its prompt, which is not learned; projecting them to the vocabulary is work for nothing. The hidden
states that reach the output embedding are cut to the learned places, so that loss and gradients are those of the whole
projection. What a model does with its logits afterwards (a bias, a cap) works on what is left. Logits that are large all the same are
never there as a whole (`tiled.py`).

Shapes: B rows, T tokens, H hidden, N learned places, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.errors import ModelError
from septet.model.placing import put
from septet.model.sizes import filled

if TYPE_CHECKING:
    import torch

    from septet.tasks import Batch

# numbers of learned places in use between two powers of two; oneDNN writes 45 ms of code for a new one and 8,192 tokens to choose from
SIZES = 8
# the attribute of a model that holds `cross_entropies` compiled (`engine/compiled.py`)
COMPILED = "_septet_cross_entropies"
# the goal of a place that is not learned, as PyTorch's cross-entropy has it
IGNORED = -100


def logits_at(model: Any, inputs: dict[str, torch.Tensor], places_N: torch.Tensor) -> torch.Tensor:
    """Return (N, V) logits at the places of the flattened (B * T) outputs, by one call of the model.

    Args:
        model: a language model, with an encoder or without.
        inputs: what it is called with.
        places_N: int64 indices into the flattened places of its outputs.
    """
    head = model.get_output_embeddings()
    handle = None if head is None else head.register_forward_pre_hook(_cut(places_N))
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        if handle is not None:
            handle.remove()
    if logits.shape[0] == 1 and logits.shape[1] == len(places_N):
        return logits.squeeze(0)  # the gradient of an index would be a copy among zeros
    # a model that has no output embedding of its own, or calls it otherwise
    return logits.flatten(0, 1)[places_N]


def token_losses(
    model: Any,
    batch: Batch,
    inputs: dict[str, torch.Tensor],
    goals_BT: torch.Tensor,
    width: int,
    unlearned: int = IGNORED,
) -> torch.Tensor:
    """Return (B,) float32: the sum of each row's cross-entropy in nats over its goals.

    Args:
        model: a language model, called once.
        batch: the rows; they may be laid end to end.
        inputs: what the model is called with.
        goals_BT: int64, what the output at each place is to be; `unlearned` where that does not matter.
        width: places of a padded row.
        unlearned: the mark of places that are not learned.
    """
    import torch
    from torch.nn.functional import pad

    from septet.model import tiled

    # on the host, where goals are: a GPU would be waited for
    rows_N, places_N = (goals_BT != unlearned).nonzero(as_tuple=True)
    starts_B = row_starts(batch, width, goals_BT.device)
    at_N, goals_N = starts_B[rows_N] + places_N, goals_BT[rows_N, places_N]
    if filling := filled(len(at_N), SIZES, least=8) - len(at_N):
        # the first place again, with nothing to learn there: it adds exact zeros
        at_N, goals_N = torch.cat([at_N, at_N[:1].expand(filling)]), pad(goals_N, (0, filling), value=IGNORED)
    device = next(iter(inputs.values())).device
    rows_N, at_N, goals_N = (put(x, device) for x in (rows_N, at_N, goals_N))
    measure = getattr(model, COMPILED, cross_entropies) if model.training else cross_entropies
    if tiled.large(model, len(at_N), measure is not cross_entropies):
        found_N = tiled.losses_at(model, inputs, at_N, goals_N)
    else:
        found_N = measure(logits_at(model, inputs, at_N), goals_N)
    losses_N = found_N[: len(rows_N)]
    return losses_N.new_zeros(len(batch)).index_add(0, rows_N, losses_N)


def cross_entropies(logits_NV: torch.Tensor, goals_N: torch.Tensor) -> torch.Tensor:
    """Return (N,) float32: the cross-entropy of each place in nats, 0 where the goal is `IGNORED`."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits_NV.float(), goals_N, reduction="none", ignore_index=IGNORED)


def require_causal(model: Any) -> None:
    """Refuse a model without an encoder whose outputs depend on tokens that come later: it would read what it is to predict.

    Raises:
        ModelError: they do.
    """
    import torch

    limit = int(getattr(model.get_input_embeddings(), "num_embeddings", 0))
    if limit < 2 or model.config.is_encoder_decoder:
        return
    ids_BT = torch.arange(6, device=next(model.parameters()).device)[None] % limit
    other_BT = ids_BT.clone()
    other_BT[0, -1] = (other_BT[0, -1] + 1) % limit
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            first, second = (model(input_ids=ids, use_cache=False).logits[:, :-1].float() for ids in (ids_BT, other_BT))
    finally:
        model.train(was_training)
    if float((first - second).abs().max()) > 1e-4 * float(first.abs().max()):
        raise ModelError(
            f"{type(model).__name__} reads the tokens it is to predict: its outputs depend on what comes later.",
            hint="a decoder (gpt2, llama …); an encoder learns by the objective masked, or with model.config: {is_decoder: true}",
        )


def row_starts(batch: Batch, width: int, device: torch.device) -> torch.Tensor:
    """Return (B,) int64: where each row begins among the flattened places, padded to a width or laid end to end."""
    import torch

    if batch.layout is not None:
        return (
            batch.layout.firsts_B if device == batch.layout.firsts_B.device else torch.tensor(batch.layout.starts[:-1])
        )
    return torch.arange(len(batch), device=device) * width


def decoder_reads(model: Any, labels_BT: torch.Tensor, unlearned: int = IGNORED) -> torch.Tensor:
    """Return what a decoder reads beside an encoder: the labels one place later, behind its own first token."""
    config = model.config
    labels_BT = put(labels_BT, next(model.parameters()).device)
    start = getattr(config, "decoder_start_token_id", None)
    start = config.pad_token_id if start is None else start
    ids_BT = labels_BT.new_full(labels_BT.shape, start)
    ids_BT[:, 1:] = labels_BT[:, :-1].masked_fill(labels_BT[:, :-1] == unlearned, config.pad_token_id or 0)
    return ids_BT


def _cut(places_N: torch.Tensor) -> Any:
    def cut(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_BTH, *rest = args
        return hidden_BTH.flatten(0, -2)[places_N][None], *rest

    return cut
