"""What a run's curves and scores show of its fit; `diagnose` judges by it. One file is one kind of answer.

`gather(run, recipe, scores, tests=...)` returns `ChoiceSigns` where rows are answered with labels, and `TextSigns` where they are answered
with texts. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from septet import registry
from septet.run import Run
from septet.signs import choices, texts
from septet.signs._signs import Signs
from septet.signs.choices import ChoiceSigns
from septet.signs.texts import TextSigns

__all__ = ["ChoiceSigns", "Signs", "TextSigns", "gather"]


def gather(run: Run, recipe: Any, scores: Sequence[dict[str, Any]], *, tests: Sequence[str]) -> ChoiceSigns | TextSigns:
    """Return what the diagnosis looks at.

    Args:
        scores: lines of `scores.jsonl`.
        tests: names of the test sets; the first is the one that counts, validation where there is none.
    """
    task: Any = registry.part("task", recipe.task.name)
    kind = texts if task.answers_with == "texts" else choices
    return kind.gather(run, recipe, scores, tests[0] if tests else "validation")
