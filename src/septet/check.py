"""Stages 2 and 3: is this run possible here, what will it take, and is the model what it seems to be?

All that the run will do is done once and thrown away (`rehearse.py`); from that come the estimates of time and memory, which the run later
sets beside what it took.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from septet.engine import device as devices
from septet.engine import machine as machines
from septet.errors import amount
from septet.model.load import look_ahead
from septet.prepare import prepare
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.rehearse import rehearse
from septet.report import Finding, Report
from septet.run import Run
from septet.setup import Setup, set_up

# parts of the estimate, as they are shown
ESTIMATED = {
    "setup_s": "set-up",
    "frozen_s": "the frozen part",
    "train_s": "updates",
    "validation_s": "validation",
    "saving_s": "checkpoints",
    "finish_s": "the artifact",
}
# a run that leaves less than this of the machine's memory is warned about
RESERVE = 0.1
# processes that a divided model's share is told for
PROCESSES = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found."""

    run: Run
    recipe: Recipe
    machine: dict[str, Any]
    model: dict[str, Any]
    estimate: dict[str, Any]
    findings: Report

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run.path),
            "machine": self.machine,
            "model": self.model,
            "estimate": self.estimate,
            "findings": self.findings.to_json(),
            "whys": {
                key: why for key, why in self.recipe.whys.items() if key.startswith(("model.", "train.", "method."))
            },
        }

    def text(self) -> str:
        estimate, model = self.estimate, self.model
        of_gpu = estimate.get("gpu_memory_bytes")
        gpu = "" if of_gpu is None else f", {of_gpu / 2**30:.2f} GiB of the GPU's"
        shown = machines.lines(self.machine)
        shown += [
            _products(self.machine["ceiling"]),
            f"model       {model['parameters']:,} parameters, {model['trainable']:,} learn ({model['trainable'] / model['parameters']:.1%})",
            f"estimate    {estimate['steps']:,} updates, {estimate['rows_per_s']:.0f} rows/s, about {clock(estimate['total_s'])} in all "
            f"({clocks(estimate['low_s'], estimate['high_s'])}), {estimate['memory_bytes'] / 2**30:.2f} GiB of memory{gpu}, {estimate['disk_bytes'] / 2**30:.2f} GiB of disk",
            "of which    "
            + ", ".join(f"{name} {clock(estimate[key])}" for key, name in ESTIMATED.items() if estimate[key] >= 0.5),
        ]
        return "\n".join([*shown, self.findings.text()])


def check(recipe: Recipe, run: Run, *, tables: Mapping[str, Any] | None = None, listen: Listen = quiet) -> Checked:
    """Return the machine, the model, the estimates and the findings; write `check.json`.

    Raises:
        CheckError: a finding is a blocker.
    """
    with run.locked():
        look_ahead(recipe)
        prepared = prepare(recipe, run, tables=tables, listen=listen)
        listen("stage", name="check")
        machines.forget_peak()
        began = time.perf_counter()
        setup = set_up(recipe, prepared, listen=listen)
        setup_s = time.perf_counter() - began
        facts = machines.machine(run.path)
        with devices.repeatable(recipe.train.device):
            estimate = rehearse(setup, run, setup_s=setup_s, listen=listen)
        findings = Report(setup.findings.findings)
        findings.add(
            *_resources(estimate, facts),
            _divided(setup, estimate),
            *_frameworks(facts),
            Finding(
                "precision-chosen", "note", f"{setup.recipe.train.precision}: {setup.recipe.whys['train.precision']}."
            ),
        )
        checked = Checked(
            run, setup.recipe, {**facts, "ceiling": setup.ceiling.to_json()}, _model(setup), estimate, findings
        )
        run.write_json("check.json", checked.to_json())
        if findings.blockers:  # there will be no result that shows them
            findings.tell(listen)
        findings.stop_on_blockers()
    return checked


def clock(seconds: float) -> str:
    """Return a duration as a person says it."""
    return _in(_unit(seconds), seconds) + f" {_unit(seconds)}"


def clocks(low_s: float, high_s: float) -> str:
    """Return two durations in one unit: `50 to 86 s`, `1.4 to 1.7 min`."""
    unit = _unit(high_s)
    return f"{_in(unit, low_s)} to {_in(unit, high_s)} {unit}"


