"""Padding taken out of a micro-batch: each token is computed once, and no token that is none.

The rows of a padded batch (B, T) are laid end to end as one row of N tokens, so embeddings, projections, feed-forward blocks and norms see real
tokens only. Attention alone puts them back into rows, in buckets of like length (`engine/attention.py`). The head reads each row's first
token, which `shortcut.FirstTokenOnly` picks. Gradients are those of the padded batch; a probe before training compares the logits, and
a model that answers otherwise keeps its padding.

Matrix products of a size that was not seen before are slow (`model/sizes.py`), so N is filled up to one of at most 32 sizes
between two powers of two by copies of the first token that belong to no row; the rows of a bucket to one of four, by rows without tokens; their
tokens to one of eight.

Shapes: B rows, T the longest row's tokens, N tokens of all rows with the filling, R without it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import pad

from septet.model.placing import put
from septet.model.sizes import filled
from septet.tasks import Batch

STEP = 8
# what one more bucket costs, in query-key pairs of a row: its launches, forward and backward
BUCKET_COST = 16384
HIDDEN = torch.finfo(torch.bfloat16).min


class Bucket:
    """Consecutive rows that attend together, as (rows * heads, tokens, D); `members` names them, the filling by the first.

    Args:
        first: its first row in the micro-batch.
        lengths: of its rows.
        start: their first token.
        heads: of the attention.
    """

    def __init__(self, first: int, lengths: list[int], start: int, heads: int, device: torch.device):
        count = filled(len(lengths), 4)
        self.members = torch.arange(first, first + count, device=device)
        self.members[len(lengths) :] = first
        self.count = len(lengths)
        starts = torch.tensor(list(accumulate(lengths[:-1], initial=start)), device=device)
        self.firsts = pad(starts, (0, count - len(lengths)), value=start)
        self.tokens = filled(max(lengths), 8, least=STEP)
        self.heads = heads
        self.span = slice(start, start + sum(lengths))
        lengths_B = pad(torch.tensor(lengths, device=device), (0, count - len(lengths)))
        real_BT = torch.arange(self.tokens, device=device) < lengths_B[:, None]
        rows_R, places_R = real_BT.nonzero(as_tuple=True)
        heads_H = torch.arange(heads, device=device)
        # where each head of each token lies among (rows, heads, tokens), and the other way round: which lies in each cell
        self.cells = ((rows_R[:, None] * heads + heads_H) * self.tokens + places_R[:, None]).flatten()
        firsts_B1 = (self.firsts - start)[:, None] * heads + heads_H
        self.origins = firsts_B1[:, :, None].expand(-1, -1, self.tokens).flatten().contiguous()
        self.origins[self.cells] = torch.arange(len(self.cells), device=device)
        hidden_BT = (~real_BT).float() * HIDDEN
        self.hidden = hidden_BT[:, None].expand(-1, heads, -1).reshape(-1, 1, self.tokens)
        self.size = count * heads * self.tokens

    @cached_property
    def later(self) -> torch.Tensor:
        """(1, tokens, tokens) what hides from a token those after it; the places behind a row's end are after all of it."""
        return torch.full((1, self.tokens, self.tokens), HIDDEN, device=self.hidden.device).triu(1)

    def rows_of(self, x_NHD: torch.Tensor) -> torch.Tensor:
        """Return (rows * heads, tokens, D), the row's first token again behind its end; reading is faster than writing in place."""
        depth = x_NHD.shape[-1]
        return x_NHD[self.span].view(-1, depth).index_select(0, self.origins).view(-1, self.tokens, depth)

    def ended_rows_of(self, x_NHD: torch.Tensor) -> torch.Tensor:
        """Return (rows * heads, tokens, D), zeros behind a row's end."""
        depth = x_NHD.shape[-1]
        found = x_NHD.new_zeros(self.size, depth).index_copy_(0, self.cells, x_NHD[self.span].view(-1, depth))
        return found.view(-1, self.tokens, depth)

    def firsts_of(self, x_NHD: torch.Tensor) -> torch.Tensor:
        """Return (rows * heads, 1, D): each row's first token."""
        return x_NHD[self.firsts].flatten(0, 1)[:, None]

    def put_firsts(self, into_NHD: torch.Tensor, x: torch.Tensor) -> None:
        """Write (rows * heads, 1, D) to its rows' first tokens."""
        real = self.firsts[: self.count]
        into_NHD[real] = x.view(-1, self.heads, x.shape[-1])[: self.count]

    def put(self, into_NHD: torch.Tensor, x: torch.Tensor) -> None:
        """Write (rows * heads, tokens, D) to its tokens."""
        depth = x.shape[-1]
        torch.index_select(x.view(-1, depth), 0, self.cells, out=into_NHD[self.span].view(-1, depth))


