"""Scoring: what is measured and kept of one split, by what a task answers with. One file is one kind of answer.

`evaluate.py` asks every system of a run (the tuned model, the base, the baselines) for its `Said` on each split; a scorer turns rows into
it, names the metrics, and keeps what the report shows beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from septet.baselines import Options
from septet.baselines._kept import Kept
from septet.data.held import Held
from septet.metrics import Answers
from septet.metrics.interval import compare
from septet.model.predictor import Predictor
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding

TUNED = "tuned"
BASE = "base"
SHOWN_TEXT = 600  # characters of a row that are kept

Said = Any


@dataclass(frozen=True, slots=True)
class Asked:
    """What a scorer works with: the recipe, the tuned model, and who is told of the progress."""

    recipe: Recipe
    predictor: Predictor
    primary: str
    listen: Listen = quiet

    @property
    def task(self) -> Any:
        return self.predictor.task


class Scorer(Protocol):
    """The contract of a kind of answers."""

    kind: str
    metrics: list[str]
    labels: list[str]

    def __init__(self, asked: Asked): ...
    def options(self, model: str | None, max_length: int, device: str | None, listen: Listen) -> Options: ...
    def tuned(self, split: Held) -> Said: ...
    def base(self, split: Held, ours: Said) -> Said | None: ...
    def lesson(self, rows: Sequence[dict[str, Any]]) -> tuple[list[str], Any]: ...
    def questions(self, split: Held) -> tuple[list[str], np.ndarray]: ...
    def baseline(self, kept: Kept, name: str, split: Held, ours: Said) -> Said: ...
    def names(self, said: Said, who: str) -> list[str]: ...
    def answers(self, said: Said, metric: str) -> Answers | None: ...
    def record(self, split: Held, answered: Mapping[str, Said]) -> dict[str, Any]: ...
    def findings(self, split: Held, record: Mapping[str, Any]) -> list[Finding | None]: ...


def scorer(asked: Asked) -> Scorer:
    """Return the scorer of a task's kind of answers."""
    if asked.task.answers_with == "texts":
        from septet.scoring.texts import TextScorer

        return TextScorer(asked)
    from septet.scoring.choices import ChoiceScorer

    return ChoiceScorer(asked)


def difference(recipe: Recipe, metric: str, ours: Answers, theirs: Answers) -> Any:
    """Return the paired difference of a metric, resampled as the recipe says."""
    options = recipe.evaluate
    return compare(metric, ours, theirs, resamples=options.bootstrap, confidence=options.confidence, seed=options.seed)
