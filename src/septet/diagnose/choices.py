"""The rules where a row is answered with a label, in their order.

- *Underfitting*: the model does worse on rows it was trained on than a baseline does on rows it never saw, or it took away less than a
  fifth of the labels' entropy. Cause: the loss blew up (rate too high), the rate is far below the one derived for the model, or the run is too short.
- *Overfitting*: the score on trained rows is far above the one on held-out rows, beyond the held-out interval, or somewhat above it while
  the validation loss has turned up. Cause: too few rows, too many epochs, or both.
- *Healthy*: neither.
"""

from __future__ import annotations

import math
from typing import Any

from septet.diagnose._change import SHORT_STEPS, fewer_epochs, higher_rate, longer_run, lower_rate, more_weights
from septet.diagnose._diagnosis import Diagnosis, say, turned
from septet.page.words import number
from septet.signs import ChoiceSigns

# found on planted runs of the quickstart and SST-2; docs/why.md, "Diagnosis"
LEARNT = 0.2  # share of the labels' entropy that a run which learnt anything takes away
SMALL_LR, LARGE_LR = 1 / 20, 20  # of the rate derived for the model
WIDE_GAP, GAP, NARROW_GAP = 0.2, 0.08, 0.05
RISE, DECLINE = 0.15, 0.03
FEW_ROWS, FEW_A_LABEL = 200, 30
MANY_EPOCHS = 15


def judge(signs: ChoiceSigns) -> Diagnosis:
    """Return the diagnosis for these signs."""
    evidence = _evidence(signs)
    if _underfits(signs):
        causes = _causes_of_underfitting(signs)
        change, advice = _more(signs, causes[0])
        return Diagnosis(
            "underfitting",
            causes,
            say("Underfitting", causes, _facts_of_underfitting(signs)),
            change,
            advice,
            evidence,
        )
    if _overfits(signs):
        causes = _causes_of_overfitting(signs)
        change, advice = _less(signs, causes)
        return Diagnosis(
            "overfitting", causes, say("Overfitting", causes, _facts_of_overfitting(signs)), change, advice, evidence
        )
    return Diagnosis("healthy", [], _healthy(signs), evidence=evidence)


def _underfits(signs: ChoiceSigns) -> bool:
    if signs.learnt < LEARNT:
        return True
    best = signs.best_baseline
    if best is None or signs.train_score is None:
        return False
    margin = (signs.tuned[2] - signs.tuned[1]) / 4  # one standard error
    return signs.train_score + max(0.02, margin) < best[1]


def _overfits(signs: ChoiceSigns) -> bool:
    if signs.train_score is None:
        return False
    value, low, high = signs.tuned
    gap = signs.train_score - value
    if gap <= (high - low) / 2:
        return False
    return gap >= WIDE_GAP or (gap >= GAP and signs.rise >= RISE) or (gap >= NARROW_GAP and signs.decline >= DECLINE)


def _causes_of_underfitting(signs: ChoiceSigns) -> list[str]:
    if signs.blew_up or signs.lr_ratio >= LARGE_LR:
        return ["lr-too-high"]
    if signs.lr_ratio <= SMALL_LR:
        return ["lr-too-low", "too-short"] if signs.steps < SHORT_STEPS else ["lr-too-low"]
    if signs.steps < SHORT_STEPS or signs.still_falling:
        return ["too-short"]
    if signs.nothing_to_learn:
        return ["no-signal"]
    fell = 1 - signs.last_loss / signs.losses[0] if signs.losses and signs.losses[0] else 0.0
    if fell < 0.05:
        return ["lr-too-low"]
    return ["too-short"] if signs.method == "full" else ["too-few-weights"]