class Layout:
    """Where each token of an unpadded micro-batch belongs.

    Args:
        lengths: of the rows, B numbers.
        rows_N: int64, the row of each token; 0 in the filling.
        places_N: int64, its place in the row; 0 in the filling, which so repeats the first row's first token.
    """

    def __init__(self, lengths: list[int], rows_N: torch.Tensor, places_N: torch.Tensor):
        self.lengths = lengths
        self.rows_N = rows_N.contiguous()
        self.places_N = places_N.contiguous()
        self.starts = [0, *accumulate(lengths)]
        self.starts_B1 = put(torch.tensor(self.starts), rows_N.device)
        self.firsts_B = self.starts_B1[:-1]
        # the dropout's words of each token, by width
        self.words: dict[int, torch.Tensor] = {}
        self._buckets: dict[int, list[Bucket]] = {}

    @cached_property
    def ends(self) -> torch.Tensor:
        """(B + 1,) int32: where each row begins, and where the last one ends."""
        return self.starts_B1.to(torch.int32)

    def to(self, device: torch.device) -> Layout:
        """Return the same layout on a device."""
        if device.type == self.rows_N.device.type:
            return self
        return Layout(self.lengths, put(self.rows_N, device), put(self.places_N, device))

    def empty(self, like: torch.Tensor) -> torch.Tensor:
        """Return a tensor of N tokens to be written, with zeros in the filling."""
        found = torch.empty_like(like)
        found[self.starts[-1] :] = 0
        return found

    def buckets(self, heads: int) -> list[Bucket]:
        """Return the rows in buckets of like length."""
        if heads not in self._buckets:
            self._buckets[heads] = [
                Bucket(a, self.lengths[a:b], self.starts[a], heads, self.rows_N.device) for a, b in _cuts(self.lengths)
            ]
        return self._buckets[heads]


