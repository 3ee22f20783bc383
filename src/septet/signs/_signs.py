"""What is looked at whatever the answers are: the course of the losses, and what the run was told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.data.held import TRAIN_SAMPLE
from septet.optimizers import derived_rate
from septet.run import Run

CONFIG = "model/config.json"  # of the artifact, which is as wide as the model it was tuned from
Interval = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is looked at whatever the answers are.

    Args:
        losses: training loss of each step.
        validation: `epoch`, `loss` and the metrics of each validation.
        train_loss: of the tuned model on trained rows, in nats; None when they were not scored.
        held: who -> (value, low, high) on rows nobody was trained on.
        lr: the peak rate of the recipe.
        usual_lr: what is derived for this model, method and optimizer; None of a model from scratch, which bears more.
    """

    losses: Sequence[float]
    validation: Sequence[dict[str, Any]]
    train_loss: float | None
    held: dict[str, Interval]
    train_rows: int
    lr: float
    usual_lr: float | None
    method: str = "full"
    optimizer: str = "adamw"
    epochs: float = 1.0
    max_steps: int | None = None

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def tuned(self) -> Interval:
        return self.held["tuned"]

    @property
    def lr_ratio(self) -> float:
        """The rate as a multiple of the usual one; 1 where there is none."""
        return self.lr / self.usual_lr if self.usual_lr else 1.0

    @property
    def last_loss(self) -> float:
        """Median of the last tenth of the training losses, three at least."""
        tail = np.asarray(self.losses[-max(3, self.steps // 10) :], dtype=np.float64)
        return float(np.median(tail)) if len(tail) else math.nan

    @property
    def rise(self) -> float:
        """How far the last validation loss is above the lowest, as a share of it."""
        losses = [record["loss"] for record in self.validation]
        return losses[-1] / max(min(losses), 1e-12) - 1 if losses else 0.0

    @property
    def best_epoch(self) -> float:
        """The epoch of the lowest validation loss."""
        return (
            float(min(self.validation, key=lambda record: record["loss"])["epoch"]) if self.validation else self.epochs
        )

    def means(self, width: int) -> np.ndarray:
        """Return the mean training loss of every stretch of so many steps."""
        return np.convolve(np.asarray(self.losses, dtype=np.float64), np.ones(width) / width, "valid")


def course(run: Run, recipe: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Return the signs that a run's own files hold, by the names they have in `Signs`."""
    validation = run.records("evaluations.jsonl")
    steps = [step for step in run.records("steps.jsonl") if not step.get("skipped")]
    return {
        "losses": [step["loss"] for step in steps],
        "validation": validation,
        "train_rows": int(data["splits"]["train"]["rows"]),
        "lr": float(recipe.train.lr),
        "usual_lr": _usual_lr(run, recipe),
        "method": recipe.method.name,
        "optimizer": recipe.optimizer.name,
        "epochs": float(validation[-1]["epoch"]) if validation else 0.0,
        "max_steps": recipe.train.max_steps,
    }


def _usual_lr(run: Run, recipe: Any) -> float | None:
    """Return the rate that is derived for the model where a recipe names none; None for a model from scratch: it bears more, how much depends on its size."""
    if recipe.model.architecture is not None:
        return None
    config = run.read_json(CONFIG) if (run.path / CONFIG).exists() else {}
    return derived_rate(recipe, config)[0]


def by_who(scores: Sequence[dict[str, Any]], split: str, metric: str) -> dict[str, Interval]:
    """Return who answered a split -> its score with its interval."""
    return {
        line["who"]: (line["value"], line["low"], line["high"])
        for line in scores
        if line["split"] == split and line["metric"] == metric
    }


def on_train(scores: Sequence[dict[str, Any]], metric: str) -> float | None:
    """Return the tuned model's score on trained rows; None where it has none."""
    wanted = (TRAIN_SAMPLE, "tuned", metric)
    return next((line["value"] for line in scores if (line["split"], line["who"], line["metric"]) == wanted), None)
