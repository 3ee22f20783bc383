"""Over- or underfitting, told from a run's own curves and scores, with the cause and one thing to change.

`diagnose(run, recipe, scores, tests=...)` gathers `Signs` and calls `judge(signs)`, which is pure. The rules depend on what a row is answered
with: `choices.py` has those of labels, `texts.py` those of texts. All speak in the same verdicts and causes:

- *underfitting*: the run took away too little; the rate is too high or too low, or the run too short.
- *overfitting*: it does far better on rows it was trained on; too few rows, too many epochs, or both.
- *healthy*: neither. That says nothing about whether the score is good enough; the baselines do.

The artifact is the best checkpoint, so the scores speak of that one and the curves of the whole course.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from septet.diagnose import choices, texts
from septet.diagnose._diagnosis import CAUSES, VERDICTS, Diagnosis
from septet.run import Run
from septet.signs import ChoiceSigns, TextSigns, gather

__all__ = ["CAUSES", "VERDICTS", "Diagnosis", "diagnose", "judge"]


def diagnose(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], *, tests: Sequence[str]) -> Diagnosis:
    """Return the diagnosis of a run whose scores are known.

    Args:
        scores: lines of `scores.jsonl`.
        tests: names of the test sets; the first is the one that counts, validation where there is none.
    """
    return judge(gather(run, recipe, scores, tests=tests))


def judge(signs: ChoiceSigns | TextSigns) -> Diagnosis:
    """Return the diagnosis for these signs."""
    return texts.judge(signs) if isinstance(signs, TextSigns) else choices.judge(signs)
