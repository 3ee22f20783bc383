"""Stages 2 and 3 together: everything that is decided before the first step, each value with its reason.

`set_up` reads the prepared rows, loads the model safely, encodes, measures the machine and fills what the recipe left open. `check` shows
the result, `train` goes on from it; a resumed run finds every value in its resolved recipe and derives nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from septet import perceive, registry
from septet.data.store import Prepared
from septet.encode import Encoded, encode, folder_of, truncated
from septet.engine import device as devices
from septet.engine import dropout, varlen
from septet.engine import frozen as frozen_parts
from septet.engine.attention import (
    ATTENTION,
    FUSED,
    attends_alike,
    caps_scores,
    not_dropped,
    register_attention,
    sees_whole,
)
from septet.engine.frozen import Frozen, States, Vectors
from septet.engine.guard import damaged
from septet.engine.loop import Examples, Rates
from septet.engine.masters import Masters, used_embedding_rows
from septet.engine.optim import Optimizer
from septet.engine.plan import PASS_COST, Planner
from septet.engine.ranks import here
from septet.engine.schedule import warmup_steps
from septet.engine.shortcut import FirstTokenOnly, first_token_only
from septet.engine.unpad import Unpadder, unpadder
from septet.errors import ModelError, RecipeError, SeptetError
from septet.hasten import optimizer_by, speed_up
from septet.methods import writes
from septet.model import fresh, last_token, load, scratch, tiled
from septet.optimizers import derived_rate, widths
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Report
from septet.tasks import Example


@dataclass
class Setup:
    """A run that is ready for its first step."""

    recipe: Recipe
    prepared: Prepared
    task: Any
    method: Any
    model: Any
    base: load.Loaded
    processor: Any
    device: torch.device
    ceiling: devices.Ceiling
    planner: Planner
    train: list[Example]
    validation: list[list[Example]]
    validation_rows: list[dict[str, Any]]
    clock: dropout.DropoutClock
    shortcut: FirstTokenOnly | None
    unpadder: Unpadder | None
    frozen: Frozen | None = None
    states: States | None = None
    findings: Report = field(default_factory=Report)
    truncation: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Updates of the whole run."""
        return _updates(self.recipe, self.planner)

    @property
    def flops_per_token(self) -> float:
        """Matrix-product operations of a token, forward and backward; of a patch of a picture, of 20 ms of a recording."""
        if self.states is not None:
            return self.states.flops_per_token
        if self.task.input.varies:
            return devices.flops_per_token(self.model)[1]
        return perceive.flops_per_token(self.model, self.task, self.train, self.processor)

    def rates(self) -> Rates:
        train = self.recipe.train
        return Rates(train.lr or 0.0, train.schedule, warmup_steps(train.warmup, self.total), self.total, train.clip)

    def source(self) -> Examples | Vectors:
        """Return what updates see; its batches begin above the frozen part once its states are kept."""
        return self.examples() if self.states is None else self.states.source()

    def examples(self) -> Examples:
        """Return the source of whole examples."""
        longest = self.recipe.model.max_length
        return Examples(self.train, self.planner, self.task, self.processor, self.device, self.unpadder, longest)

    def keep_states(self, listen: Listen = quiet) -> None:
        """Compute the states of the frozen part where it is computed once; the model must compute as it will in training."""
        self.states = None if self.frozen is None else self.frozen.kept(listen)

    def optimizer(self) -> Optimizer:
        """Return a fresh optimizer over fp32 masters; an unshared input embedding is trained on its used rows only, where that is exact."""
        recipe, train, chosen = self.recipe, self.recipe.train, self.recipe.optimizer
        part = registry.part("optimizer", chosen.name)(chosen)
        # what a task draws may be any token
        whole = self.task.draws or not part.by_row
        padding = getattr(self.processor, "pad_token_id", None) or 0
        used = {} if whole else used_embedding_rows(self.model, self.train, padding)
        dtype = devices.DTYPES[train.precision or "fp32"]
        if divides(recipe):
            from septet.engine.shard import divide

            masters = divide(self.model, self.device, dtype, used)
        else:
            masters = Masters(self.model, used, dtype)
        groups = self.method.param_groups(self.model, train.weight_decay)
        rounds = train.precision not in (None, "fp32") and self.device.type == "cpu"
        # compiled, it takes no master that is its own parameter, as those of batch norms are
        apart = rounds and masters.cut is None and not masters.statistics
        by = optimizer_by(self) if apart else "torch"
        optimizer = part.over(masters, groups, model=self.model, by=by)
        # sums over ranks are of fp32
        masters.holds = masters.holds and here().world == 1
        return optimizer


