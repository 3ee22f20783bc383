"""Dropout from a counter: what is dropped depends on (seed, epoch, row, site, place), on nothing else.

So a row sees the same mask alone or among others, first or last, before or after a resume; PyTorch's own dropout draws from a
global stream and gives none of that. `install` replaces every `nn.Dropout` of a model; `engine/attention.py` drops the
probabilities in the same way, and what a model drops by calling a function (OPT, BART) is caught where it is called. Before each forward pass
`DropoutClock.set` names the rows.

Shapes: B rows, T tokens, N numbers a row, S sites.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from septet.engine.statistics import freeze
from septet.engine.unpad import Layout
from septet.model.placing import put

_TABLE = 1 << 20
# names of dropouts over what all rows share: DeBERTa's embeddings of relative positions
SHARED = ("pos_dropout",)
# stochastic depth, by the end of a class's name
PATH = "DropPath"
# squares of tokens up to this keep their words of attention
KEPT_WORDS = 128 * 128
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
        # of what has no rows: the same for all micro-batches of an update
        self.keys_S = torch.zeros(0, dtype=torch.int32)
        self.unpadded: Layout | None = None
        # whether what learns computes by our own kernels (`engine/kernels.py`)
        self.native = False
        # whether fused attention takes rows laid end to end in one call (`engine/varlen.py`)
        self.varlen = False
        # the first site and the number of the dropouts that the model calls as functions
        self.called = (0, 0)
        self._counter: _Called | None = None
        self.attention_words: dict[tuple[int, int, int], torch.Tensor] = {}
        self._table = _words(_TABLE)

    def set(self, rows: list[int], epoch: int, device: torch.device | str = "cpu", *, step: int = 0) -> None:
        """Name the rows of the next forward pass by their ids, and the update it belongs to."""
        salt_1 = _mix(np.array([((self.seed << 20) + epoch) & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
        base_B = _mix(np.array([*rows, step], dtype=np.int64).view(np.uint64) ^ salt_1)
        site_S1 = np.arange(1, self.sites + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
        keys = (_mix(base_B[None, :] ^ site_S1) >> np.uint64(32)).astype(np.uint32).view(np.int32)
        keys_SB1 = put(torch.from_numpy(keys), torch.device(device))
        self.keys_SB, self.keys_S = keys_SB1[:, :-1], keys_SB1[:, -1]

    @contextlib.contextmanager
    def layout(self, layout: Layout | None) -> Iterator[None]:
        """Say, for the forward passes within, how their rows are laid end to end; None where they are padded."""
        self.unpadded = layout
        try:
            with _Called(self) if self.called[1] else contextlib.nullcontext() as self._counter:
                yield
        finally:
            self.unpadded = self._counter = None

    @contextlib.contextmanager
    def calling(self, done: int) -> Iterator[None]:
        """Within, count the dropouts that a model calls as functions on from `done`: a part of a pass that is computed once more.

        The thread of a backward pass knows nothing of the mode that the forward pass ran in, so a new one counts.
        """
        if not self.called[1]:
            yield
            return
        before = self._counter
        self._counter = _Called(self, done)
        try:
            with self._counter:
                yield
        finally:
            self._counter = before

    @property
    def calls(self) -> int:
        """Dropouts that the model has called as functions in this pass."""
        return 0 if self._counter is None else self._counter.done

    def pass_over(self, count: int) -> None:
        """Count the calls of a part of the model that this pass leaves out, so that the others keep their sites."""
        if self._counter is not None:
            self._counter.done += count

    def expect_calls(self, count: int) -> None:
        """Give sites to the dropouts that a forward pass calls as functions."""
        self.called = (self.sites, count)
        self.sites += count

    def drop(self, x: torch.Tensor, site: int, rate: float, *, shared: bool = False) -> torch.Tensor:
        """Return `x` with its dropped numbers 0 and the others scaled.

        Args:
            x: (B, …), or (1, N, H) where rows are laid end to end; any shape where it is shared.
            site: the number of the place in the model.
            rate: probability of dropping.
            shared: whether it belongs to no row; all micro-batches of an update then drop the same.
        """
        if shared:
            return x * self.keep_shared(site, x.shape, rate, x.dtype)
        rows, layout = self.keys_SB.shape[1], self.unpadded
        if layout is not None and x.shape[:-1] == (1, len(layout.rows_N)):
            return x * self.keep_tokens(site, layout, x.shape[-1], rate, x.dtype)
        if x.shape[0] != rows and x.shape[0] % rows == 0:  # windows of pictures, all of one row before the next
            return self.drop(x.reshape(rows, -1), site, rate).view(x.shape)
        if x.shape[0] != rows:
            raise RuntimeError(f"dropout site {site} got {x.shape[0]} rows where the batch has {rows}")
        # four axes are attention's probabilities in a model that computes them itself: (rows, heads, queries, keys)
        words = (
            self.words_of_pairs(x.shape[1], x.shape[2], x.shape[3], x.device)
            if x.dim() == 4
            else self.words(x[0].numel(), x.device)
        )
        return x * self.keep(site, words, rate, x.dtype).view(x.shape)

    def place(self) -> int:
        """Return the number of a new site."""
        self.sites += 1
        return self.sites - 1

    def words_of_pairs(self, heads: int, queries: int, keys: int, device: torch.device) -> torch.Tensor:
        """Return (heads * queries * keys,) int32 words; those of a place do not depend on how many queries and keys there are."""
        known = self.attention_words
        if (heads, queries, keys) in known:
            return known[heads, queries, keys]
        if max(queries, keys) > 4096:
            raise RuntimeError("attention dropout reaches 4,096 tokens")
        words = self.words_of_heads(heads, device)
        # 31 is odd, so that (query, key) and (key, query) get different words
        words_HQK = (words[1:, :queries, None] * 31 + words[0, :keys]).reshape(-1)
        if queries * keys <= KEPT_WORDS:
            known[heads, queries, keys] = words_HQK
        return words_HQK

    def words_of_heads(self, heads: int, device: torch.device) -> torch.Tensor:
        """Return (heads + 1, 4096) int32 words: of the keys, then of each head's queries."""
        return self.words((heads + 1) * 4096, device).view(heads + 1, 4096)

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
        return _factors(words ^ self.keys_SB[site][:, None], rate, dtype)

    def keep_shared(self, site: int, shape: torch.Size, rate: float, dtype: torch.dtype) -> torch.Tensor:
        """Return factors of `shape` for what all rows of an update share."""
        words = self.words(shape.numel(), self.keys_S.device)
        return _factors(words ^ self.keys_S[site], rate, dtype).view(shape)

    def keep_tokens(self, site: int, layout: Layout, width: int, rate: float, dtype: torch.dtype) -> torch.Tensor:
        """Return (N, H) factors of tokens laid end to end: those that `keep` gives them in their rows."""
        if width not in layout.words:
            words_TH = self.words(max(layout.lengths) * width, layout.rows_N.device).view(-1, width)
            layout.words[width] = words_TH[layout.places_N]
        return _factors(layout.words[width] ^ self.keys_SB[site][layout.rows_N][:, None], rate, dtype)


