"""Stages 2 and 3: is this run possible here, what will it take, and is the model what it seems to be?

A few real steps are measured and undone; from them come the estimates of time and memory, which the run later sets beside what it took.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.engine import machine as machines
from septet.engine.loop import Step, train_steps
from septet.engine.state import TrainState
from septet.prepare import prepare
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.run import Run
from septet.setup import Setup, set_up
from septet.train import disk_bytes

# steps that warm up (the first ones of a size are slow), steps that count, and the time after which four are enough
WARM_STEPS, MEASURED_STEPS, ENOUGH_S = 3, 12, 5.0
# a run that leaves less than this of the machine's memory is warned about
RESERVE = 0.1


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
        shown = machines.lines(self.machine)
        shown += [
            _products(self.machine["ceiling"]),
            f"model       {model['parameters']:,} parameters, {model['trainable']:,} learn ({model['trainable'] / model['parameters']:.1%})",
            f"estimate    {estimate['steps']:,} updates, {estimate['rows_per_s']:.0f} rows/s, about {clock(estimate['train_s'])} "
            f"({estimate['low_s']:.0f} to {estimate['high_s']:.0f} s), {estimate['memory_bytes'] / 2**30:.1f} GiB of memory, {estimate['disk_bytes'] / 2**30:.2f} GiB of disk",
        ]
        return "\n".join([*shown, self.findings.text()])


def check(recipe: Recipe, run: Run, *, tables: Mapping[str, Any] | None = None, listen: Listen = quiet) -> Checked:
    """Return the machine, the model, the estimates and the findings; write `check.json`.

    Raises:
        CheckError: a finding is a blocker.
    """
    with run.locked():
        prepared = prepare(recipe, run, tables=tables, listen=listen)
        listen("stage", name="check")
        setup = set_up(recipe, prepared, listen=listen)
        facts = machines.machine(run.path)
        estimate = measure(setup, listen=listen)
        findings = Report(setup.findings.findings)
        findings.add(
            *_resources(estimate, facts),
            *_frameworks(facts),
            Finding(
                "precision-chosen", "note", f"{setup.recipe.train.precision}: {setup.recipe.whys['train.precision']}."
            ),
        )
        checked = Checked(
            run, setup.recipe, {**facts, "ceiling": setup.ceiling.to_json()}, _model(setup), estimate, findings
        )
        run.write_json("check.json", checked.to_json())
        for finding in findings:
            listen("finding", finding=finding)
        findings.stop_on_blockers()
    return checked


def measure(setup: Setup, *, listen: Listen = quiet) -> dict[str, Any]:
    """Take a few real steps and return what the whole run will take: seconds, bytes of memory and disk.

    The steps' weights are thrown away with the process's copy of the model; `setup` must not be trained afterwards.
    """
    optimizer = setup.optimizer()
    state = TrainState()
    loop = train_steps(
        setup.model,
        setup.task,
        optimizer,
        setup.source(),
        state,
        rates=setup.rates(),
        clock=setup.clock,
        scaled=setup.recipe.train.precision == "fp16",
    )
    taken: list[Step] = []
    total = min(WARM_STEPS + MEASURED_STEPS, setup.total)
    for step in loop:
        taken.append(step)
        listen("progress", what="measure", done=len(taken), total=total)
        if len(taken) == total or (len(taken) >= WARM_STEPS + 4 and sum(s.seconds for s in taken) > ENOUGH_S):
            break
    counted = taken[min(WARM_STEPS, len(taken) - 1) :]
    validation_s = _validation_s(setup) * _evaluations(setup)
    per_token = np.array([step.seconds / step.tokens for step in counted])
    tokens_per_s = 1 / float(np.median(per_token))
    tokens = setup.planner.tokens_per_epoch
    train_s = tokens * setup.total / setup.planner.groups_per_epoch / tokens_per_s
    spread = float(np.quantile(per_token, 0.9) - np.quantile(per_token, 0.1)) * tokens_per_s
    # training keeps a copy of weights and moments, from which checkpoints are written beside it
    copied = 12 * sum(p.numel() for p in setup.model.parameters() if p.requires_grad)
    return {
        "steps": setup.total,
        "train_s": round(train_s, 1),
        "validation_s": round(validation_s, 1),
        "low_s": round(train_s * (1 - min(0.5, spread / 2)), 1),
        "high_s": round(train_s * (1 + min(1.0, spread)) + validation_s, 1),
        "rows_per_s": round(tokens_per_s * setup.planner.draws_per_epoch / tokens, 1),
        "tokens_per_s": round(tokens_per_s, 1),
        "memory_bytes": machines.peak_memory_bytes() + copied,
        "disk_bytes": disk_bytes(setup),
    }


def clock(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _validation_s(setup: Setup) -> float:
    from septet.model.predictor import Predictor

    if not setup.validation:
        return 0.0
    part = setup.validation[:200]
    began = time.perf_counter()
    Predictor(setup.model, setup.task, setup.processor, length=setup.planner.length).measure(part)
    return (time.perf_counter() - began) * len(setup.validation) / len(part)


def _evaluations(setup: Setup) -> int:
    from septet.course import evaluate_every

    return -(-setup.total // evaluate_every(setup.recipe.train.eval_every, setup.planner.groups_per_epoch))


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
    total = facts["memory_bytes"]["total"]
    if estimate["memory_bytes"] > (1 - RESERVE) * total:
        found.append(
            Finding(
                "memory-short",
                "warning",
                f"The run takes about {estimate['memory_bytes'] / 2**30:.1f} of {total / 2**30:.1f} GiB of memory.",
                "a smaller train.token_budget; the update stays the same",
            )
        )
    return found


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