def set_up(recipe: Recipe, prepared: Prepared, *, listen: Listen = quiet) -> Setup:
    """Return the run, ready to train, with every open value of the recipe filled.

    Raises:
        ModelError: the model folder is unsafe, damaged or unfit.
        CheckError: the method refuses the model.
    """
    folder = folder_of(recipe, prepared, listen=listen)
    encoded = encode(recipe, prepared, folder, listen=listen)
    recipe, task, processor, train = encoded.recipe, encoded.task, encoded.processor, encoded.train
    findings = Report(encoded.findings.findings)
    device = devices.choose_device(recipe.train.device)
    _check_precision(recipe, device)
    torch.set_num_threads(recipe.train.threads or _threads())
    hidden, inner = widths(encoded.config)
    # one process measures: what follows from it must be the same on all
    ceiling = devices.Ceiling(**here().decide(lambda: asdict(devices.ceiling(device, hidden, inner))))
    by_row = _by_row(recipe := recipe.filled(_from_machine(device, ceiling)), device, encoded.config)
    recipe = recipe.filled(_attention_of(device, encoded.config, by_row))
    method = registry.part("method", recipe.method.name)(recipe.method)
    recipe = recipe.filled(_from_method(method, recipe, encoded.config, ceiling))
    loaded, model, clock, told, ours = _built(recipe, task, method, folder, processor, train)
    clock.varlen = not by_row
    findings.add(*told, damaged(model), devices.crowded(recipe.train.threads))
    recipe = _placed(recipe, model, device, findings)
    findings.stop_on_blockers()
    asked = None if task.input.varies else perceive.asked(task, train, processor, device)
    dropout.count_calls(model, clock, asked)
    shortcut = without_padding = None
    if asked is None:
        shortcut = first_token_only(model, clock, len(processor))
        if ours and (shortcut is not None or writes(model)):
            without_padding = _unpadder(recipe, model, clock, processor, train)
        findings.add(*last_token.findings(loaded, processor, train))
    recipe, known = perceive.settle_statistics(recipe, model, task, train, processor)
    findings.add(*known, *task.findings(model), *perceive.told(task, model, processor))
    setup = Setup(
        recipe=recipe,
        prepared=prepared,
        task=task,
        method=method,
        model=model,
        base=loaded,
        processor=processor,
        device=device,
        ceiling=ceiling,
        planner=_planner(recipe, encoded, without_padding is not None, findings),
        train=train,
        validation=encoded.validation,
        validation_rows=encoded.validation_rows,
        clock=clock,
        shortcut=shortcut,
        unpadder=without_padding,
        findings=findings,
        truncation={"train": truncated([encoded.originals])}
        | ({"validation": truncated(encoded.validation)} if encoded.validation else {}),
    )
    _cut_frozen(setup)
    speed_up(setup)
    return setup


def _unpadder(
    recipe: Recipe, model: Any, clock: dropout.DropoutClock, processor: Any, train: Sequence[Example]
) -> Unpadder | None:
    """Return what takes the padding out, if the head reads nothing but what each row has then, and attention is faster so."""
    # fused attention by a call a row is slow on a GPU: of many short rows it is launches and little else
    slow = recipe.train.device != "cpu" and recipe.model.attention == "sdpa" and not clock.varlen
    if slow or recipe.train.pad == "max_length":
        return None
    if writes(model) and not sees_whole(model, max(e.size for e in train)):
        return None
    return unpadder(model, clock, len(processor))