class RowDropout(nn.Module):
    """Takes the place of `nn.Dropout`; the first axis of its input is the rows."""

    def __init__(self, p: float, clock: DropoutClock, *, shared: bool = False):
        super().__init__()
        self.p = p
        self.clock = clock
        self.shared = shared
        self.site = clock.place()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        return self.clock.drop(x, self.site, self.p, shared=self.shared)

    def extra_repr(self) -> str:
        return f"p={self.p}, site={self.site}"


class RowPath(nn.Module):
    """Takes the place of stochastic depth (Huang et al. 2016), which drops the whole of a row; it would draw from a global stream."""

    def __init__(self, p: float, clock: DropoutClock):
        super().__init__()
        self.p = p
        self.clock = clock
        self.site = clock.place()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0.0:
            return x
        kept_B1 = self.clock.drop(x.new_ones(x.shape[0], 1), self.site, self.p)
        return x * kept_B1.view(-1, *[1] * (x.dim() - 1))


class _Called(TorchFunctionMode):
    """Counts `nn.functional.dropout` by the order of its calls in one forward pass."""

    def __init__(self, clock: DropoutClock | None = None, done: int = 0):
        super().__init__()
        self.clock = clock
        self.done = done

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.dropout:
            return func(*args, **(kwargs or {}))
        x, rate, training = _dropout_arguments(*args, **(kwargs or {}))
        place, self.done = self.done, self.done + 1
        if self.clock is None or not training or rate == 0.0:
            return x
        first, count = self.clock.called
        if place >= count:
            raise RuntimeError(f"the model drops more than {count} times in one pass")
        rows = self.clock.keys_SB.shape[1]
        if x.shape[0] % rows:
            return self.clock.drop(x, first + place, rate, shared=True)
        # OPT lays the tokens of all rows below one another: (B * T, H)
        flat = x if x.shape[0] == rows else x.reshape(rows, -1)
        return self.clock.drop(flat, first + place, rate).view(x.shape)