def _causes_of_overfitting(signs: ChoiceSigns) -> list[str]:
    few = signs.train_rows < FEW_ROWS or signs.train_rows < FEW_A_LABEL * signs.num_labels
    turned = signs.rise >= 0.05 and signs.best_epoch <= 0.7 * signs.epochs
    idle = signs.epochs >= MANY_EPOCHS and signs.learnt_by <= 0.6 * signs.epochs
    causes = ["too-little-data"] if few else []
    if turned or idle:
        causes.append("too-many-epochs")
    return causes or ["too-little-data"]


def _more(signs: ChoiceSigns, cause: str) -> tuple[str, str]:
    """Return the change and the advice for a run that learnt too little."""
    if cause == "lr-too-high":
        return lower_rate(signs)
    if cause == "lr-too-low":
        return higher_rate(signs)
    if cause == "no-signal":
        return (
            "",
            "read some rows with their labels: do the texts say what the label says? The baselines learnt nothing either",
        )
    if cause == "too-few-weights":
        return more_weights(signs)
    return longer_run(signs)


def _less(signs: ChoiceSigns, causes: list[str]) -> tuple[str, str]:
    """Return the change and the advice for a run that learnt its rows by heart."""
    more_rows = f"more rows help most (there are {signs.train_rows:,} for {signs.num_labels} labels)"
    if "too-many-epochs" in causes:
        change, advice = fewer_epochs(min(signs.best_epoch, signs.learnt_by))
        return change, advice + (f"; {more_rows}" if "too-little-data" in causes else "")
    best = signs.best_baseline
    if best is not None and best[0] == "features" and best[1] >= signs.tuned[0] and signs.method != "head":
        return "method=head", f"{more_rows}; until then method=head: frozen features do as well here"
    return "model.dropout=0.2", f"{more_rows}; until then model.dropout=0.2"


def _facts_of_underfitting(signs: ChoiceSigns) -> str:
    facts = f"{signs.steps:,} updates at a rate of {signs.lr:g} removed {max(0.0, signs.learnt):.0%} of the uncertainty about the label"
    best = signs.best_baseline
    if signs.train_score is not None:
        facts += f"; on trained rows {signs.metric} is {number(signs.metric, signs.train_score, unit=True)}"
        if best is not None:
            facts += (
                f", where the baseline {best[0]} has {number(signs.metric, best[1], unit=True)} on rows it never saw"
            )
    return facts


def _facts_of_overfitting(signs: ChoiceSigns) -> str:
    trained, held = (number(signs.metric, value, unit=True) for value in (signs.train_score or 0.0, signs.tuned[0]))
    facts = f"{signs.metric} is {trained} on trained rows and {held} on held-out ones ({signs.train_rows:,} rows, {signs.epochs:.3g} epochs)"
    if signs.rise >= 0.05:
        facts += f"; {turned(signs)}"
    return facts


def _healthy(signs: ChoiceSigns) -> str:
    held = number(signs.metric, signs.tuned[0], unit=True)
    if signs.train_score is None:
        return f"Healthy as far as the curves show: {signs.metric} is {held} on held-out rows; trained rows were not scored."
    return f"Healthy: {signs.metric} is {number(signs.metric, signs.train_score, unit=True)} on trained rows and {held} on held-out ones."


def _evidence(signs: ChoiceSigns) -> dict[str, Any]:
    evidence = {
        "metric": signs.metric,
        "train": signs.train_score,
        "held": signs.tuned[0],
        "learnt_share": round(signs.learnt, 4),
        "labels_entropy": round(signs.entropy, 4),
        "last_train_loss": round(signs.last_loss, 4) if math.isfinite(signs.last_loss) else None,
        "validation_loss_rise": round(signs.rise, 4) if math.isfinite(signs.rise) else None,
        "validation_metric_decline": round(signs.decline, 4),
        "best_epoch": signs.best_epoch,
        "epochs": signs.epochs,
        "steps": signs.steps,
        "lr": signs.lr,
        "usual_lr": signs.usual_lr,
        "train_rows": signs.train_rows,
        "labels": signs.num_labels,
    }
    return evidence | ({"best_baseline": list(signs.best_baseline)} if signs.best_baseline else {})
