"""What is looked at where a row is answered with a label: the score from 0 to 1, and the entropy of the labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.metrics import find
from septet.run import Run
from septet.signs._signs import Signs, by_who, course, on_train


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSigns(Signs):
    """What is looked at where a row is answered with a label.

    Args:
        metric: a metric from 0 to 1 where higher is better; `held` has its values.
        train_score: of the tuned model on trained rows; None when they were not scored.
        entropy: of the training labels, in nats: the loss of answering their shares.
    """

    metric: str
    train_score: float | None
    num_labels: int
    entropy: float

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
    def decline(self) -> float:
        """How far the metric ended below its best validation."""
        values = [record[self.metric] for record in self.validation if self.metric in record]
        return max(values) - values[-1] if values else 0.0

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
        low = self.means(max(3, self.steps // 20)).min()
        return bool(self.last_loss > 1.3 * low and self.last_loss > 0.9 * self.entropy) or self.last_loss > 1.2 * max(
            self.entropy, self.losses[0]
        )

    @property
    def nothing_to_learn(self) -> bool:
        """Whether no baseline that reads the text is shown to beat the one that does not."""
        majority = self.held.get("majority")
        others = [interval for who, interval in self.held.items() if who not in ("tuned", "majority")]
        return majority is not None and bool(others) and all(low <= majority[2] for _, low, _ in others)


def gather(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], split: str) -> ChoiceSigns:
    """Return the signs of a run; `split` holds rows nobody was trained on."""
    data = run.read_json("data.json")
    metric = _share_metric(recipe, scores)
    return ChoiceSigns(
        metric=metric,
        train_score=on_train(scores, metric),
        train_loss=on_train(scores, "log_loss"),
        held=by_who(scores, split, metric),
        num_labels=len(data["labels"]),
        entropy=_entropy(data),
        **course(run, recipe, data),
    )


def _share_metric(recipe: Any, scores: Sequence[dict[str, Any]]) -> str:
    """Return the metric that chose the checkpoint if it runs up to 1, else the first of the scores that does."""
    names = [recipe.train.metric, *dict.fromkeys(line["metric"] for line in scores)]
    for name in names:
        measure: Any = find(name)
        if measure.better == "higher" and measure.range[1] == 1:
            return name
    return "accuracy"


def _entropy(data: dict[str, Any]) -> float:
    """Return the entropy of the training labels, in nats, as the profile of the prepared data has them."""
    counts = data.get("profile", {}).get("train", {}).get("labels", {})
    shares = np.array([n for n in counts.values() if n], dtype=np.float64)
    shares = shares / shares.sum() if len(shares) else np.full(len(data["labels"]), 1 / len(data["labels"]))
    return float(-(shares * np.log(shares)).sum())