class Unpadder:
    """Lays the rows of padded batches end to end for one model.

    Args:
        first_position: the position id of a row's first token.
    """

    def __init__(self, first_position: int = 0):
        self.first_position = first_position

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch without padding; one with an empty row, or with rows that do not begin at the left, comes back as it is."""
        real_BT = batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"]))
        if real_BT.dim() != 2 or not bool(real_BT[:, 0].all()) or bool((real_BT[:, 1:] > real_BT[:, :-1]).any()):
            return batch
        lengths = real_BT.sum(1).tolist()
        filling = filled(sum(lengths), 32, least=8) - sum(lengths)
        rows_R, places_R = real_BT.nonzero(as_tuple=True)
        layout = Layout(lengths, pad(rows_R, (0, filling)), pad(places_R, (0, filling)))
        inputs = {
            name: x_BT[layout.rows_N, layout.places_N][None]
            for name, x_BT in batch.inputs.items()
            if name != "attention_mask"
        }
        inputs["position_ids"] = self._positions(batch.inputs["input_ids"], layout)[None]
        # four axes are handed through to the attention function as they are; it does not read them
        inputs["attention_mask"] = torch.zeros(1, 1, 1, 1, device=real_BT.device)
        return replace(batch, inputs=inputs, layout=layout)

    def _positions(self, ids_BT: torch.Tensor, layout: Layout) -> torch.Tensor:
        if not self.first_position:
            return layout.places_N
        # RoBERTa and its kin give a padding token that stands in a text no position of its own
        padding = self.first_position - 1
        counted_BT = (ids_BT != padding).long()
        return (counted_BT.cumsum(1) * counted_BT + padding)[layout.rows_N, layout.places_N]


def onto(batch: Batch, device: torch.device) -> Batch:
    """Return a batch whose inputs are on a device; targets stay on the host, where they are counted."""
    inputs = {name: put(value, device) for name, value in batch.inputs.items()}
    return replace(batch, inputs=inputs, layout=None if batch.layout is None else batch.layout.to(device))


def unpadder(model: Any, clock: Any, vocabulary: int) -> Unpadder | None:
    """Return what takes padding out for this model, or None where a probe's logits differ.

    Args:
        model: with counted attention: a sequence classifier with the short cut at the first token, or a model of tokens.
        clock: its `DropoutClock`.
        vocabulary: token ids of the probe are drawn below this.
    """
    config = model.config
    padding = int(getattr(config, "pad_token_id", 0) or 0)
    limit = min(int(getattr(config, "max_position_embeddings", 0) or 512), 1024)
    longest = min(limit - padding - 1, 48)
    if longest < 2:
        return None
    lengths = [min(length, longest) for length in (1, 17, 30, 48)]
    lengths += [longest] * (limit // longest + 1)  # more tokens together than a row may have
    embedding = model.get_input_embeddings()
    vocabulary = min(vocabulary, getattr(embedding, "num_embeddings", vocabulary))
    batch = _probe(lengths, vocabulary, padding, next(model.parameters()).device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            expected = _of_tokens(_logits(model, clock, batch), batch)
            # RoBERTa and its kin count positions from behind the padding's index
            for first in (0, padding + 1):
                found = Unpadder(first)
                laid = found(batch)
                if expected is not None and _same(_of_tokens(_logits(model, clock, laid), laid), expected, model):
                    return found
    finally:
        model.train(was_training)
    return None


def shapes(lengths: list[int]) -> set[tuple[int, ...]]:
    """Return what is computed of rows of these lengths: their tokens with the filling, and the rows and tokens of each bucket."""
    if not lengths:
        return set()
    buckets = {(filled(b - a, 4), filled(max(lengths[a:b]), 8, least=STEP)) for a, b in _cuts(lengths)}
    return {(filled(sum(lengths), 32, least=8),), *buckets}


def _cuts(lengths: list[int]) -> list[tuple[int, int]]:
    """Cut rows into consecutive buckets so that their query-key pairs and a price for each are fewest; cuts lie where lengths change."""
    widths = [filled(length, 8, least=STEP) for length in lengths]
    places = [0, *(i for i in range(1, len(widths)) if widths[i] != widths[i - 1]), len(widths)]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for j, end in enumerate(places[1:], 1):
        best.append(
            min(
                (best[i][0] + (end - start) * max(widths[start:end]) ** 2 + BUCKET_COST, i)
                for i, start in enumerate(places[:j])
            )
        )
    found, j = [], len(places) - 1
    while j > 0:
        i = best[j][1]
        found.append((places[i], places[j]))
        j = i
    return found[::-1]


def _logits(model: Any, clock: Any, batch: Batch) -> torch.Tensor | None:
    try:
        with clock.layout(batch.layout):
            return model(**batch.inputs).logits.float()
    except Exception:  # whatever a model says that was built for (B, T) alone, or knows no position_ids
        return None


def _same(found: torch.Tensor | None, expected: torch.Tensor, model: Any) -> bool:
    tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 3e-2
    return found is not None and found.shape == expected.shape and bool(((found - expected).abs() < tolerance).all())


def _of_tokens(logits: torch.Tensor | None, batch: Batch) -> torch.Tensor | None:
    """Return the logits of the real tokens, row after row, where there are logits for each token."""
    if logits is None or logits.dim() < 3:
        return logits
    if batch.layout is not None:
        return logits[0, : batch.layout.starts[-1]]
    return logits[batch.inputs["attention_mask"].bool()]


def _probe(lengths: list[int], vocabulary: int, padding: int, device: torch.device) -> Batch:
    ids_BT = torch.full((len(lengths), max(lengths)), padding, device=device)
    real_BT = torch.zeros_like(ids_BT)
    for i, length in enumerate(lengths):
        ids = (torch.arange(length, device=device) + 7 * i) * 37 % max(2, vocabulary - padding - 1) + padding + 1
        ids_BT[i, :length] = ids.clamp(max=vocabulary - 1)
        real_BT[i, :length] = 1
    return Batch({"input_ids": ids_BT, "attention_mask": real_BT}, None, list(range(len(lengths))), [])
