"""The rules where a row is answered with a text, in their order. The signs are losses, in nats a token: there is no score from 0 to 1 to fill.

- *Blew up*: the training loss rose far above where it began, or ended far above its low point. Underfitting, the rate is too high.
- *Learnt nothing*: on held-out rows the loss is hardly below that of the base, or of the first update where the model is from scratch. Overfitting
  when the training loss fell all the same; else underfitting: the rate is too high or too low, or the run too short.
- *Overfitting*: the loss on trained rows is far below the one on held-out rows, beyond the held-out interval, while the validation loss has
  turned up; or half of it. Cause: too few rows, too many epochs, or both.
- *Too short*: the loss still fell clearly at the end, or there were fewer updates than any curve can be read from.
- *Healthy*: none of these. What was written scores below a baseline's is said, and is no sign of the fit: chrF rewards length.
"""

from __future__ import annotations

import math
from typing import Any

from septet.diagnose._change import SHORT_STEPS, fewer_epochs, higher_rate, longer_run, lower_rate
from septet.diagnose._diagnosis import Diagnosis, say, turned
from septet.page.words import number
from septet.signs import TextSigns

# Shares of a loss, found on 33 planted runs: tiny Llamas (random, TinyStories-656K, from scratch) on shop_assistant, Alpaca and Multi30k.
# of the loss before tuning: rates of 1e-7 and 1e-6 took 0.001 at most, every sane run 0.17 and more
LEARNT = 0.03
# of the first training loss: rows that are recited (21 of them, 30 epochs) took 0.71 and 0.84
LEARNT_BY_HEART = 0.2
# of the loss before tuning: sane rates peaked at 1.02, rates of 0.5 and 1 at 1.7 and 2.1
PEAK = 1.5
# of the lowest quarter of the course, and of its first loss: every course ended at 1.03 of its lowest; none was planted to rebound
REBOUND, HIGH = 1.3, 0.5
# 21 rows, 30 epochs: gaps of 0.20 and 0.21, rises of 0.24 and 0.14; 370 rows, 3 epochs: 0.03 and 0
GAP, RISE = 0.15, 0.05
# the same 21 rows where chrF chose the checkpoint: 0.80; 104 rows whose validation loss fell to the end: 0.32
WIDE_GAP = 0.5
# in the last third: twice the epochs took 10 % more off where it was 0.025 to 0.032, and 5 to 8 % at 0.011 to 0.022
FALLING = 0.02
SMALL_LR, LARGE_LR = 1 / 20, 20  # of the rate derived for the model
FEW_STEPS = 10  # fewer draw no curve
FEW_ROWS = 200


def judge(signs: TextSigns) -> Diagnosis:
    """Return the diagnosis for these signs."""
    if _blew_up(signs):
        return _underfitting(signs, ["lr-too-high"])
    if signs.learnt < LEARNT:
        if signs.fell >= LEARNT_BY_HEART:
            return _overfitting(signs)
        return _underfitting(signs, _causes_of_learning_nothing(signs))
    if _overfits(signs):
        return _overfitting(signs)
    if signs.steps < FEW_STEPS or _still_falling(signs):
        return _underfitting(signs, ["too-short"])
    return Diagnosis("healthy", [], _healthy(signs), evidence=_evidence(signs))


def _blew_up(signs: TextSigns) -> bool:
    if not all(math.isfinite(loss) for loss in signs.losses):
        return True
    ended_high = signs.rebound >= REBOUND and signs.fell <= 1 - HIGH
    return signs.steps >= FEW_STEPS and (signs.peak >= PEAK or ended_high)


def _overfits(signs: TextSigns) -> bool:
    if signs.gap <= signs.noise:
        return False
    return signs.gap >= WIDE_GAP or (signs.gap >= GAP and signs.rise >= RISE)


def _still_falling(signs: TextSigns) -> bool:
    return signs.late_fall >= FALLING and signs.rise <= 0


def _causes_of_learning_nothing(signs: TextSigns) -> list[str]:
    if signs.lr_ratio >= LARGE_LR and signs.steps >= FEW_STEPS:
        return ["lr-too-high"]
    if signs.lr_ratio <= SMALL_LR:
        return ["lr-too-low", "too-short"] if signs.steps < SHORT_STEPS else ["lr-too-low"]
    if signs.steps < SHORT_STEPS or _still_falling(signs):
        return ["too-short"]
    return ["lr-too-low"]


