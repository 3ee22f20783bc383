"""Frozen parts computed once: what lies below everything that learns gives a row the same states in every epoch.

Before the first step the states of all rows of train and validation are computed, in batches that depend on the rows alone, and kept in a
file (`engine/states.py`); each epoch begins at them. Where the loss reads one token of a row (a head on a frozen classifier), one state a row is kept, and an
update neither collates tokens nor runs the backbone at all. Losses and gradients are those of the whole pass.

Shapes: M examples, B rows, T tokens, R tokens of the rows, H hidden.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from septet.engine.cut import STATES, Cut, find_cut, without_tokens
from septet.engine.device import flops_per_token
from septet.engine.dropout import DropoutClock
from septet.engine.loop import Examples
from septet.engine.machine import version
from septet.engine.mixture import again
from septet.engine.plan import Planner
from septet.engine.ranks import here
from septet.engine.states import StatesFile, bytes_of, no_room
from septet.engine.unpad import Unpadder, onto
from septet.model.features import by_tokens
from septet.progress import Listen, quiet
from septet.report import Finding
from septet.tasks import Batch, Example

# tokens of a batch of the computing pass, rows of a batch of one state a row, and rows of the probe
TOKENS, ROWS, PROBED = 4096, 8192, 8
# batches that `check` times
TIMED = 4
# settings of a config that are names alone
NAMES = ("_name_or_path", "id2label", "label2id", "transformers_version")


class Frozen:
    """The frozen part of a run's model, and the states it gives each row.

    Args:
        cut: of the model.
        model: with its method attached.
        task: whose examples they are.
        clock: of the dropout.
        train: the source of the run's updates.
        validation: the examples of validation, one after the other.
    """

    def __init__(
        self, cut: Cut, model: Any, task: Any, clock: DropoutClock, *, train: Examples, validation: Sequence[Example]
    ):
        self.cut = cut
        self.model = model
        self.task = task
        self.clock = clock
        self.train = train
        self.all = _alike(train, [*train.examples, *validation], unpadder=train.unpadder)
        tokens_M = np.array([len(e.inputs["input_ids"]) for e in self.all.examples], dtype=np.int64)
        self.counts_M = tokens_M if cut.position is None else np.ones_like(tokens_M)
        # states lie in the order they are computed in: by length
        self.order_M = np.argsort(tokens_M, kind="stable")
        self.starts_M = np.empty_like(tokens_M)
        self.starts_M[self.order_M] = np.cumsum(self.counts_M[self.order_M]) - self.counts_M[self.order_M]
        self.batches = list(by_tokens(self.order_M.tolist(), tokens_M.tolist(), TOKENS))

    @property
    def shape(self) -> tuple[int, int]:
        """States and their width."""
        return int(self.counts_M.sum()), self.cut.width

    def bytes_in(self, dtype: torch.dtype) -> int:
        """Return the bytes of all states."""
        return bytes_of(self.shape, dtype)

    def kept(self, listen: Listen = quiet) -> States | None:
        """Return the states of all rows, computed now unless they are kept already; None where they cannot be written."""
        file = self._file()
        table = file.read()
        if table is None:
            try:
                file.write(self._computed(listen))
            except OSError as error:
                listen("note", text=f"the frozen part is computed anew each time: {error}")
                return None
            table = file.read()
        else:
            listen("note", text=f"states of the frozen part: kept from an earlier run ({file.path})")
        return None if table is None else self._states(table)

    def trial(self) -> tuple[States, float]:
        """Return states for timing, all zero unless they are kept already, and the seconds that computing them takes."""
        file = self._file()
        table = file.read()
        if table is not None:
            return self._states(table), 0.0
        step = max(1, len(self.batches) // TIMED)
        tried = self.batches[step // 2 :: step]
        self._taken(tried[0])
        began = time.perf_counter()
        for batch in tried:
            self._taken(batch)
        seconds = time.perf_counter() - began
        share = sum(self._tokens(batch) for batch in tried) / sum(self._tokens(batch) for batch in self.batches)
        return self._states(torch.zeros(1, self.shape[1], dtype=self._dtype).expand(self.shape)), seconds / share

    def _computed(self, listen: Listen) -> Iterator[torch.Tensor]:
        done = 0
        for batch in self.batches:
            yield self._taken(batch)
            done += len(batch)
            listen("progress", what="frozen part", done=done, total=len(self.order_M))

    @torch.no_grad()
    def _taken(self, places: list[int]) -> torch.Tensor:
        was = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            return self.cut.taken(self.task, self.all.batch(np.array(places)))
        finally:
            for module, training in was:
                module.training = training

    def _tokens(self, places: list[int]) -> int:
        return sum(self.all.examples[place].size for place in places)

    def _states(self, table: torch.Tensor) -> States:
        return States(self, table)

    @property
    def _dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.model.parameters() if p.is_floating_point())

    def _file(self) -> StatesFile:
        return StatesFile(self._facts(), self.shape, self._dtype)

    def _facts(self) -> dict[str, Any]:
        """Return all that the states depend on."""
        config = self.model.config.to_dict()
        return {
            "weights": _weights(self.model),
            "rows": _rows(self.all.examples),
            "config": {name: str(value) for name, value in config.items() if name not in NAMES},
            "model": type(self.model).__name__,
            "cut": [self.cut.name, self.cut.position],
            "shape": list(self.shape),
            "dtype": str(self._dtype),
            "attention": str(self.model.config._attn_implementation),
            "layout": [TOKENS, self.all.unpadder is not None, self.all.longest, self.all.planner.length],
            "device": self.all.device.type,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "versions": {name: version(name) for name in ("torch", "transformers", "septet")},
        }


class States:
    """The states of all rows, by the place of their example.

    Args:
        frozen: whose they are.
        table: (N, H), in the order they were computed in.
    """

    def __init__(self, frozen: Frozen, table: torch.Tensor):
        self.frozen = frozen
        self.table = table
        self.offset = len(frozen.train.examples)
        # an answering model knows padded rows alone
        self._padded = _alike(frozen.train, frozen.all.examples, self, unpadder=None)

    @property
    def flops_per_token(self) -> float:
        """What an update computes above the states, forward and backward, for each token of its rows."""
        frozen = self.frozen
        flops = flops_per_token(frozen.model, frozen.cut.unused)[1]
        return flops * frozen.shape[0] / sum(e.size for e in frozen.all.examples)

    def source(self) -> Examples | Vectors:
        """Return the run's source, whose batches begin at the states."""
        if self.frozen.cut.position is None:
            train = self.frozen.train
            return _alike(train, train.examples, self, unpadder=train.unpadder)
        return Vectors(self.frozen, self)

    def validation(self, places: list[int]) -> Batch:
        """Return a batch of validation, by the places of its examples."""
        at = np.array(places) + self.offset
        if self.frozen.cut.position is not None:
            chosen = [self.frozen.all.examples[i] for i in at]
            empty = Batch({}, None, [e.row for e in chosen], [e.meta for e in chosen])
            return onto(without_tokens(empty, self.of(at)), self.frozen.train.device)
        return self._padded.batch(at)

    def of(self, places: np.ndarray) -> torch.Tensor:
        """Return the states of some examples, one after the other: (R, H)."""
        frozen = self.frozen
        counts = frozen.counts_M[places]
        ends = np.cumsum(counts)
        at_R = np.arange(ends[-1]) + np.repeat(frozen.starts_M[places] - (ends - counts), counts)
        return self.table[torch.from_numpy(at_R)]

    def beside(self, inputs: dict[str, torch.Tensor], places: np.ndarray) -> dict[str, torch.Tensor]:
        """Return padded inputs with their states beside them, zeros where there is no token."""
        states_RH = self.of(places)
        ids_BT = inputs["input_ids"]
        mask_BT = inputs.get("attention_mask")
        if mask_BT is None:
            return {**inputs, STATES: states_RH.view(*ids_BT.shape, -1)}
        states_BTH = states_RH.new_zeros(*ids_BT.shape, states_RH.shape[1])
        states_BTH[mask_BT.bool()] = states_RH
        return {**inputs, STATES: states_BTH}


