"""Over- or underfitting, told from a run's own curves and scores, with the cause and one thing to change.

`diagnose(run, recipe, scores)` gathers `Signs` and calls `judge(signs)`, which is pure. The rules, in their order:

- *Underfitting*: the model does worse on rows it was trained on than a baseline does on rows it never saw, or it took away less than a
  fifth of the labels' entropy. Cause: the loss blew up (rate too high), the rate is far below the method's usual one, or the run is too short.
- *Overfitting*: the score on trained rows is far above the one on held-out rows, beyond the held-out interval, or somewhat above it while
  the validation loss has turned up. Cause: too few rows, too many epochs, or both.
- *Healthy*: neither. That says nothing about whether the score is good enough; the baselines do.

The artifact is the best checkpoint, so the scores speak of that one and the curves of the whole course.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from septet import registry
from septet.data.held import TRAIN_SAMPLE
from septet.metrics import find
from septet.page.words import number
from septet.report import Finding
from septet.run import Run

VERDICTS = ("overfitting", "underfitting")
CAUSES = {
    "lr-too-high": "the learning rate is too high",
    "lr-too-low": "the learning rate is too low",
    "too-short": "the run is too short",
    "too-few-weights": "too few weights learn",
    "no-signal": "the labels may not follow from the texts",
    "too-little-data": "there is too little data",
    "too-many-epochs": "it ran for too many epochs",
}
# found on planted runs of the quickstart, SST-2 and Banking77; the table is in docs/why.md
LEARNT = 0.2  # share of the labels' entropy that a run which learnt anything takes away
SHORT_STEPS = 30
SMALL_LR, LARGE_LR = 1 / 20, 20  # of the method's usual rate
WIDE_GAP, GAP, NARROW_GAP = 0.2, 0.08, 0.05
RISE, DECLINE = 0.15, 0.03
FEW_ROWS, FEW_A_LABEL = 200, 30
MANY_EPOCHS = 15


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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a fit, why, and what to change next (`change`, a `key=value` for the command line)."""

    verdict: str
    causes: list[str]
    message: str
    change: str = ""
    advice: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("verdict", "causes", "message", "change", "advice", "evidence")}

    def finding(self) -> Finding | None:
        """Return the diagnosis as a finding; None when healthy."""
        if self.verdict == "healthy":
            return None
        return Finding(self.verdict, "warning", self.message, self.advice, {"causes": self.causes, "change": self.change, **self.evidence})


def diagnose(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], *, tests: Sequence[str]) -> Diagnosis:
    """Return the diagnosis of a run whose scores are known.

    Args:
        scores: lines of `scores.jsonl`.
        tests: names of the test sets; the first is the one that counts, validation where there is none.
    """
    return judge(gather(run, recipe, scores, tests=tests))


def gather(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], *, tests: Sequence[str]) -> Signs:
    """Return what the diagnosis looks at."""
    data = run.read_json("data.json")
    steps = [step for step in run.records("steps.jsonl") if not step.get("skipped")]
    validation = run.records("evaluations.jsonl")
    metric = _metric(recipe, scores)
    split = tests[0] if tests else "validation"
    held = {line["who"]: (line["value"], line["low"], line["high"]) for line in scores if line["split"] == split and line["metric"] == metric}
    on_train = {line["metric"]: line["value"] for line in scores if line["split"] == TRAIN_SAMPLE and line["who"] == "tuned"}
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
    )


def judge(signs: Signs) -> Diagnosis:
    """Return the diagnosis for these signs."""
    evidence = _evidence(signs)
    if _underfits(signs):
        causes = _causes_of_underfitting(signs)
        change, advice = _more(signs, causes[0])
        return Diagnosis("underfitting", causes, _say("Underfitting", causes, _facts_of_underfitting(signs)), change, advice, evidence)
    if _overfits(signs):
        causes = _causes_of_overfitting(signs)
        change, advice = _less(signs, causes)
        return Diagnosis("overfitting", causes, _say("Overfitting", causes, _facts_of_overfitting(signs)), change, advice, evidence)
    return Diagnosis("healthy", [], _healthy(signs), evidence=evidence)


def _underfits(signs: Signs) -> bool:
    if signs.learnt < LEARNT:
        return True
    best = signs.best_baseline
    if best is None or signs.train_score is None:
        return False
    margin = (signs.tuned[2] - signs.tuned[1]) / 4  # one standard error
    return signs.train_score + max(0.02, margin) < best[1]