def _underfitting(signs: TextSigns, causes: list[str]) -> Diagnosis:
    change, advice = {"lr-too-high": lower_rate, "lr-too-low": higher_rate, "too-short": longer_run}[causes[0]](signs)
    if causes == ["lr-too-low"] and signs.lr_ratio > SMALL_LR and signs.base is not None:
        advice += "; or the base answers like this already: read the samples"
    message = say("Underfitting", causes, _facts_of_underfitting(signs))
    return Diagnosis("underfitting", causes, message, change, advice, _evidence(signs))


def _overfitting(signs: TextSigns) -> Diagnosis:
    few, long = signs.train_rows < FEW_ROWS, signs.rise >= RISE and signs.best_epoch <= 0.7 * signs.epochs
    causes = (["too-little-data"] if few or not long else []) + (["too-many-epochs"] if long else [])
    more_rows = f"more rows help most (there are {signs.train_rows:,})"
    if long:
        change, advice = fewer_epochs(signs.best_epoch)
        advice += f"; {more_rows}" if few else ""
    else:
        change = "method.dropout=0.1" if signs.method == "lora" else "model.dropout=0.1"
        advice = f"{more_rows}; until then {change}"
    message = say("Overfitting", causes, _facts_of_overfitting(signs))
    return Diagnosis("overfitting", causes, message, change, advice, _evidence(signs))


def _facts_of_underfitting(signs: TextSigns) -> str:
    before = "before tuning it was" if signs.base is not None else "training began at"
    facts = f"after {signs.steps:,} updates at a rate of {signs.lr:g} the loss on held-out rows is {_loss(signs.tuned[0])} nats a token; {before} {_loss(signs.start)}"
    if _blew_up(signs):
        facts += f", and the training loss ended at {_loss(signs.last_loss)}"
        facts += f" after a peak of {signs.peak:.1f} times its start" if signs.peak >= PEAK else ""
    elif _still_falling(signs):
        facts += f"; it still fell by {signs.late_fall:.1%} in the last third of the run"
    return facts


def _facts_of_overfitting(signs: TextSigns) -> str:
    held = (
        f"{_loss(signs.tuned[0])} nats a token on held-out ones ({signs.train_rows:,} rows, {signs.epochs:.3g} epochs)"
    )
    if signs.learnt < LEARNT:
        facts = f"the training loss fell by {signs.fell:.0%}, and the loss on held-out rows is {_loss(signs.tuned[0])} nats a token, before tuning {_loss(signs.start)}"
    else:
        facts = f"the loss is {_loss(signs.train_loss)} on trained rows and {held}"
    return f"{facts}; {turned(signs)}" if signs.rise >= RISE else facts


def _healthy(signs: TextSigns) -> str:
    held = f"{_loss(signs.tuned[0])} nats a token on held-out rows"
    if signs.train_loss is None:
        message = f"Healthy as far as the curves show: the loss is {held}; trained rows were not scored."
    else:
        message = f"Healthy: the loss is {_loss(signs.train_loss)} on trained rows and {held}"
        message += f", {_loss(signs.base)} before tuning." if signs.base is not None else "."
    if signs.rise >= RISE:
        message += f" {_sentence(turned(signs))} The model is the best checkpoint; the epochs after it came to nothing."
    best = signs.best_writer
    if best is not None and "tuned" in signs.written and signs.written["tuned"][2] < best[1][1]:
        ours, theirs = (number(signs.metric or "", score[0]) for score in (signs.written["tuned"], best[1]))
        message += f" What it writes is further from the references than the baseline {best[0]}: {signs.metric} {ours}, {theirs}."
    return message


def _loss(value: float | None) -> str:
    return number("loss", value)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _evidence(signs: TextSigns) -> dict[str, Any]:
    evidence = {
        "metric": "loss",
        "train": signs.train_loss,
        "held": signs.tuned[0],
        "before_tuning": _rounded(signs.start),
        "learnt_share": _rounded(signs.learnt),
        "gap_share": None if signs.train_loss is None else _rounded(signs.gap),
        "held_interval_share": _rounded(signs.noise),
        "last_train_loss": _rounded(signs.last_loss),
        "train_loss_peak": _rounded(signs.peak),
        "validation_loss_rise": _rounded(signs.rise),
        "late_fall_share": _rounded(signs.late_fall),
        "best_epoch": signs.best_epoch,
        "epochs": signs.epochs,
        "steps": signs.steps,
        "lr": signs.lr,
        "usual_lr": signs.usual_lr,
        "train_rows": signs.train_rows,
    }
    if signs.metric is not None and "tuned" in signs.written:
        evidence[signs.metric] = _rounded(signs.written["tuned"][0])
    best = signs.best_writer
    return evidence | ({"best_baseline": [best[0], _rounded(best[1][0])]} if best else {})


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