class Vectors:
    """A source of batches that hold one state a row and nothing else.

    Args:
        frozen: the part they come from.
        states: of all rows.
    """

    def __init__(self, frozen: Frozen, states: States):
        examples = frozen.train.examples
        self.planner: Planner = frozen.train.planner
        self.states = states
        self.rows_M = [e.row for e in examples]
        self.sizes_M = [e.size for e in examples]
        self.targets_M = targets_of(frozen.task, examples, frozen.train.processor)

    def group(self, step: int) -> tuple[int, list[Batch]]:
        epoch, draws = self.planner.group(step)
        most = min(ROWS, self.planner.micro_batch or ROWS)
        return epoch, [self._batch(draws[i : i + most]) for i in range(0, len(draws), most)]

    def limit(self, micro_batch: int, token_budget: int) -> None:
        self.planner = replace(self.planner, micro_batch=micro_batch, token_budget=token_budget)

    def _batch(self, draws: np.ndarray) -> Batch:
        times, places = np.divmod(draws, len(self.rows_M))
        rows = [self.rows_M[i] for i in places]
        meta = [{"size": self.sizes_M[i], "row": row} for i, row in zip(places, rows, strict=True)]
        shown = [again(row, int(time)) if time else row for row, time in zip(rows, times, strict=True)]
        batch = Batch({}, self.targets_M[torch.from_numpy(places)], shown, meta)
        return onto(without_tokens(batch, self.states.of(places)), self.states.frozen.train.device)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whether frozen parts are computed once, why, and what a user should know of it."""

    frozen: Frozen | None
    why: str
    finding: Finding | None = None


def choose(
    wanted: bool | None,
    *,
    model: Any,
    task: Any,
    clock: DropoutClock,
    train: Examples,
    validation: Sequence[Example],
    epochs: float,
    dtype: torch.dtype,
) -> Chosen:
    """Return the frozen part of a run where keeping its states is asked for, or pays.

    Args:
        wanted: of the recipe; None leaves it to what pays.
        epochs: of the run.
        dtype: that the model will compute in.
    """
    if wanted is False:
        return Chosen(None, "as the recipe says")
    if all(p.requires_grad for p in model.parameters()):
        return _none("nothing is frozen", wanted)
    if here().world > 1:
        return _none("with several processes each row is computed by another one in every epoch", wanted, told=True)
    if wanted is None and epochs <= 1:
        return _none("one epoch: each state would be used once", None)
    if task.draws:
        return _none(f"task {task.name} draws its examples anew for every epoch", wanted)
    if "input_ids" not in train.examples[0].inputs:
        return _none("its rows are no tokens", wanted, told=True)
    batch, tokens = _probe(train)
    cut, why = find_cut(model, task, clock, batch, tokens)
    if cut is None:
        return _none(why, wanted, told=why != "its lowest block learns")
    frozen = Frozen(cut, model, task, clock, train=train, validation=validation)
    needed = frozen.bytes_in(dtype)
    if why := no_room(needed) or _no_targets(frozen):
        cut.remove()
        return _none(why, wanted, told=True)
    each = "one state a row" if cut.position is not None else "a state for each token"
    return Chosen(
        frozen,
        f"all up to {cut.name} is frozen and computed once",
        Finding(
            "frozen-kept",
            "note",
            f"All up to {cut.name} is frozen: computed once, {each}, {needed / 2**20:,.0f} MiB in the user's cache.",
            "train.cache_frozen=false computes it in every epoch",
            {"cut": cut.name, "bytes": needed, "states": frozen.shape[0]},
        ),
    )


def targets_of(task: Any, examples: Sequence[Example], processor: Any) -> torch.Tensor:
    """Return (M, …) what the loss compares with, of each example.

    Raises:
        ValueError: the task has no such tensor of one entry a row.
    """
    found = []
    for start in range(0, len(examples), ROWS):
        part = [
            replace(e, inputs={name: value[:1] for name, value in e.inputs.items()})
            for e in examples[start : start + ROWS]
        ]
        targets = task.collate(part, processor).targets
        if targets is None or len(targets) != len(part):
            raise ValueError("its targets are not one a row")
        found.append(targets)
    return torch.cat(found)


def _none(why: str, wanted: bool | None, *, told: bool = False) -> Chosen:
    if not wanted and not told:
        return Chosen(None, why)
    return Chosen(
        None,
        why,
        Finding(
            "frozen-not-kept",
            "warning" if wanted else "note",
            f"The frozen part of the model is computed in every epoch: {why}.",
            "train.cache_frozen=false" if wanted else "",
        ),
    )


def _no_targets(frozen: Frozen) -> str:
    if frozen.cut.position is None:
        return ""
    try:
        targets_of(frozen.task, frozen.train.examples[:1], frozen.train.processor)
    except ValueError as error:
        return str(error)
    return ""


def _probe(train: Examples) -> tuple[Batch, int]:
    """Return a batch of examples from the shortest to the longest, and their tokens."""
    sizes = np.array([e.size for e in train.examples])
    places = np.argsort(sizes, kind="stable")[np.linspace(0, len(sizes) - 1, min(PROBED, len(sizes))).astype(int)]
    return train.batch(places), sum(len(train.examples[i].inputs["input_ids"]) for i in places)


def _alike(
    like: Examples, examples: Sequence[Example], states: States | None = None, *, unpadder: Unpadder | None
) -> Examples:
    """Return a source of other examples, made into batches in the same way."""
    made = like.planner, like.task, like.processor, like.device
    return Examples(examples, *made, unpadder, like.longest, states)


def _weights(model: Any) -> str:
    """Return the sha256 of all that does not learn."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.requires_grad:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def _rows(examples: Sequence[Example]) -> str:
    """Return the sha256 of what the model is called with."""
    digest = hashlib.sha256()
    for example in examples:
        for name in sorted(example.inputs):
            ids = np.asarray(example.inputs[name], dtype=np.int64)
            digest.update(f"{name} {len(ids)} ".encode())
            digest.update(ids.data)
    return digest.hexdigest()
