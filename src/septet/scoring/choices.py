"""Rows answered with one of several labels: probabilities, confusion, reliability, the worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from septet.baselines import Options
from septet.baselines._kept import Kept
from septet.data.held import Held
from septet.metrics import BY_CLASS, Choices, higher_is_better
from septet.metrics.calibrate import reliability, row_losses
from septet.metrics.interval import mcnemar
from septet.progress import Listen
from septet.report import Finding
from septet.scoring import SHOWN_TEXT, TUNED, Asked, difference

CONFIDENCE_BINS = 20


class ChoiceScorer:
    """Scores labels."""

    kind = "choices"

    def __init__(self, asked: Asked):
        self.asked = asked
        self.labels: list[str] = list(asked.task.labels)
        wanted = asked.recipe.evaluate.metrics or asked.task.metrics
        # accuracy and log loss are what the diagnosis and the report need, whatever else is asked for
        self.metrics = list(dict.fromkeys([asked.primary, *wanted, "accuracy", "log_loss"]))

    def options(self, model: str | None, max_length: int, device: str | None, listen: Listen) -> Options:
        """Return what baselines are told."""
        evaluate = self.asked.recipe.evaluate
        return Options(
            len(self.labels),
            tuple(self.labels),
            model,
            max_length,
            evaluate.seed,
            evaluate.shots,
            evaluate.prompt,
            device,
            listen=listen,
        )

    def tuned(self, split: Held) -> Choices:
        """Return the tuned model's answers."""
        predictions = self.asked.predictor.predict(split.rows, listen=self.asked.listen)
        return self.asked.task.judge(split.rows, predictions)

    def base(self, split: Held, ours: Choices) -> None:
        """Return nothing: before tuning, a classifier's head is noise."""

    def lesson(self, rows: Sequence[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
        """Return the texts and class ids that baselines fit on."""
        targets = np.array([self.asked.task.target(row) for row in rows], dtype=np.int64)
        known = np.flatnonzero(targets >= 0)
        return self._texts([rows[int(i)] for i in known]), targets[known]

    def questions(self, split: Held) -> tuple[list[str], np.ndarray]:
        """Return the texts that baselines answer, and their row ids."""
        return self._texts(split.rows), split.ids

    def baseline(self, kept: Kept, name: str, split: Held, ours: Choices) -> Choices:
        """Return a baseline's answers."""
        return Choices(ours.rows, ours.labels, ours.targets, kept.scores(name, split.name))

    def names(self, said: Choices, who: str) -> list[str]:
        """Return the metrics of a system; those by class for the tuned model."""
        if who != TUNED:
            return list(self.metrics)
        places = np.unique(np.concatenate([said.targets[said.targets >= 0], said.predicted]))
        return [*self.metrics, *(f"{base}[{self.labels[i]}]" for i in places for base in BY_CLASS)]

    def answers(self, said: Choices, metric: str) -> Choices:
        """Return what a metric is computed of."""
        return said

    def record(self, split: Held, answered: Mapping[str, Choices]) -> dict[str, Any]:
        """Return what the report shows of a split beside its scores."""
        ours = answered[TUNED]
        return {
            "n": len(ours),
            "unknown": split.unknown_counts,
            "confusion": _confusion(split, ours, self.asked.task.options.label),
            "reliability": reliability(ours),
            "confidence": _confidence(ours),
            "mistakes": self._mistakes(split, ours),
            "paired": [self._pair(who, ours, theirs) for who, theirs in answered.items() if who != TUNED],
        }

    def findings(self, split: Held, record: Mapping[str, Any]) -> list[Finding | None]:
        """Return what a split's rows show."""
        return [_unknown(split)]

    def _texts(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        values = (self.asked.task.value(row) for row in rows)
        return [value if isinstance(value, str) else " ".join(value) for value in values]

    def _pair(self, who: str, ours: Choices, theirs: Choices) -> dict[str, Any]:
        found = difference(self.asked.recipe, self.asked.primary, ours, theirs)
        won, lost, p = mcnemar(ours, theirs)
        beaten = found.low > 0 if higher_is_better(self.asked.primary) else found.high < 0
        return {
            "who": who,
            **asdict(found),
            "beaten": beaten,
            "mcnemar": {"only_ours_right": won, "only_theirs_right": lost, "p": p},
        }

    def _mistakes(self, split: Held, answers: Choices) -> list[dict[str, Any]]:
        """Return the wrong answers with the highest loss."""
        wrong = np.flatnonzero(~answers.correct & (answers.targets >= 0))
        losses = row_losses(answers)
        worst = wrong[np.argsort(-losses[wrong], kind="stable")][: self.asked.recipe.evaluate.worst]
        return [
            {
                "row": int(answers.rows[i]),
                "texts": [str(split.rows[i][column])[:SHOWN_TEXT] for column in self.asked.task.texts],
                "label": self.labels[answers.targets[i]],
                "predicted": self.labels[answers.predicted[i]],
                "confidence": float(answers.confidence[i]),
                "loss": float(losses[i]),
            }
            for i in worst
        ]


def _unknown(split: Held) -> Finding | None:
    counts = split.unknown_counts
    if not counts:
        return None
    total = sum(counts.values())
    shown = ", ".join(f'"{label}" ({n:,})' for label, n in list(counts.items())[:5])
    return Finding(
        "label-not-learnt",
        "warning",
        f"{split.name}: {total:,} of {len(split.rows):,} rows have a label the model does not know: {shown}. They count as wrong; the log loss leaves them out.",
        "train with rows of these labels, or remove the rows",
        {"split": split.name, "labels": counts},
    )


def _confusion(split: Held, answers: Choices, column: str) -> dict[str, dict[str, int]]:
    """Return label -> predicted label -> rows, without the zeros; unknown labels under their own name."""
    table: dict[str, dict[str, int]] = {}
    for row, predicted in zip(split.rows, answers.predicted, strict=True):
        counts = table.setdefault(str(row[column]), {})
        name = answers.labels[predicted]
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(table.items()))


def _confidence(answers: Choices) -> dict[str, list[int]]:
    """Return the rows by confidence, in 20 bins from 0 to 1: right and wrong answers apart."""
    places = np.minimum((answers.confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    right = np.bincount(places[answers.correct], minlength=CONFIDENCE_BINS)
    wrong = np.bincount(places[~answers.correct], minlength=CONFIDENCE_BINS)
    return {"right": right.tolist(), "wrong": wrong.tolist()}
