"""The processes of one training run: who this one is, and what they tell each other.

`torchrun --nproc-per-node 2 -m septet train …` starts the same program twice. Rank 0 leads: it alone writes the run folder, prints and
decides by the clock; the others learn from it. `here()` is the one place to ask; alone, every question answers itself and
costs nothing. What is told is JSON, gradients are summed in fp32, and whatever ends one process ends all with one message.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from septet import errors
from septet.errors import SeptetError, UsageError
from septet.launch import WAIT, WAIT_VARIABLE, Launch, launched
from septet.recipe.train import seconds

# numbers that are summed in one message; larger tensors go alone, as they lie
BUCKET = 1 << 22
POLL_S = 0.2
# between two looks for what a thread of another process leaves; and what one that is at work is given once a process has failed
HEAR_S, GRACE_S = 0.02, 10.0
_ERROR = "error"


class RankError(SeptetError):
    """Another process of the run has ended or no longer answers."""


class Ranks:
    """One process among those of a run.

    Args:
        launch: how this process was started.
        store: what the processes share besides their messages; None where there is one process.
    """

    def __init__(self, launch: Launch | None = None, store: Any = None):
        self.launch = launch or Launch()
        self.rank, self.world = self.launch.rank, self.launch.world
        self.store = store
        self._passed: dict[str, int] = {}
        self._first: dict[str, Any] | None = None

    @property
    def lead(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    # ---- what is told ----

    def gather(self, value: Any) -> list[Any]:
        """Return the JSON values of all ranks, in their order."""
        if self.world == 1:
            return [value]
        raw = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(raw)]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(raw)] = raw
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(part[: int(size)].numpy())) for part, size in zip(parts, sizes, strict=True)]

    def decide(self, choose: Callable[[], Any]) -> Any:
        """Return what the leader chooses, a JSON value; the others do not choose."""
        if self.world == 1:
            return choose()
        return self.gather(choose() if self.lead else None)[0]

    def any(self, wish: bool) -> bool:
        """Return whether any rank wishes it."""
        return self.sum([float(wish)])[0] > 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of numbers over the ranks, in float64."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace fp32 tensors, of the same shapes on every rank, by their sums over the ranks."""
        if self.world == 1:
            return
        small: list[torch.Tensor] = []
        for tensor in tensors:
            if tensor.numel() >= BUCKET and tensor.is_contiguous():
                dist.all_reduce(tensor)
                continue
            small.append(tensor)
            if sum(t.numel() for t in small) >= BUCKET:
                _add_up_together(small)
                small = []
        if small:
            _add_up_together(small)

    # ---- what is waited for ----

    @contextlib.contextmanager
    def lead_first(self, what: str) -> Iterator[None]:
        """Let the leader do what stands within before the others do it; they wait as long as it takes."""
        turn = self.turn(what)
        if not self.lead:
            self._wait(f"{what} {turn}")
        yield
        if self.lead and self.store is not None:
            self.store.set(f"{what} {turn}", "done")

    def _wait(self, key: str) -> None:
        while not self.store.check([key]):
            if self.store.check([_ERROR]):
                raise RankError("The leading process has ended.")
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def in_step(self, model: torch.nn.Module, fill: Callable[[], object]) -> Iterator[None]:
        """Let all ranks make as many passes of a model that is divided over them; those that have fewer within `fill`, with one whose result nobody uses."""

        def tell(*_: Any) -> None:
            self.any(True)

        handle = model.register_forward_pre_hook(tell)
        try:
            yield
        finally:
            handle.remove()
        while self.any(False):
            fill()

    # ---- what threads tell each other, beside the messages of the main ones ----

    def turn(self, what: str) -> int:
        """Return how often this was asked for; the same on all ranks that do the same."""
        self._passed[what] = self._passed.get(what, 0) + 1
        return self._passed[what]

    def tell(self, key: str, value: Any) -> None:
        """Leave a JSON value for the other ranks."""
        self.store.set(key, json.dumps(value))

    def hear(self, key: str) -> Any:
        """Return what another rank has left or leaves, waiting as long as no rank has failed.

        Raises:
            RankError: one has failed, and has not left it in the time that what was begun may take to end.
        """
        until = None
        while not self.store.check([key]):
            if until is None and self.store.check([_ERROR]):
                until = time.monotonic() + GRACE_S
            if until is not None and time.monotonic() > until:
                raise RankError("Another process has ended.")
            time.sleep(HEAR_S)
        return json.loads(self.store.get(key))

    # ---- what goes wrong ----

    @contextlib.contextmanager
    def in_turn(self, what: str) -> Iterator[None]:
        """Let threads of all ranks do a part each of one thing; leave it when all have, with what the first of them failed with."""
        failed: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failed = error
        self.tell(f"{what} of rank {self.rank}", failed and _facts(failed))
        try:
            told = [self.hear(f"{what} of rank {rank}") for rank in range(self.world)]
        except BaseException as error:
            raise failed or error from None
        first = next((rank for rank, facts in enumerate(told) if facts), None)
        if first is not None:
            raise failed if failed is not None and first == self.rank else _rebuilt(told[first])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """End with the same error on every rank: the first one that is told; it is marked on the others, which need not print it."""
        try:
            yield
        except BaseException as error:
            if self.world == 1 or isinstance(error, GeneratorExit) or getattr(error, "told", False):
                raise
            self._raise_first(error)

    def warn(self, error: BaseException) -> dict[str, Any]:
        """Tell the others that this process is about to end, and return what the first one said that is."""
        if self.world == 1:
            return {}
        if self._first is None:
            mine = _facts(self._told(error)) | {"rank": self.rank}
            try:
                self._first = json.loads(self.store.compare_set(_ERROR, "", json.dumps(mine)))
            except Exception:  # the process that held the store is gone; what it said is lost with it
                self._first = mine
        return self._first or {}

    def _raise_first(self, error: BaseException) -> NoReturn:
        told, first = self._told(error), self.warn(error)
        if first["rank"] != self.rank:
            raise _rebuilt(first) from error
        raise told from (error if told is not error else None)

    def _told(self, error: BaseException) -> BaseException:
        if _is_lost(error):
            return RankError(
                "Another process of this run has ended or does not answer.",
                where=f"noticed by rank {self.rank} of {self.world}",
                hint=f"--resume; torchrun --max-restarts does it by itself; {WAIT_VARIABLE} says how long is waited",
            )
        return error