def _overfits(signs: Signs) -> bool:
    if signs.train_score is None:
        return False
    value, low, high = signs.tuned
    gap = signs.train_score - value
    if gap <= (high - low) / 2:
        return False
    return gap >= WIDE_GAP or (gap >= GAP and _rise(signs) >= RISE) or (gap >= NARROW_GAP and _decline(signs) >= DECLINE)


def _causes_of_underfitting(signs: Signs) -> list[str]:
    ratio = signs.lr / signs.usual_lr if signs.usual_lr else 1.0
    if _blew_up(signs) or ratio >= LARGE_LR:
        return ["lr-too-high"]
    if ratio <= SMALL_LR:
        return ["lr-too-low", "too-short"] if signs.steps < SHORT_STEPS else ["lr-too-low"]
    if signs.steps < SHORT_STEPS or _still_falling(signs):
        return ["too-short"]
    if _nothing_to_learn(signs):
        return ["no-signal"]
    fell = 1 - signs.last_loss / signs.losses[0] if signs.losses and signs.losses[0] else 0.0
    if fell < 0.05:
        return ["lr-too-low"]
    return ["too-short"] if signs.method == "full" else ["too-few-weights"]


def _causes_of_overfitting(signs: Signs) -> list[str]:
    few = signs.train_rows < FEW_ROWS or signs.train_rows < FEW_A_LABEL * signs.num_labels
    turned = _rise(signs) >= 0.05 and _best_epoch(signs) <= 0.7 * signs.epochs
    idle = signs.epochs >= MANY_EPOCHS and _learnt_by(signs) <= 0.6 * signs.epochs
    causes = ["too-little-data"] if few else []
    if turned or idle:
        causes.append("too-many-epochs")
    return causes or ["too-little-data"]


def _more(signs: Signs, cause: str) -> tuple[str, str]:
    """Return the change and the advice for a run that learnt too little."""
    usual = f"train.lr={signs.usual_lr:g}"
    if cause == "lr-too-high":
        lower = min(signs.usual_lr, signs.lr / 10)
        return f"train.lr={lower:g}", f"a lower rate: train.lr={lower:g} (it was {signs.lr:g}; usual for {signs.method} is {signs.usual_lr:g})"
    if cause == "lr-too-low":
        higher = usual if signs.lr < signs.usual_lr / 2 else f"train.lr={signs.lr * 5:g}"
        return higher, f"a higher rate: {higher} (it was {signs.lr:g}; usual for {signs.method} is {signs.usual_lr:g})"
    if cause == "no-signal":
        return "", "read some rows with their labels: do the texts say what the label says? The baselines learnt nothing either"
    if cause == "too-few-weights":
        return "method=full", f"let more weights learn: method=full (it was {signs.method})"
    per_epoch = signs.steps / signs.epochs if signs.epochs else signs.steps
    epochs = max(3, math.ceil(2 * signs.epochs), math.ceil(3 * SHORT_STEPS / max(per_epoch, 1)))
    limit = " and no train.max_steps" if signs.epochs < 1 else ""
    return f"train.epochs={epochs}", f"a longer run: train.epochs={epochs}{limit} (it had {signs.steps:,} updates, {signs.epochs:.2g} epochs)"


def _less(signs: Signs, causes: list[str]) -> tuple[str, str]:
    """Return the change and the advice for a run that learnt its rows by heart."""
    more_rows = f"more rows help most (there are {signs.train_rows:,} for {signs.num_labels} labels)"
    if "too-many-epochs" in causes:
        epochs = max(1, math.ceil(min(_best_epoch(signs), _learnt_by(signs))))
        change = f"train.epochs={epochs}"
        return change, f"{change}, or train.early_stopping={{patience: 2}}" + (f"; {more_rows}" if "too-little-data" in causes else "")
    best = signs.best_baseline
    if best is not None and best[0] == "features" and best[1] >= signs.tuned[0] and signs.method != "head":
        return "method=head", f"{more_rows}; until then method=head: frozen features do as well here"
    return "model.dropout=0.2", f"{more_rows}; until then model.dropout=0.2"


def _rise(signs: Signs) -> float:
    """Return how far the last validation loss is above the lowest, as a share of it."""
    losses = [record["loss"] for record in signs.validation]
    return losses[-1] / max(min(losses), 1e-12) - 1 if losses else 0.0


