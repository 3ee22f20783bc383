"""Rows answered with a text: loss over the answer that is there, metrics of the answer that is written, samples side by side.

The loss is measured on every row. Answers are written for `evaluate.written` rows of a split (a seeded draw), by the tuned model, by the
base before tuning, and by the baselines; each score says on how many rows it rests. No answer is written to rows of train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from septet.baselines import Options
from septet.baselines._kept import Kept
from septet.data.held import Held
from septet.errors import DataError
from septet.metrics import BY_KIND, OF_WRITING, Texts, higher_is_better, needs_limits, needs_texts, split_name
from septet.metrics.adhere import LIMIT_KINDS, broken, in_words
from septet.model.predictor import Predictor
from septet.progress import Listen
from septet.recipe import Recipe
from septet.report import Finding
from septet.scoring import SHOWN_TEXT, TUNED, Asked, difference
from septet.tasks import Example


@dataclass(slots=True)
class Said:
    """What one system said of a split.

    Args:
        whole: the loss of every row; None for a system without probabilities.
        part: the rows that answers were written for, with them; None where none were.
        unfinished: answers that came to their limit before their end.
    """

    whole: Texts | None
    part: Texts | None
    unfinished: int = 0


class TextScorer:
    """Scores texts."""

    kind = "texts"

    def __init__(self, asked: Asked):
        self.asked = asked
        self.labels: list[str] = []
        # the tuned model and its base are asked alike: what one read, the other reads
        self._encoded: dict[str, list[list[Example]]] = {}
        wanted = asked.recipe.evaluate.metrics or asked.task.metrics
        self.metrics = list(dict.fromkeys([asked.primary, *wanted, asked.task.loss_metric]))

    def options(self, model: str | None, max_length: int, device: str | None, listen: Listen) -> Options:
        """Return what baselines are told."""
        return Options(
            model=model, max_length=max_length, seed=self.asked.recipe.evaluate.seed, device=device, listen=listen
        )

    def tuned(self, split: Held) -> Said:
        """Return the tuned model's losses and answers; rows that hold nothing to learn leave the split."""
        self._encoded[split.name] = self._learnable(split)
        return self._said(self.asked.predictor, split)

    def base(self, split: Held, ours: Said) -> Said | None:
        """Return the same of the model before tuning; None where it was built from scratch, or on rows of train."""
        if split.role == "train" or self._base is None:
            return None
        self.asked.listen("progress", what=f"base model on {split.name}", done=0, total=len(split.rows))
        return self._said(self._base, split)

    def lesson(self, rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
        """Return the questions and answers that baselines fit on."""
        task = self.asked.task
        return [_question(task, row) for row in rows], [task.target(row) for row in rows]

    def questions(self, split: Held) -> tuple[list[str], np.ndarray]:
        """Return the questions that baselines answer, and their row ids."""
        drawn = self._drawn(split)
        return [_question(self.asked.task, split.rows[i]) for i in drawn], split.ids[drawn]

    def baseline(self, kept: Kept, name: str, split: Held, ours: Said) -> Said:
        """Return what a baseline wrote."""
        part = ours.part
        if part is None:
            return Said(None, None)
        written = kept.texts(name, split.name)
        return Said(None, Texts(part.rows, part.references, written, None, part.tokens, part.limits))

    def names(self, said: Said, who: str) -> list[str]:
        """Return the metrics that what a system said allows; adherence also by the kinds of limit that its rows state."""
        wanted = [*self.metrics, *(f"{BY_KIND}[{kind}]" for kind in LIMIT_KINDS if BY_KIND in self.metrics)]
        return [name for name in dict.fromkeys(wanted) if self._allows(said, name)]

    def answers(self, said: Said, metric: str) -> Texts | None:
        """Return the rows a metric is computed of."""
        return said.part if needs_texts(metric) else said.whole

    def record(self, split: Held, answered: Mapping[str, Said]) -> dict[str, Any]:
        """Return what the report shows of a split beside its scores."""
        ours = answered[TUNED]
        pairs = [self._pair(who, ours, theirs) for who, theirs in answered.items() if who != TUNED]
        return {
            "n": len(split.rows),
            "written": 0 if ours.part is None else len(ours.part),
            "unfinished": ours.unfinished,
            "references_broken": _references_broken(ours.part),
            "samples": self._samples(split, answered),
            "hardest": self._hardest(split, ours),
            "paired": [pair for pair in pairs if pair is not None],
        }

    def findings(self, split: Held, record: Mapping[str, Any]) -> list[Finding | None]:
        """Return what a split's rows and answers show."""
        return [_dropped(split), self._unwritten(split, record), _references(split, record)]

    # ---- private ----

    def _allows(self, said: Said, metric: str) -> bool:
        """Whether a system said what a metric is computed of; a metric of limits rests on the rows that state one."""
        answers = self.answers(said, metric)
        if answers is None or split_name(metric)[0] != BY_KIND or answers.limits is None:
            return answers is not None
        return answers.num_rows(metric) > 0

    @cached_property
    def _base(self) -> Predictor | None:
        return base_predictor(self.asked.recipe, self.asked.predictor) if self.asked.recipe.evaluate.base else None

    def _said(self, predictor: Predictor, split: Held) -> Said:
        task = predictor.task
        measured = predictor.measure(self._encoded[split.name])
        whole = task.judge(split.rows, measured)
        drawn = self._drawn(split)
        if not len(drawn):
            return Said(whole, None)
        rows = [split.rows[i] for i in drawn]
        written = predictor.predict(rows, listen=self.asked.listen)
        part = task.judge(rows, [measured[i] for i in drawn], written)
        return Said(whole, part, sum(not answer.ended for answer in written))

    def _drawn(self, split: Held) -> np.ndarray:
        """Return the places of the rows that answers are written for."""
        if split.role == "train" or not self.asked.task.answers_rows:
            return np.array([], dtype=np.int64)
        wanted = self.asked.recipe.evaluate.written
        order = np.random.default_rng(self.asked.recipe.evaluate.seed).permutation(len(split.rows))
        return np.sort(order[:wanted])

    def _learnable(self, split: Held) -> list[list[Example]]:
        """Return a split's rows encoded; those that hold no answer to learn leave it, and are counted."""
        task, processor = self.asked.task, self.asked.predictor.processor
        encoded = task.encode(split.rows, processor)
        reasons = Counter(
            task.refusal(row, processor) for row, each in zip(split.rows, encoded, strict=True) if not each
        )
        if not reasons:
            return encoded
        split.rows = [row for row, each in zip(split.rows, encoded, strict=True) if each]
        split.dropped = {**split.dropped, **reasons}
        if not split.rows:
            raise DataError(f"No row of {split.name} holds an answer to score.", received=dict(reasons))
        return [each for each in encoded if each]

    def _pair(self, who: str, ours: Said, theirs: Said) -> dict[str, Any] | None:
        limited = ours.part is not None and ours.part.limits is not None
        names = [name for name in (self.asked.primary, *OF_WRITING) if limited or not needs_limits(name)]
        metric = next((n for n in names if self._allows(theirs, n) and self._allows(ours, n)), OF_WRITING[-1])
        mine, other = self.answers(ours, metric), self.answers(theirs, metric)
        if mine is None or other is None:
            return None
        found = difference(self.asked.recipe, metric, mine, other)
        return {"who": who, **asdict(found), "beaten": found.low > 0 if higher_is_better(metric) else found.high < 0}

    def _samples(self, split: Held, answered: Mapping[str, Said]) -> list[dict[str, Any]]:
        """Return some rows with what everyone wrote: evenly spread over the rows that were written."""
        ours = answered[TUNED].part
        if ours is None:
            return []
        count = min(self.asked.recipe.evaluate.worst, len(ours))
        chosen = np.unique(np.linspace(0, len(ours) - 1, count).round().astype(int)) if count else []
        drawn = self._drawn(split)
        return [
            {
                "row": int(ours.rows[i]),
                "prompt": self._prompt(split.rows[drawn[i]])[-2 * SHOWN_TEXT :],
                "reference": ours.references[i][:SHOWN_TEXT],
                "answers": {
                    who: said.part.texts[i][:SHOWN_TEXT]
                    for who, said in answered.items()
                    if said.part is not None and said.part.texts is not None
                },
                **_held_to(i, ours, answered),
            }
            for i in chosen
        ]

    def _hardest(self, split: Held, ours: Said) -> list[dict[str, Any]]:
        """Return the rows with the highest mean loss a token: odd, wrong, or hard."""
        whole = ours.whole
        if whole is None or whole.losses is None:
            return []
        means = whole.losses / np.maximum(whole.tokens, 1)
        worst = np.argsort(-means, kind="stable")[: self.asked.recipe.evaluate.worst]
        return [
            {
                "row": int(whole.rows[i]),
                "prompt": self._prompt(split.rows[i])[-SHOWN_TEXT:],
                "reference": whole.references[i][:SHOWN_TEXT],
                "loss": float(means[i]),
                "tokens": int(whole.tokens[i]),
            }
            for i in worst
        ]

    def _prompt(self, row: dict[str, Any]) -> str:
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in self.asked.task.messages(row))

    def _unwritten(self, split: Held, record: Mapping[str, Any]) -> Finding | None:
        written, rows = record["written"], record["n"]
        if split.role == "train" or written == rows or not self.asked.task.answers_rows:
            return None
        return Finding(
            "answers-sampled",
            "note",
            f"{split.name}: answers were written to {written:,} of {rows:,} rows; the loss is of all.",
            "evaluate.written sets how many",
            {"split": split.name, "written": written, "rows": rows},
        )