_here: list[Ranks] = [Ranks()]


def here() -> Ranks:
    """Return this process's place among those of its run."""
    return _here[0]


def join() -> Ranks:
    """Find the other processes that `torchrun` has started, once, and return this one's place among them.

    Raises:
        UsageError: the time to wait for the others is none.
    """
    launch = launched()
    if launch.world == 1 or here().world > 1:
        return here()
    wait = os.environ.get(WAIT_VARIABLE, WAIT)
    if not seconds(wait):
        raise UsageError(
            f"{WAIT_VARIABLE} must be a time such as 90s or 30m.", received=wait, hint=f"{WAIT_VARIABLE}={WAIT}"
        )
    timeout = timedelta(seconds=seconds(wait))
    store, rank, world = next(dist.rendezvous("env://", timeout=timeout))
    # torchrun may keep the store over its restarts, with the addresses and the error of processes that are gone
    store = dist.PrefixStore(f"attempt {launch.restarts}", store)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=world,
        timeout=timeout,
    )
    _here[0] = Ranks(launch, dist.PrefixStore("septet", store))
    return here()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Do what stands within without asking or telling the others."""
    before, _here[0] = _here[0], Ranks()
    try:
        yield
    finally:
        _here[0] = before


def leave() -> None:
    """Take leave of the other processes; what is asked after it is answered alone."""
    if here().world > 1:
        # the leader may hold the store that the others still read; one that is gone already has nothing left to do
        with contextlib.suppress(RuntimeError):
            here().sum([0.0])
        dist.destroy_process_group()
        _here[0] = Ranks()


def _add_up_together(tensors: list[torch.Tensor]) -> None:
    together = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(together)
    for tensor, part in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _facts(error: BaseException) -> dict[str, Any]:
    known = errors.explain_foreign(error) if isinstance(error, Exception) else None
    if known is None or isinstance(known, errors.Problems):
        code = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
        return {"type": "SeptetError", "what": str(error), "where": None, "hint": None, "code": code}
    return {
        "type": type(known).__name__,
        "what": known.what,
        "where": known.where,
        "hint": known.hint,
        "code": known.exit_code,
    }


def _rebuilt(facts: dict[str, Any]) -> SeptetError:
    """Return an error that another rank has raised and tells."""
    kind = next((k for k in _kinds(SeptetError) if k.__name__ == facts["type"]), SeptetError)
    error = SeptetError(facts["what"], where=facts["where"], hint=facts["hint"])
    error.__class__ = kind  # some kinds are made from other arguments
    error.exit_code = facts["code"]
    error.told = True
    return error


def _kinds(kind: type[SeptetError]) -> Iterator[type[SeptetError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _is_lost(error: BaseException) -> bool:
    """Whether an error only says that a message did not get through."""
    if isinstance(error, (RankError, dist.DistError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in said for sign in ("closed by peer", "connection reset", "timed out", "gloo", "nccl")
    )