def _placed(recipe: Recipe, model: Any, device: torch.device, findings: Report) -> Recipe:
    """Put a whole model on the device; one that is to be divided goes there block by block (`Setup.optimizer`), if that is exact."""
    if not divides(recipe):
        model.to(device)
        return recipe
    from septet.engine.shard import refusal

    findings.add(refusal(model, recipe, registry.part("optimizer", recipe.optimizer.name)))
    return recipe.filled({"train.compile": (False, "the model is divided (train.shard)")})


def _cut_frozen(setup: Setup) -> None:
    """Find the frozen part that is to be computed once."""
    train = setup.recipe.train
    found = frozen_parts.choose(
        train.cache_frozen,
        model=setup.model,
        task=setup.task,
        clock=setup.clock,
        train=setup.examples(),
        validation=[example for examples in setup.validation for example in examples],
        epochs=setup.total / setup.planner.groups_per_epoch,
        dtype=devices.DTYPES[train.precision or "fp32"],
    )
    setup.frozen = found.frozen
    setup.recipe = setup.recipe.filled({"train.cache_frozen": (found.frozen is not None, found.why)})
    setup.findings.add(found.finding)


def _built(
    recipe: Recipe, task: Any, method: Any, folder: Path, processor: Any, train: Sequence[Example]
) -> tuple[load.Loaded, Any, dropout.DropoutClock, Report, bool]:
    """Return what `build` does, the clock of its dropout, and whether the model attends by a function of ours."""
    loaded, model, findings = build(recipe, task, method, folder, processor)
    ours = model.config._attn_implementation in (ATTENTION, FUSED)
    clock = dropout.install(model, recipe.train.seed)
    asked = None if task.input.varies else perceive.asked(task, train, processor, torch.device("cpu"))
    if asked is not None:
        perceive.check_takes(model, asked, folder, task)
    if ours and not attends_alike(model, asked):
        ours = False
        loaded, model, findings = build(recipe, task, method, folder, processor, ours=False)
        clock = dropout.install(model, recipe.train.seed)
    tiled.settle(model)
    return loaded, model, clock, findings, ours


def build(
    recipe: Recipe, task: Any, method: Any, folder: Path, processor: Any, *, ours: bool = True
) -> tuple[load.Loaded, Any, Report]:
    """Load the checkpoint, or build the architecture, with the task's head in fp32 and attach the method; the same seed gives the same model.

    Args:
        ours: let the model attend by a function of ours, which `attends_alike` must have found possible: eager attention then drops
            probabilities by row, and fused attention needs no padding.

    Raises:
        CheckError: the method refuses the model.
        ModelError: it is unsafe, damaged or unfit, also for the attention asked for.
    """
    register_attention()
    head = next(iter(task.heads().values()))
    # what is left open is chosen on the model (`hasten.py`)
    attention = recipe.model.attention or "eager"
    counted = ours and attention == "eager"
    fused = ours and attention == "sdpa"
    make = load.load_model if recipe.model.architecture is None else partial(scratch.new_model, recipe.model)
    try:
        loaded = make(
            folder,
            head,
            seed=recipe.train.seed,
            dropout=recipe.model.dropout,
            attention_dropout=None if counted else 0.0,
            attention=ATTENTION if counted else FUSED if fused else attention,
            processor=processor,
        )
    except SeptetError:
        if not (counted or fused):
            raise
        # a model that knows transformers' own names of attention alone (GPT-Neo)
        return build(recipe, task, method, folder, processor, ours=False)
    if attention == "sdpa" and caps_scores(loaded.model.config):
        raise ModelError(
            f"{type(loaded.model).__name__} caps its attention scores, and fused attention cannot.",
            hint="model.attention=eager",
        )
    loaded.dtype = recipe.model.dtype or loaded.dtype
    findings = Report()
    findings.add(method.refuses(loaded.model), None if counted else not_dropped(attention))
    findings.stop_on_blockers()
    task.finish(loaded.model, processor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)  # adapters begin from random values too
        model = method.attach(loaded.model)
    findings.add(fresh.new_everywhere(recipe, model) if recipe.model.architecture else fresh.some_new(loaded))
    return loaded, model, findings


