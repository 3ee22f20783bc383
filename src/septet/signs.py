"""What a run's curves and scores show of its fit; `diagnose` judges by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet import registry
from septet.data.held import TRAIN_SAMPLE
from septet.metrics import find
from septet.run import Run


@dataclass(frozen=True, slots=True)
class Signs:
    """What the diagnosis looks at.

    Args:
        losses: training loss of each step.
        validation: `epoch`, `loss` and the metrics of each validation.
        metric: a metric from 0 to 1 where higher is better.
        train_score: of the tuned model on trained rows; None when they were not scored.
        train_loss: its log loss there, in nats; None likewise.
        held: who -> (value, low, high) on rows nobody was trained on.
        entropy: of the training labels, in nats: the loss of answering their shares.
        lr: the peak rate of the recipe.
        usual_lr: the method's default.
    """

    losses: Sequence[float]
    validation: Sequence[dict[str, Any]]
    metric: str
    train_score: float | None
    train_loss: float | None
    held: dict[str, tuple[float, float, float]]
    train_rows: int
    num_labels: int
    entropy: float
    lr: float
    usual_lr: float
    method: str = "full"
    epochs: float = 1.0
    max_steps: int | None = None

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def tuned(self) -> tuple[float, float, float]:
        return self.held["tuned"]

    @property
    def last_loss(self) -> float:
        """Median of the last tenth of the training losses, three at least."""
        tail = np.asarray(self.losses[-max(3, self.steps // 10) :], dtype=np.float64)
        return float(np.median(tail)) if len(tail) else math.nan

    @property
    def learnt(self) -> float:
        """Share of the labels' entropy that the model takes away on trained rows."""
        loss = self.last_loss if self.train_loss is None else self.train_loss
        return 1 - loss / self.entropy if math.isfinite(loss) and self.entropy > 0 else 0.0

    @property
    def best_baseline(self) -> tuple[str, float] | None:
        """The strongest baseline on held-out rows, and its score."""
        others = {who: value for who, (value, _, _) in self.held.items() if who != "tuned"}
        return max(others.items(), key=lambda item: item[1]) if others else None

    @property
    def rise(self) -> float:
        """How far the last validation loss is above the lowest, as a share of it."""
        losses = [record["loss"] for record in self.validation]
        return losses[-1] / max(min(losses), 1e-12) - 1 if losses else 0.0

    @property
    def decline(self) -> float:
        """How far the metric ended below its best validation."""
        values = [record[self.metric] for record in self.validation if self.metric in record]
        return max(values) - values[-1] if values else 0.0

    @property
    def best_epoch(self) -> float:
        """The epoch of the lowest validation loss."""
        return (
            float(min(self.validation, key=lambda record: record["loss"])["epoch"]) if self.validation else self.epochs
        )

    @property
    def learnt_by(self) -> float:
        """The epoch after which the training loss stays below a twentieth of the labels' entropy; the last where it never does."""
        above = [i for i, loss in enumerate(self.losses) if not loss < self.entropy / 20]
        return self.epochs * (above[-1] + 1) / self.steps if above else 0.0

    @property
    def still_falling(self) -> bool:
        """Whether the last validation loss is the lowest, by 3 % at least."""
        losses = [record["loss"] for record in self.validation]
        return len(losses) >= 2 and losses[-1] == min(losses) and losses[-1] < 0.97 * losses[-2]

    @property
    def blew_up(self) -> bool:
        """Whether the training loss ended far above its low point, or above answering the label shares."""
        if any(not math.isfinite(loss) for loss in self.losses):
            return True
        if self.steps < 10:
            return False
        width = max(3, self.steps // 20)
        smooth = np.convolve(np.asarray(self.losses), np.ones(width) / width, "valid")
        return bool(
            self.last_loss > 1.3 * smooth.min() and self.last_loss > 0.9 * self.entropy
        ) or self.last_loss > 1.2 * max(self.entropy, self.losses[0])

    @property
    def nothing_to_learn(self) -> bool:
        """Whether no baseline that reads the text is shown to beat the one that does not."""
        majority = self.held.get("majority")
        others = [interval for who, interval in self.held.items() if who not in ("tuned", "majority")]
        return majority is not None and bool(others) and all(low <= majority[2] for _, low, _ in others)


def gather(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], *, tests: Sequence[str]) -> Signs:
    """Return what the diagnosis looks at."""
    data = run.read_json("data.json")
    steps = [step for step in run.records("steps.jsonl") if not step.get("skipped")]
    validation = run.records("evaluations.jsonl")
    metric = _metric(recipe, scores)
    split = tests[0] if tests else "validation"
    held = {
        line["who"]: (line["value"], line["low"], line["high"])
        for line in scores
        if line["split"] == split and line["metric"] == metric
    }
    on_train = {
        line["metric"]: line["value"] for line in scores if line["split"] == TRAIN_SAMPLE and line["who"] == "tuned"
    }
    shares = np.array([n for n in _label_counts(data).values() if n], dtype=np.float64)
    shares = shares / shares.sum() if len(shares) else np.full(len(data["labels"]), 1 / len(data["labels"]))
    return Signs(
        losses=[step["loss"] for step in steps],
        validation=validation,
        metric=metric,
        train_score=on_train.get(metric),
        train_loss=on_train.get("log_loss"),
        held=held,
        train_rows=int(data["splits"]["train"]["rows"]),
        num_labels=len(data["labels"]),
        entropy=float(-(shares * np.log(shares)).sum()),
        lr=float(recipe.train.lr),
        usual_lr=float(getattr(registry.part("method", recipe.method.name), "lr", recipe.train.lr)),
        method=recipe.method.name,
        epochs=float(validation[-1]["epoch"]) if validation else 0.0,
        max_steps=recipe.train.max_steps,
    )


def _metric(recipe: Any, scores: Sequence[dict[str, Any]]) -> str:
    """Return the metric that chose the checkpoint if it runs up to 1, else the first of the scores that does."""
    names = [recipe.train.metric, *dict.fromkeys(line["metric"] for line in scores)]
    for name in names:
        measure: Any = find(name)
        if measure.better == "higher" and measure.range[1] == 1:
            return name
    return "accuracy"


def _label_counts(data: dict[str, Any]) -> dict[str, int]:
    """Return the training rows by label, as the profile of the prepared data has them."""
    profile = data.get("profile", {}).get("train", {})
    return profile.get("labels", {})
