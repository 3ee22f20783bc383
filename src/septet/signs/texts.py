"""What is looked at where a row is answered with a text: losses in nats a token, before and after, and what the written answers score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet import registry
from septet.errors import UsageError
from septet.metrics import OF_WRITING, higher_is_better, needs_texts
from septet.run import Run
from septet.signs._signs import Interval, Signs, by_who, course, on_train


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSigns(Signs):
    """What is looked at where a row is answered with a text. `held` has the losses of the tuned model and of the base.

    Args:
        metric: a metric of written answers where higher is better; None where none were written.
        written: who -> (value, low, high) of that metric on held-out rows.
    """

    metric: str | None = None
    written: dict[str, Interval]

    @property
    def base(self) -> float | None:
        """The loss before tuning on held-out rows; None for a model from scratch, or where it was not measured."""
        return self.held["base"][0] if "base" in self.held else None

    @property
    def start(self) -> float:
        """The loss before tuning: the base's on held-out rows, else that of the first update."""
        first = self.losses[0] if self.losses else math.nan
        return first if self.base is None else self.base

    @property
    def learnt(self) -> float:
        """Share of the loss before tuning that is gone on held-out rows."""
        return _fall(self.start, self.tuned[0])

    @property
    def fell(self) -> float:
        """Share of its first value that the training loss fell by."""
        return _fall(self.losses[0], self.last_loss) if self.losses else 0.0

    @property
    def gap(self) -> float:
        """How far the loss on trained rows is below the one on held-out rows, as a share of it; 0 when it was not measured."""
        return 0.0 if self.train_loss is None else _fall(self.tuned[0], self.train_loss)

    @property
    def noise(self) -> float:
        """Half the interval of the held-out loss, as a share of it."""
        value, low, high = self.tuned
        return (high - low) / 2 / value if value > 0 else 0.0

    @property
    def late_fall(self) -> float:
        """Share by which the loss fell in the last third of the course: in validation, or in training where that was looked at once."""
        if len(self.validation) < 2:
            return self._late_fall_in_training()
        epochs = [0.0, *(float(record["epoch"]) for record in self.validation)]
        losses = [self.start, *(float(record["loss"]) for record in self.validation)]
        return _fall(float(np.interp(epochs[-1] * 2 / 3, epochs, losses)), losses[-1])

    @property
    def peak(self) -> float:
        """The highest stretch of the training loss, a tenth of the course long, as a multiple of the loss before tuning."""
        width = max(3, self.steps // 10)
        return float(self.means(width).max()) / max(self.start, self.losses[0]) if self.steps >= width else 1.0

    @property
    def rebound(self) -> float:
        """The last training loss as a multiple of the lowest stretch, a quarter of the course long."""
        width = max(5, self.steps // 4)
        return self.last_loss / max(float(self.means(width).min()), 1e-12) if self.steps >= width else 1.0

    @property
    def best_writer(self) -> tuple[str, Interval] | None:
        """The baseline whose answers score best, and its score."""
        others = {who: score for who, score in self.written.items() if who not in ("tuned", "base")}
        return max(others.items(), key=lambda item: item[1][0]) if others else None

    def _late_fall_in_training(self) -> float:
        """Return the fall of the last third's mean below the middle one's that their noise does not explain."""
        width = self.steps // 3
        if width < 3:
            return 0.0
        before, last = np.asarray(self.losses[-2 * width : -width]), np.asarray(self.losses[-width:])
        noise = 2 * math.sqrt((before.var() + last.var()) / width)
        return max(0.0, _fall(float(before.mean()), float(last.mean()) + noise))


def gather(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], split: str) -> TextSigns:
    """Return the signs of a run; `split` holds rows nobody was trained on."""
    task: Any = registry.part("task", recipe.task.name)
    metric = writing_metric(scores, split)
    return TextSigns(
        train_loss=on_train(scores, task.loss_metric),
        held=by_who(scores, split, task.loss_metric),
        metric=metric,
        written={} if metric is None else by_who(scores, split, metric),
        **course(run, recipe, run.read_json("data.json")),
    )


def writing_metric(scores: Sequence[dict[str, Any]], split: str) -> str | None:
    """Return by what written answers are shown; None where none were written.

    Adherence where the rows state limits, else chrF, else the first metric where higher is better.
    """
    names = dict.fromkeys(line["metric"] for line in scores if line["split"] == split and line["who"] == "tuned")
    usable = [name for name in names if _praises_writing(name)]
    return next((name for name in (*OF_WRITING, *usable) if name in usable), None)


def _fall(before: float, after: float) -> float:
    """Return how far a loss fell, as a share of what it was."""
    return 1 - after / before if math.isfinite(after) and before > 0 else 0.0


def _praises_writing(metric: str) -> bool:
    try:
        return needs_texts(metric) and higher_is_better(metric)
    except UsageError:  # a metric given with --code, read later without it
        return False