def _unit(seconds: float) -> str:
    return "s" if seconds < 90 else "min" if seconds < 5400 else "h"


def _in(unit: str, seconds: float) -> str:
    """Return a duration in a unit; with one decimal where few of it would say too little."""
    value = seconds / {"s": 1, "min": 60, "h": 3600}[unit]
    return f"{value:,.1f}" if unit != "s" and value < 10 else f"{value:,.0f}"


def _model(setup: Setup) -> dict[str, Any]:
    from septet.train import model_facts

    return model_facts(setup)


def _products(ceiling: dict[str, Any]) -> str:
    """Return the measured rates of matrix products in one line, and when they were measured."""
    rates = ", ".join(f"{name} {ceiling[name]:,.0f}" for name in ("fp32", "bf16", "fp16") if ceiling[name] is not None)
    sizes = " x ".join(f"{ceiling[name]:,}" for name in ("tokens", "hidden", "inner"))
    return f"products    {rates} GFLOP/s at {sizes}; {ceiling['told']}"


def _resources(estimate: dict[str, Any], facts: dict[str, Any]) -> list[Finding]:
    found = []
    free = facts["disk_bytes"]["free"]
    if estimate["disk_bytes"] > free:
        found.append(
            Finding(
                "disk-short",
                "blocker",
                f"The run needs about {estimate['disk_bytes'] / 2**30:.2f} GiB of disk; {free / 2**30:.2f} GiB are free at {facts['disk_bytes']['folder']}.",
                "train.keep=1, or another disk: --run DIR",
            )
        )
    needs = [("memory", estimate["memory_bytes"], facts["memory_bytes"]["total"])]
    gpus = [each["memory_bytes"] for each in facts["accelerators"] if each["kind"] == "cuda"]
    if gpus and "gpu_memory_bytes" in estimate:
        needs.append(("the GPU's memory", estimate["gpu_memory_bytes"], gpus[0]))
    for whose, need, total in needs:
        if need <= (1 - RESERVE) * total:
            continue
        found.append(
            Finding(
                "memory-short",
                "warning",
                f"The run takes about {need / 2**30:.1f} of {total / 2**30:.1f} GiB of {whose}.",
                "a smaller train.token_budget, or train.activation_checkpointing=true; the update stays the same",
            )
        )
    return found


def _divided(setup: Setup, estimate: dict[str, Any]) -> Finding | None:
    """Return what each process would hold of a model that `train.shard` divides; the estimate is of one process, which holds it whole."""
    if not setup.recipe.train.shard:
        return None
    from septet.engine.device import DTYPES
    from septet.engine.shard import held_bytes

    dtype, moments = DTYPES[setup.recipe.train.precision or "fp32"], estimate["moment_bytes_each"]
    held = {world: held_bytes(setup.model, dtype, moments, world=world) for world in PROCESSES}
    gathered = held[PROCESSES[0]][1]
    whole = 4 * sum(p.numel() for p in setup.model.parameters())
    return Finding(
        "memory-divided",
        "note",
        f"Divided over {_listed(PROCESSES)} processes, each holds {_listed(amount(share) for share, _ in held.values())} of weights, gradients, masters and moments, "
        f"{amount(gathered)} of the largest part while it learns, and what a micro-batch takes. Loading takes {amount(whole)} of each process's host memory for a moment; "
        "the time and memory that are estimated are those of one process.",
        "",
        {"held_bytes": {str(world): share for world, (share, _) in held.items()}, "gathered_bytes": gathered},
    )


def _listed(values: Iterable[Any]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}"


def _frameworks(facts: dict[str, Any]) -> list[Finding]:
    found = [
        Finding("tpu-unused", "note", f"{a['name']}: {a['note']}.", "train on the CPU, or on a GPU")
        for a in facts["accelerators"]
        if a["kind"] == "tpu"
    ]
    others = [name for name in ("TensorFlow", "JAX") if name in facts["frameworks"]]
    if others:
        found.append(
            Finding("frameworks-found", "note", f"{' and '.join(others)} found; Septet computes with PyTorch.", "")
        )
    return found
