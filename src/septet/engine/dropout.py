"""Dropout from a counter: what is dropped depends on (seed, epoch, row, site, place), on nothing else.

So a row sees the same mask alone or among others, first or last, before or after a resume; PyTorch's own dropout draws from a
global stream and gives none of that. `install` replaces every `nn.Dropout` of a model and registers an eager attention
function (`septet`) whose probabilities are dropped in the same way. Before each forward pass `DropoutClock.set` names the rows.

Shapes: B rows, T tokens, N numbers a row, S sites.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

ATTENTION = "septet"
_TABLE = 1 << 20
# the multiplier of Wellons' lowbias32 integer hash; the high bits of the product depend on every lower bit
_ODD = -2073254261 & 0xFFFFFFFF


class DropoutClock:
    """Knows which rows are in the forward pass, and gives each site its keys.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.sites = 0
        self.keys_SB = torch.zeros(0, 0, dtype=torch.int32)
        self._table = _words(_TABLE)

    def set(self, rows: list[int], epoch: int, device: torch.device | str = "cpu") -> None:
        """Name the rows of the next forward pass by their ids."""
        salt_1 = _mix(np.array([((self.seed << 20) + epoch) & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
        base_B = _mix(np.asarray(rows, dtype=np.int64).view(np.uint64) ^ salt_1)
        site_S1 = np.arange(1, self.sites + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
        keys = (_mix(base_B[None, :] ^ site_S1) >> np.uint64(32)).astype(np.uint32).view(np.int32)
        self.keys_SB = torch.from_numpy(keys).to(device)

    def place(self) -> int:
        """Return the number of a new site."""
        self.sites += 1
        return self.sites - 1

    def words(self, count: int, device: torch.device) -> torch.Tensor:
        """Return (count,) int32 fixed random words; a longer call begins with the shorter one's words."""
        if count > len(self._table):
            self._table = _words(1 << (count - 1).bit_length())
        if self._table.device != device:
            self._table = self._table.to(device)
        return self._table[:count]

    def keep(self, site: int, words: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
        """Return (B, N) factors: 0 where dropped, 1 / (1 - rate) where kept.

        Args:
            site: the number of the place in the model.
            words: (N,) or (B, N) int32 words of the places within a row.
            rate: probability of dropping.
            dtype: of the factors.
        """
        mixed_BN = words ^ self.keys_SB[site][:, None]
        mixed_BN *= _signed(_ODD)
        kept_BN = mixed_BN >= _signed(int(rate * 2**32) + 0x80000000 & 0xFFFFFFFF)
        return kept_BN.to(dtype).mul_(1.0 / (1.0 - rate))


class RowDropout(nn.Module):
    """Takes the place of `nn.Dropout`; the first axis of its input is the rows."""

    def __init__(self, p: float, clock: DropoutClock):
        super().__init__()
        self.p = p
        self.clock = clock
        self.site = clock.place()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        rows = self.clock.keys_SB.shape[1]
        if x.shape[0] != rows:
            raise RuntimeError(f"dropout site {self.site} got {x.shape[0]} rows where the batch has {rows}")
        words = self.clock.words(x[0].numel(), x.device)
        return x * self.clock.keep(self.site, words, self.p, x.dtype).view(x.shape)

    def extra_repr(self) -> str:
        return f"p={self.p}, site={self.site}"


class AttentionSite:
    """One attention layer's dropout of probabilities; places do not depend on how far the batch is padded."""

    def __init__(self, clock: DropoutClock):
        self.clock = clock
        self.site = clock.place()

    def factors(
        self, heads: int, queries: int, keys: int, rate: float, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """Return (B, heads, queries, keys) factors."""
        words = self.clock.words((heads + 1) * 4096, device).view(heads + 1, 4096)
        if max(queries, keys) > 4096:
            raise RuntimeError("attention dropout reaches 4,096 tokens")
        # 31 is odd, so that (query, key) and (key, query) get different words
        words_HQK = words[1:, :queries, None] * 31 + words[0, :keys]
        flat = self.clock.keep(self.site, words_HQK.reshape(-1), rate, dtype)
        return flat.view(-1, heads, queries, keys)


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eager attention with counted dropout, in the signature transformers calls.

    Args:
        query, key, value: (B, heads, T, D).
        attention_mask: (B or 1, 1 or heads, T, T) additive float, or None.

    Returns:
        (B, T, heads, D) and the probabilities.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query * scale) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    probabilities = scores.softmax(-1)
    if dropout and module.training:
        site: AttentionSite = module._septet_site  # type: ignore[assignment]
        probabilities = probabilities * site.factors(
            query.shape[1], query.shape[2], key.shape[2], dropout, query.dtype, query.device
        )
    return (probabilities @ value).transpose(1, 2).contiguous(), probabilities


def register_attention() -> None:
    """Make `attn_implementation="septet"` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)


def install(model: nn.Module, seed: int) -> DropoutClock:
    """Replace every dropout of a model by a counted one and return their clock.

    Sites are numbered in the order of `named_modules`, so the same model has the same masks.
    """
    clock = DropoutClock(seed)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout):
            owner = model.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], RowDropout(module.p, clock).train(module.training))
        elif _is_attention(module):
            module._septet_site = AttentionSite(clock)  # type: ignore[assignment]
    return clock


def remove(model: nn.Module) -> None:
    """Put plain `nn.Dropout` modules back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, RowDropout):
            owner = model.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], nn.Dropout(module.p).train(module.training))


def _is_attention(module: nn.Module) -> bool:
    """Whether transformers hands this module to the attention function: it has projections and is causal or not."""
    return hasattr(module, "is_causal") and hasattr(module, "config")


def _words(count: int) -> torch.Tensor:
    return torch.from_numpy(
        np.random.Generator(np.random.PCG64(0)).integers(0, 2**32, count, dtype=np.uint32).view(np.int32).copy()
    )


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
