"""Words taken out of a text, for a model to put back: masks as BERT learns them, spans as T5 does.

Source:  Devlin et al. 2019, 3.1 (of the chosen tokens 80 % become the mask, 10 % another token, 10 % stay); Raffel et al. 2020, 3.1.4
(random spans of a mean length, each replaced by a sentinel of its own; the target lists the sentinels with what they stand for).
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from septet.errors import ModelError

UNLEARNED = -100
MASKED, RANDOM = 0.8, 0.1
_SENTINELS: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()


def mask(ids: np.ndarray, processor: Any, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (T,) ids with some tokens hidden, and (T,) labels: the hidden tokens, -100 elsewhere. At least one is hidden.

    Raises:
        ModelError: the tokenizer has no mask token.
    """
    if processor.mask_token_id is None:
        raise ModelError(
            "The tokenizer has no mask token, which the objective masked needs.",
            hint="septet tokenizer --kind wordpiece makes one that has; or task.objective: causal",
        )
    open_places = np.flatnonzero(~np.isin(ids, processor.all_special_ids))
    chosen = open_places[rng.random(len(open_places)) < rate]
    if not len(chosen) and len(open_places):
        chosen = open_places[[rng.integers(len(open_places))]]
    labels = np.full(len(ids), UNLEARNED, dtype=ids.dtype)
    labels[chosen] = ids[chosen]
    shown = ids.copy()
    fate = rng.random(len(chosen))
    shown[chosen[fate < MASKED]] = processor.mask_token_id
    other = chosen[(fate >= MASKED) & (fate < MASKED + RANDOM)]
    shown[other] = rng.integers(len(processor), size=len(other))
    return shown, labels


def take_spans(
    ids: np.ndarray, sentinels: list[int], end: int | None, rate: float, mean: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the encoder reads, spans replaced by sentinels, and the target: each sentinel with its span. Both end with `end`.

    Args:
        ids: (T,) tokens of a text, without special tokens; at least two.
        sentinels: token ids, in the order of their use.
        end: EOS, where the tokenizer has one.
        rate: share of the tokens taken out.
        mean: mean length of a span.
        rng: draws lengths and places.
    """
    hidden = min(max(round(len(ids) * rate), 1), len(ids) - 1)
    count = min(max(round(hidden / mean), 1), hidden, len(ids) - hidden, len(sentinels))
    gone, kept = _parts(hidden, count, rng), _parts(len(ids) - hidden, count, rng)
    read: list[int] = []
    target: list[int] = []
    place = 0
    for sentinel, stays, goes in zip(sentinels, kept, gone, strict=False):
        read += [*ids[place : place + stays].tolist(), sentinel]
        target += [sentinel, *ids[place + stays : place + stays + goes].tolist()]
        place += stays + goes
    ends = [] if end is None else [end]
    return np.array(read + ends, dtype=ids.dtype), np.array(target + ends, dtype=ids.dtype)


def sentinels_of(processor: Any) -> list[int]:
    """Return the ids of a tokenizer's sentinels (`<extra_id_0>` …), in their order.

    Raises:
        ModelError: it has none.
    """
    found = _SENTINELS.get(processor)
    if found is None:
        # asked for with each row of each update; a vocabulary is copied whenever it is read
        vocabulary = processor.get_vocab()
        found = []
        while (token := f"<extra_id_{len(found)}>") in vocabulary:
            found.append(vocabulary[token])
        _SENTINELS[processor] = found
    if not found:
        raise ModelError(
            "The tokenizer has no sentinels (<extra_id_0> …), which the objective span needs.",
            hint="septet tokenizer --kind unigram makes one that has",
        )
    return found


def _parts(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` whole numbers above 0 that add up to `total`, every way of doing so as probable as any other."""
    cuts = np.sort(rng.choice(total - 1, size=count - 1, replace=False)) + 1 if count > 1 else np.array([], dtype=int)
    return np.diff(np.concatenate([[0], cuts, [total]]))