def _threads() -> int:
    launch = here().launch
    return launch.threads if launch.world > 1 else torch.get_num_threads()


def divides(recipe: Recipe) -> bool:
    """Return whether this process holds its share of the model only."""
    return recipe.train.shard and here().world > 1


def _updates(recipe: Recipe, planner: Planner) -> int:
    whole = planner.total_steps(recipe.train.epochs or 1)
    return whole if recipe.train.max_steps is None else min(whole, recipe.train.max_steps)


def _planner(recipe: Recipe, encoded: Encoded, unpadded: bool, findings: Report) -> Planner:
    train = recipe.train
    planner = Planner(
        [e.size for e in encoded.train],
        train.batch or 1,
        train.seed,
        train.token_budget or 1,
        train.micro_batch,
        recipe.model.max_length if train.pad == "max_length" else None,
        PASS_COST[train.precision or "fp32"],
        unpadded,
        encoded.mixture,
        here().rank,
        here().world,
        divides(recipe),
    )
    findings.add(planner.shortened())
    return planner


def _check_precision(recipe: Recipe, device: torch.device) -> None:
    """Refuse fp16 on a CPU, also where the recipe leaves the device open: it takes tens of times as long there."""
    if recipe.train.precision == "fp16" and device.type == "cpu":
        raise RecipeError(
            "train.precision cannot be fp16 on this machine, which trains on its CPU: it is many times slower there than bf16 or fp32.",
            hint="train.precision=auto",
        )


def _from_machine(device: torch.device, ceiling: devices.Ceiling) -> dict[str, tuple[Any, str]]:
    precision, why = devices.choose_precision(ceiling)
    return {
        "train.device": (device.type, "the best that PyTorch finds here"),
        "train.precision": (precision, why),
        "train.threads": (torch.get_num_threads(), "all cores, over the processes that share them"),
    }


def _by_row(recipe: Recipe, device: torch.device, config: dict[str, Any]) -> str:
    """Return why fused attention cannot take all rows in one call, on any process: each plans the passes of all."""
    why = varlen.lacking(device, devices.DTYPES[recipe.train.precision or "fp32"], config)
    return next(filter(None, here().gather(why)), "")


def _attention_of(device: torch.device, config: dict[str, Any], by_row: str) -> dict[str, tuple[Any, str]]:
    """Return the attention of a GPU; that of a CPU is chosen on the model (`hasten.py`)."""
    if device.type == "cpu" or config.get("text_config", config).get("attn_logit_softcapping"):
        return {}
    rows = (
        f"rows keep their padding, as varlen_attn is not used: {by_row}"
        if by_row
        else "rows laid end to end, where the model allows it, in one call of varlen_attn"
    )
    return {"model.attention": ("sdpa", f"fused attention of the GPU; {rows}")}


def _from_method(
    method: Any, recipe: Recipe, config: dict[str, Any], ceiling: devices.Ceiling
) -> dict[str, tuple[Any, str]]:
    budget = 32768 if ceiling.device != "cpu" else 2048 if recipe.train.precision == "fp32" else 4096
    filled: dict[str, tuple[Any, str]] = {
        "train.lr": derived_rate(recipe, config),
        "train.token_budget": (
            budget,
            f"a micro-batch of {budget:,} tokens fills this {ceiling.device.upper()}; it never changes the update",
        ),
    }
    if hasattr(method.options, "alpha"):
        filled["method.alpha"] = (2.0 * method.options.rank, "twice the rank, so that the scale is 2 at any rank")
    return filled