def _decline(signs: Signs) -> float:
    values = [record[signs.metric] for record in signs.validation if signs.metric in record]
    return max(values) - values[-1] if values else 0.0


def _best_epoch(signs: Signs) -> float:
    """Return the epoch of the lowest validation loss."""
    return float(min(signs.validation, key=lambda record: record["loss"])["epoch"]) if signs.validation else signs.epochs


def _learnt_by(signs: Signs) -> float:
    """Return the epoch after which the training loss stays below a twentieth of the labels' entropy; the last where it never does."""
    above = [i for i, loss in enumerate(signs.losses) if not loss < signs.entropy / 20]
    return signs.epochs * (above[-1] + 1) / signs.steps if above else 0.0


def _still_falling(signs: Signs) -> bool:
    losses = [record["loss"] for record in signs.validation]
    return len(losses) >= 2 and losses[-1] == min(losses) and losses[-1] < 0.97 * losses[-2]


def _blew_up(signs: Signs) -> bool:
    """Whether the training loss ended far above its low point, or above answering the label shares."""
    if any(not math.isfinite(loss) for loss in signs.losses):
        return True
    if signs.steps < 10:
        return False
    width = max(3, signs.steps // 20)
    smooth = np.convolve(np.asarray(signs.losses), np.ones(width) / width, "valid")
    return bool(signs.last_loss > 1.3 * smooth.min() and signs.last_loss > 0.9 * signs.entropy) or signs.last_loss > 1.2 * max(signs.entropy, signs.losses[0])


def _nothing_to_learn(signs: Signs) -> bool:
    majority = signs.held.get("majority")
    others = [interval for who, interval in signs.held.items() if who not in ("tuned", "majority")]
    return majority is not None and bool(others) and all(low <= majority[2] for _, low, _ in others)


def _facts_of_underfitting(signs: Signs) -> str:
    facts = f"{signs.steps:,} updates at a rate of {signs.lr:g} took away {max(0.0, signs.learnt):.0%} of the labels' entropy"
    best = signs.best_baseline
    if signs.train_score is not None:
        facts += f"; on trained rows {signs.metric} is {number(signs.metric, signs.train_score, unit=True)}"
        if best is not None:
            facts += f", where the baseline {best[0]} has {number(signs.metric, best[1], unit=True)} on rows it never saw"
    return facts


def _facts_of_overfitting(signs: Signs) -> str:
    trained, held = (number(signs.metric, value, unit=True) for value in (signs.train_score or 0.0, signs.tuned[0]))
    facts = f"{signs.metric} is {trained} on trained rows and {held} on held-out ones ({signs.train_rows:,} rows, {signs.epochs:.3g} epochs)"
    if _rise(signs) >= 0.05:
        facts += f"; the validation loss was lowest at epoch {_best_epoch(signs):.3g} and ended {_rise(signs):.0%} above that"
    return facts


def _healthy(signs: Signs) -> str:
    held = number(signs.metric, signs.tuned[0], unit=True)
    if signs.train_score is None:
        return f"Healthy as far as the curves show: {signs.metric} is {held} on held-out rows; trained rows were not scored."
    return f"Healthy: {signs.metric} is {number(signs.metric, signs.train_score, unit=True)} on trained rows and {held} on held-out ones."


def _say(verdict: str, causes: list[str], facts: str) -> str:
    return f"{verdict}: {' and '.join(CAUSES[cause] for cause in causes)}. {facts[0].upper()}{facts[1:]}."


def _evidence(signs: Signs) -> dict[str, Any]:
    evidence = {
        "metric": signs.metric,
        "train": signs.train_score,
        "held": signs.tuned[0],
        "learnt_share": round(signs.learnt, 4),
        "labels_entropy": round(signs.entropy, 4),
        "last_train_loss": round(signs.last_loss, 4) if math.isfinite(signs.last_loss) else None,
        "validation_loss_rise": round(_rise(signs), 4) if math.isfinite(_rise(signs)) else None,
        "validation_metric_decline": round(_decline(signs), 4),
        "best_epoch": _best_epoch(signs),
        "epochs": signs.epochs,
        "steps": signs.steps,
        "lr": signs.lr,
        "usual_lr": signs.usual_lr,
        "train_rows": signs.train_rows,
        "labels": signs.num_labels,
    }
    return evidence | ({"best_baseline": list(signs.best_baseline)} if signs.best_baseline else {})


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