def _dropout_arguments(
    input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> tuple[torch.Tensor, float, bool]:
    return input, p, training


def count_calls(model: Any, clock: DropoutClock, asked: dict[str, torch.Tensor] | None = None) -> None:
    """Find out, by one small pass, how often a model calls dropout as a function, and let the clock count it.

    Args:
        asked: inputs of two rows, for a model that reads no tokens.
    """
    device = next(model.parameters()).device
    if asked is None:
        ids_BT = torch.arange(2 * 8, device=device).view(2, 8) % 7 + 1
        asked = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
        asked |= {"decoder_input_ids": ids_BT} if model.config.is_encoder_decoder else {}
    counter, before = _Called(), [(m, m.training) for m in model.modules()]
    clock.set([0, 1], 0, device)
    model.train()
    freeze(model)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), counter:
            model(**asked)
    except Exception:  # a model that is asked otherwise; it drops what it drops
        return
    finally:
        for module, training in before:
            module.training = training
    clock.expect_calls(counter.done)


class AttentionSite:
    """One attention layer's dropout of probabilities; places do not depend on how far the batch is padded."""

    def __init__(self, clock: DropoutClock):
        self.clock = clock
        self.site = clock.place()
        # whether nothing but each row's first token is read of what this layer gives (`shortcut.FirstTokenOnly`)
        self.first_only = False

    def factors(
        self, heads: int, queries: int, keys: int, rate: float, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """Return (B, heads, queries, keys) factors."""
        flat = self.clock.keep(self.site, self.clock.words_of_pairs(heads, queries, keys, device), rate, dtype)
        return flat.view(-1, heads, queries, keys)

    def bits(
        self, members: torch.Tensor, heads: int, shape: tuple[int, int], rate: float, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return (members, heads * queries * keys) integers as wide as `dtype`: all ones where kept, 0 where dropped.

        Args:
            shape: queries and keys.
        """
        words = self.clock.words_of_pairs(heads, *shape, members.device)
        return _kept_bits(words ^ self.clock.keys_SB[self.site][members, None], rate, dtype)


def install(model: nn.Module, seed: int) -> DropoutClock:
    """Replace every dropout of a model by a counted one and return their clock.

    Sites are numbered in the order of `named_modules`, so the same model has the same masks.
    """
    clock = DropoutClock(seed)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout):
            owner = model.get_submodule(name.rpartition(".")[0])
            counted = RowDropout(module.p, clock, shared=name.endswith(SHARED))
            setattr(owner, name.rpartition(".")[2], counted.train(module.training))
        elif type(module).__name__.endswith(PATH):
            owner = model.get_submodule(name.rpartition(".")[0])
            path = RowPath(float(getattr(module, "drop_prob", 0.0) or 0.0), clock)
            setattr(owner, name.rpartition(".")[2], path.train(module.training))
        elif _is_attention(module):
            module._septet_site = AttentionSite(clock)  # type: ignore[assignment]
    return clock


def remove(model: nn.Module) -> None:
    """Put plain `nn.Dropout` modules back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, RowDropout):
            owner = model.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], nn.Dropout(module.p).train(module.training))


def _factors(mixed: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
    scale = torch.tensor(1.0 / (1.0 - rate), dtype=dtype)
    if mixed.device.type != "cpu":
        return _compared(mixed, rate, dtype).mul_(float(scale))
    bits = _kept_bits(mixed, rate, dtype)
    return bits.bitwise_and_(int(scale.view(bits.dtype))).view(dtype)


def _compared(mixed: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
    """Return 1 where a word is kept, 0 where it is dropped: what `_kept_bits` says, in fewer passes over a GPU's memory."""
    mixed *= _signed(_ODD)
    return (mixed < min(2**31 - 1, 2 * (2**30 - int(rate * 2**31)))).to(dtype)


def _kept_bits(mixed: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
    """Return integers as wide as `dtype`: all ones where a word is kept, 0 where it is dropped.

    Comparing by sign and working on bits is several times faster than comparisons, booleans and products of numbers.
    """
    mixed *= _signed(_ODD)
    mixed >>= 1
    mixed -= 2**30 - int(rate * 2**31)
    mixed >>= 31
    return mixed if dtype.itemsize == 4 else mixed.to(torch.int16)


def _is_attention(module: nn.Module) -> bool:
    """Whether transformers hands this module to the attention function, which reads these of it."""
    return hasattr(module, "config") and (hasattr(module, "is_causal") or hasattr(module, "scaling"))


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
