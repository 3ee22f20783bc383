"""Stage 5, `septet evaluate DIR [--on DATA]`: score the artifact and its baselines, diagnose, and write the report.

Everything is scored from the artifact as it lies on disk, by the one inference path. Test sets are scored apart; validation is scored too and
marked, since it chose the checkpoint; a sample of the training rows shows over- and underfitting. Each score has a bootstrap interval, and
each baseline a paired test against the tuned model. `--on` adds the scores of another labelled file to the same run. Running it again
replaces the scores of the same splits.

Writes `scores.jsonl`, `evaluation.json`, `baselines.json` (with `.safetensors`) and `report.html`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from septet.baselines import Options
from septet.baselines._kept import Kept
from septet.data.held import Held, held_in, read_on, sample_of_train
from septet.data.store import Prepared
from septet.diagnose import VERDICTS, diagnose
from septet.errors import SeptetError
from septet.metrics import BY_CLASS, Answers, higher_is_better
from septet.metrics.calibrate import reliability, row_losses
from septet.metrics.interval import compare, intervals, mcnemar
from septet.model.predictor import Predictor
from septet.page.report import write as write_page
from septet.page.words import number, p_value, signed
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.run import Run

FORMAT = 1
TUNED = "tuned"
SCORES = "scores.jsonl"
RECORD = "evaluation.json"
SHOWN_TEXT = 600  # characters of a mistake that are kept
CONFIDENCE_BINS = 20


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation came to; `scores` are the lines of `scores.jsonl`."""

    run: Run
    scores: list[dict[str, Any]]
    record: dict[str, Any]

    @property
    def findings(self) -> Report:
        return Report(Finding.from_json(value) for value in self.record["findings"])

    def to_json(self) -> dict[str, Any]:
        shown = {key: self.record[key] for key in ("primary", "diagnosis", "findings", "seconds")}
        return {"run": str(self.run.path), "report": str(self.run.path / "report.html"), **shown, "scores": self.scores}

    def text(self) -> str:
        primary = self.record["primary"]
        lines = []
        for line in self.scores:
            if line["metric"] == primary:
                span = f"{number(primary, line['low'])} to {number(primary, line['high'])}"
                lines.append(
                    f"{line['split']:<16} {line['who']:<10} {primary} {number(primary, line['value'], unit=True)}  ({span}, n {line['n']:,})"
                )
        if self.record["diagnosis"]:
            lines.append(f"diagnosis   {self.record['diagnosis']['message']}")
        if len(self.findings):
            lines.append(self.findings.text())
        return "\n".join([*lines, f"report      {self.run.path / 'report.html'}"])


def evaluate(run: Run, *, on: Any = None, listen: Listen = quiet, device: str | None = None) -> Evaluated:
    """Score a finished run, and write its report.

    Args:
        on: other labelled data (a file or a table) to score beside the run's own splits.
        device: where the models run; the CPU when None.

    Raises:
        UsageError: the run is not finished, or `on` is missing.
        DataError: `on` cannot be read, or holds no row that can be scored.
    """
    with run.locked():
        began = time.perf_counter()
        recipe = Recipe.load(run.path / "recipe.yaml")
        prepared = Prepared.of(run)
        before = run.read_json(RECORD) if (run.path / RECORD).exists() else None
        examiner = Examiner(run, recipe, prepared, device=device, listen=listen)
        splits: list[Held] = []
        if on is None or before is None:
            splits += [*held_in(recipe, prepared), *sample_of_train(recipe, prepared)]
        if on is not None:
            splits.append(read_on(recipe, prepared, on))
        lines, records, findings = examiner.score(splits)
        scores = _merged(run, lines, replaced={split.name for split in splits})
        record = _record(examiner, before, records)
        whole = on is None or before is None
        if whole:
            found = diagnose(run, recipe, scores, tests=prepared.tests)
            record["diagnosis"] = found.to_json()
            findings.add(found.finding())
        record["findings"] = _still_true(before, replaced=set(records), diagnosed=whole) + findings.to_json()
        record["seconds"] = round(time.perf_counter() - began, 3)
        run.write_json(RECORD, record)
        run.rewrite(SCORES, scores)
        write_page(run)
        for finding in findings:
            listen("finding", finding=finding)
        run.event("evaluated", splits=list(records), seconds=record["seconds"])
        return Evaluated(run, scores, record)