def _question(task: Any, row: dict[str, Any]) -> str:
    """Return what a row asks last: what baselines read."""
    return next((turn["content"] for turn in reversed(task.messages(row)) if turn["role"] == "user"), "")


def _held_to(place: int, ours: Texts, answered: Mapping[str, Said]) -> dict[str, Any]:
    """Return the limits of one row in words, and the kinds that the reference and everyone's answer break; nothing where none are stated."""
    limits = None if ours.limits is None else ours.limits[place]
    if not limits:
        return {}
    written = {who: said.part.texts[place] for who, said in answered.items() if said.part and said.part.texts}
    texts = {"reference": ours.references[place], **written}
    return {"limits": in_words(limits), "broken": {who: broken(text, limits) for who, text in texts.items()}}


def _references_broken(part: Texts | None) -> list[int]:
    """Return the ids of rows whose reference breaks their limits: no system can be right about both."""
    if part is None or part.limits is None:
        return []
    found = zip(part.rows, part.references, part.limits, strict=True)
    return [int(row) for row, reference, limits in found if broken(reference, limits)]


def _references(split: Held, record: Mapping[str, Any]) -> Finding | None:
    rows = record["references_broken"]
    if not rows:
        return None
    return Finding(
        "limits-not-kept",
        "warning",
        f"{split.name}: the references of {len(rows):,} of {record['written']:,} rows break the limits stated for them.",
        "correct the limits or the references: the one cannot be taught while the other is learned",
        {"split": split.name, "rows": len(rows), "ids": rows[:10]},
    )


def _dropped(split: Held) -> Finding | None:
    if not split.dropped:
        return None
    total = sum(split.dropped.values())
    reasons = "; ".join(f"{n:,}: {reason}" for reason, n in list(split.dropped.items())[:5])
    return Finding(
        "rows-not-scored",
        "warning",
        f"{split.name}: {total:,} rows could not be scored. {reasons}",
        "look at these rows; a larger model.max_length keeps answers that were cut off",
        {"split": split.name, "reasons": split.dropped},
    )


def base_predictor(recipe: Recipe, tuned: Predictor) -> Predictor | None:
    """Return the model before tuning, asked exactly as the tuned one is; None where it was built from scratch."""
    from septet.model.load import base_folder, load_model

    if recipe.model.architecture is not None:
        return None
    head = next(iter(tuned.task.heads().values()))
    loaded = load_model(base_folder(recipe), head, seed=recipe.train.seed)
    tuned.task.finish(loaded.model, tuned.processor)
    device = next(tuned.model.parameters()).device
    return Predictor(loaded.model.eval().to(device), tuned.task, tuned.processor, clean=tuned.clean)