class Examiner:
    """Scores splits: the tuned model, the baselines, and the tests between them.

    Args:
        device: where the models run; the CPU when None.
    """

    def __init__(
        self, run: Run, recipe: Recipe, prepared: Prepared, *, device: str | None = None, listen: Listen = quiet
    ):
        self.run = run
        self.recipe = recipe
        self.prepared = prepared
        self.listen = listen
        self.predictor = Predictor.load(run.model, device=device)
        self.labels: list[str] = list(self.predictor.task.labels)
        self.primary: str = recipe.train.metric or self.predictor.task.primary
        # accuracy and log loss are what the diagnosis and the report need, whatever else is asked for
        wanted = recipe.evaluate.metrics or self.predictor.task.metrics
        self.metrics = list(dict.fromkeys([self.primary, *wanted, "accuracy", "log_loss"]))
        model = recipe.model.name
        if model is not None and recipe.path(model).is_dir():
            model = str(recipe.path(model))
        options = Options(
            len(self.labels),
            tuple(self.labels),
            model,
            self.predictor.max_length or 128,
            recipe.evaluate.seed,
            recipe.evaluate.shots,
            recipe.evaluate.prompt,
            device,
            listen=listen,
        )
        self.kept = Kept(run, prepared.manifest["hash"], options)

    def score(self, splits: Sequence[Held]) -> tuple[list[dict[str, Any]], dict[str, Any], Report]:
        """Return the lines of `scores.jsonl`, the record of each split, and what was found."""
        findings = Report()
        answered, seconds = {}, {}
        for split in splits:
            began = time.perf_counter()
            self.listen("progress", what=f"answering {split.name}", done=0, total=len(split.rows))
            answered[split.name] = {TUNED: self._tuned(split)}
            seconds[split.name] = round(time.perf_counter() - began, 3)
        self._answer_baselines([split for split in splits if split.role != "train"], answered, findings)
        lines: list[dict[str, Any]] = []
        records = {}
        for split in splits:
            self.listen("progress", what=f"intervals of {split.name}", done=0, total=len(answered[split.name]))
            for who, answers in answered[split.name].items():
                lines += self._lines(split, who, answers)
            records[split.name] = self._split_record(split, answered[split.name]) | {"answer_s": seconds[split.name]}
            findings.add(*self._unbeaten(split, records[split.name]), _unknown(split))
        return lines, records, findings

    def _tuned(self, split: Held) -> Answers:
        predictions = self.predictor.predict(split.rows, listen=self.listen)
        scores = np.array([[p.scores[label] for label in self.labels] for p in predictions])  # type: ignore[index]
        return Answers(split.ids, self.labels, self._targets(split.rows), scores)

    def _targets(self, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """Return (N,) class ids; -1 for a label that the model does not know."""
        return np.array([self.predictor.task.target(row) for row in rows], dtype=np.int64)

    def _texts(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        values = (self.predictor.task.value(row) for row in rows)
        return [value if isinstance(value, str) else " ".join(value) for value in values]

    def _answer_baselines(self, splits: list[Held], answered: dict[str, dict[str, Answers]], findings: Report) -> None:
        names = self.recipe.evaluate.baselines
        missing = self.kept.missing(names, {split.name: split.ids for split in splits})
        train: tuple[list[str], np.ndarray] | None = None
        for done, name in enumerate(names):
            if name in missing:
                self.listen("progress", what=f"baseline {name}", done=done, total=len(names))
                if train is None:
                    rows = self.prepared.rows("train")
                    targets = self._targets(rows)
                    known = np.flatnonzero(targets >= 0)
                    train = (self._texts([rows[i] for i in known]), targets[known])
                try:
                    self.kept.fit(name, train, {split.name: (self._texts(split.rows), split.ids) for split in splits})
                except SeptetError as error:
                    findings.add(_failed(name, error))
                    continue
            for split in splits:
                ours = answered[split.name][TUNED]
                answered[split.name][name] = Answers(
                    ours.rows, ours.labels, ours.targets, self.kept.scores(name, split.name)
                )

    def _lines(self, split: Held, who: str, answers: Answers) -> list[dict[str, Any]]:
        names = list(self.metrics)
        if who == TUNED:
            present = [
                self.labels[i]
                for i in np.unique(np.concatenate([answers.targets[answers.targets >= 0], answers.predicted]))
            ]
            names += [f"{base}[{label}]" for label in present for base in BY_CLASS]
        options = self.recipe.evaluate
        found = intervals(names, answers, resamples=options.bootstrap, confidence=options.confidence, seed=options.seed)
        return [{"split": split.name, **asdict(score), "who": who} for score in found]

    def _split_record(self, split: Held, answered: dict[str, Answers]) -> dict[str, Any]:
        ours = answered[TUNED]
        return {
            "role": split.role,
            "source": split.source,
            "n": len(ours),
            "unknown": split.unknown_counts,
            "dropped": split.dropped,
            "confusion": _confusion(split, ours, self.predictor.task.options.label),
            "reliability": reliability(ours),
            "confidence": _confidence(ours),
            "mistakes": self._mistakes(split, ours),
            "paired": [self._pair(who, ours, theirs) for who, theirs in answered.items() if who != TUNED],
        }

    def _pair(self, who: str, ours: Answers, theirs: Answers) -> dict[str, Any]:
        options = self.recipe.evaluate
        found = compare(
            self.primary, ours, theirs, resamples=options.bootstrap, confidence=options.confidence, seed=options.seed
        )
        won, lost, p = mcnemar(ours, theirs)
        beaten = found.low > 0 if higher_is_better(self.primary) else found.high < 0
        return {
            "who": who,
            **asdict(found),
            "beaten": beaten,
            "mcnemar": {"only_ours_right": won, "only_theirs_right": lost, "p": p},
        }

    def _mistakes(self, split: Held, answers: Answers) -> list[dict[str, Any]]:
        """Return the wrong answers with the highest loss."""
        wrong = np.flatnonzero(~answers.correct & (answers.targets >= 0))
        worst = wrong[np.argsort(-row_losses(answers)[wrong], kind="stable")][: self.recipe.evaluate.worst]
        task = self.predictor.task
        return [
            {
                "row": int(answers.rows[i]),
                "texts": [str(split.rows[i][column])[:SHOWN_TEXT] for column in task.texts],
                "label": self.labels[answers.targets[i]],
                "predicted": self.labels[answers.predicted[i]],
                "confidence": float(answers.confidence[i]),
                "loss": float(row_losses(answers)[i]),
            }
            for i in worst
        ]

    def _unbeaten(self, split: Held, record: dict[str, Any]) -> list[Finding]:
        if split.role not in ("test", "on"):
            return []
        share = f"{self.recipe.evaluate.confidence:.0%}"
        return [
            _not_beaten(split.name, self.primary, pair, share=share) for pair in record["paired"] if not pair["beaten"]
        ]


def _not_beaten(split: str, metric: str, pair: dict[str, Any], *, share: str) -> Finding:
    higher = higher_is_better(metric)
    worse = pair["high"] < 0 if higher else pair["low"] > 0
    verdict = "is worse than" if worse else "is not shown to be better than"
    low, high = (signed(metric, pair[end]).removesuffix(" points") for end in ("low", "high"))
    span = f"{signed(metric, pair['value'])} ({share} interval {low} to {high})"
    return Finding(
        "baseline-not-beaten",
        "warning",
        f"{split}: the tuned model {verdict} the baseline {pair['who']}: {metric} differs by {span}, {p_value(pair['p'])}, n = {pair['n']:,}.",
        "the baseline is the cheaper choice; tune further (see the diagnosis), or score more test rows to settle it",
        {"split": split, **pair},
    )


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


def _failed(name: str, error: SeptetError) -> Finding:
    return Finding(
        "baseline-failed",
        "warning",
        f"The baseline {name} could not be measured: {error.what}",
        error.hint or "",
        {"baseline": name},
    )


def _confusion(split: Held, answers: Answers, column: str) -> dict[str, dict[str, int]]:
    """Return label -> predicted label -> rows, without the zeros; unknown labels under their own name."""
    table: dict[str, dict[str, int]] = {}
    for row, predicted in zip(split.rows, answers.predicted, strict=True):
        counts = table.setdefault(str(row[column]), {})
        name = answers.labels[predicted]
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(table.items()))


def _confidence(answers: Answers) -> dict[str, list[int]]:
    """Return the rows by confidence, in 20 bins from 0 to 1: right and wrong answers apart."""
    places = np.minimum((answers.confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    right = np.bincount(places[answers.correct], minlength=CONFIDENCE_BINS)
    wrong = np.bincount(places[~answers.correct], minlength=CONFIDENCE_BINS)
    return {"right": right.tolist(), "wrong": wrong.tolist()}


def _merged(run: Run, lines: list[dict[str, Any]], *, replaced: set[str]) -> list[dict[str, Any]]:
    return [line for line in run.records(SCORES) if line["split"] not in replaced] + lines


def _record(examiner: Examiner, before: dict[str, Any] | None, records: dict[str, Any]) -> dict[str, Any]:
    old = before or {"splits": {}, "diagnosis": None}
    return {
        "format": FORMAT,
        "primary": examiner.primary,
        "higher_is_better": higher_is_better(examiner.primary),
        "confidence": examiner.recipe.evaluate.confidence,
        "bootstrap": examiner.recipe.evaluate.bootstrap,
        "labels": examiner.labels,
        "splits": {**old["splits"], **records},
        "baselines": examiner.kept.facts(),
        "diagnosis": old["diagnosis"],
    }


def _still_true(before: dict[str, Any] | None, *, replaced: set[str], diagnosed: bool) -> list[dict[str, Any]]:
    """Return the earlier findings about what was not measured again."""
    earlier = [] if before is None else before["findings"]
    splits = [value["evidence"].get("split") for value in earlier]
    return [
        value
        for value, split in zip(earlier, splits, strict=True)
        if (split is not None and split not in replaced) or (value["slug"] in VERDICTS and not diagnosed)
    ]
