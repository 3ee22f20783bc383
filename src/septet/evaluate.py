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

from septet.baselines import check_kind
from septet.baselines._kept import Kept
from septet.data.held import Held, held_in, read_on, sample_of_train
from septet.data.store import Prepared
from septet.diagnose import VERDICTS, diagnose
from septet.errors import SeptetError, UsageError
from septet.metrics import higher_is_better
from septet.metrics.interval import intervals
from septet.model.predictor import Predictor
from septet.page.report import write as write_page
from septet.page.words import number, p_value, signed
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.run import Run
from septet.scoring import BASE, TUNED, Asked, Scorer, scorer
from septet.scoring.beside import plain_run
from septet.signs.texts import writing_metric

FORMAT = 1
SCORES = "scores.jsonl"
RECORD = "evaluation.json"


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
        lines = [_line(line) for line in self.scores if line["metric"] == self.record["primary"]]
        for split, record in self.record["splits"].items():
            if record["role"] == "test" and (metric := writing_metric(self.scores, split)) is not None:
                lines += [_line(line) for line in self.scores if (line["split"], line["metric"]) == (split, metric)]
        if self.record["diagnosis"]:
            lines.append(f"diagnosis   {self.record['diagnosis']['message']}")
        if len(self.findings):
            lines.append(self.findings.text())
        return "\n".join([*lines, f"report      {self.run.path / 'report.html'}"])


def _require_held_out(splits: Sequence[Any]) -> None:
    """Refuse to score rows that were all learned from.

    Args:
        splits: with their `role`.

    Raises:
        UsageError: none is held out.
    """
    if all(split.role == "train" for split in splits):
        raise UsageError(
            "No row is held out, so nothing can be said of rows the model has not seen.",
            hint="data.split: {test: 0.1} in the recipe, or septet evaluate DIR --on FILE",
        )


def _line(line: dict[str, Any]) -> str:
    name = line["metric"]
    span = f"{number(name, line['low'])} to {number(name, line['high'])}"
    value = number(name, line["value"], unit=True)
    return f"{line['split']:<16} {line['who']:<10} {name} {value}  ({span}, n {line['n']:,})"


def evaluate(run: Run, *, on: Any = None, listen: Listen = quiet, device: str | None = None) -> Evaluated:
    """Score a finished run, and write its report.

    Args:
        on: other labelled data (a file or a table) to score beside the run's own splits.
        device: where the models run; None: on the CPU where the recipe says so or no GPU has room, else on the GPU.

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
        _require_held_out(splits)
        lines, records, findings = examiner.score(splits)
        for finding in (each for split in splits for each in split.findings):
            findings.add(finding)
        scores = _merged(run, lines, replaced={split.name for split in splits})
        record = _record(examiner, before, records)
        whole = on is None or before is None
        if whole:
            held_out = prepared.tests or [split.name for split in splits if split.role == "on"]
            found = diagnose(run, recipe, scores, tests=held_out)
            record["diagnosis"] = found.to_json()
            findings.add(found.finding())
        record["findings"] = _still_true(before, replaced=set(records), diagnosed=whole) + findings.to_json()
        if (plain := plain_run(run, recipe, examiner.primary)) is not None:
            record["plain"] = plain
        record["seconds"] = round(time.perf_counter() - began, 3)
        run.write_json(RECORD, record)
        run.rewrite(SCORES, scores)
        write_page(run)
        run.event("evaluated", splits=list(records), seconds=record["seconds"])
        return Evaluated(run, scores, record)


class Examiner:
    """Scores splits: the tuned model, the base and the baselines, and the tests between them.

    Args:
        device: where the models run; None: on a GPU that has room, else on the CPU.
    """

    def __init__(
        self, run: Run, recipe: Recipe, prepared: Prepared, *, device: str | None = None, listen: Listen = quiet
    ):
        self.recipe = recipe
        self.prepared = prepared
        self.listen = listen
        predictor = Predictor.load(run.model, device=device or ("cpu" if recipe.train.device == "cpu" else None))
        if predictor.device.type == "cuda":
            device = "cuda"
        self.primary: str = recipe.train.metric or predictor.task.primary
        self.scorer: Scorer = scorer(Asked(recipe, predictor, self.primary, listen))
        given = recipe.evaluate.baselines
        self.baselines = list(predictor.task.baselines if given is None else given)
        check_kind(self.baselines, predictor.task.answers_with)
        model = recipe.model.name
        if model is not None and recipe.path(model).is_dir():
            model = str(recipe.path(model))
        options = self.scorer.options(model, predictor.max_length or 128, device, listen)
        self.kept = Kept(run, prepared.manifest["hash"], options)

    def score(self, splits: Sequence[Held]) -> tuple[list[dict[str, Any]], dict[str, Any], Report]:
        """Return the lines of `scores.jsonl`, the record of each split, and what was found."""
        findings = Report()
        answered: dict[str, dict[str, Any]] = {}
        seconds = {}
        for split in splits:
            began = time.perf_counter()
            self.listen("progress", what=f"answering {split.name}", done=0, total=len(split.rows))
            answered[split.name] = {TUNED: self.scorer.tuned(split)}
            seconds[split.name] = round(time.perf_counter() - began, 3)
            base = self.scorer.base(split, answered[split.name][TUNED])
            if base is not None:
                answered[split.name][BASE] = base
        self._answer_baselines([split for split in splits if split.role != "train"], answered, findings)
        lines: list[dict[str, Any]] = []
        records = {}
        for split in splits:
            self.listen("progress", what=f"intervals of {split.name}", done=0, total=len(answered[split.name]))
            for who, said in answered[split.name].items():
                lines += self._lines(split, who, said)
            record = self.scorer.record(split, answered[split.name])
            about = {"role": split.role, "source": split.source, "dropped": split.dropped}
            records[split.name] = about | record | {"answer_s": seconds[split.name]}
            findings.add(*self._unbeaten(split, record), *self.scorer.findings(split, record))
        return lines, records, findings

    def _answer_baselines(self, splits: list[Held], answered: dict[str, dict[str, Any]], findings: Report) -> None:
        questions = {split.name: self.scorer.questions(split) for split in splits}
        missing = self.kept.missing(self.baselines, {name: ids for name, (_, ids) in questions.items()})
        lesson: tuple[list[str], Any] | None = None
        for done, name in enumerate(self.baselines):
            if name in missing:
                self.listen("progress", what=f"baseline {name}", done=done, total=len(self.baselines))
                lesson = lesson or self.scorer.lesson(self.prepared.rows("train"))
                try:
                    self.kept.fit(name, lesson, questions)
                except SeptetError as error:
                    findings.add(_failed(name, error))
                    continue
            for split in splits:
                ours = answered[split.name][TUNED]
                answered[split.name][name] = self.scorer.baseline(self.kept, name, split, ours)

    def _lines(self, split: Held, who: str, said: Any) -> list[dict[str, Any]]:
        options = self.recipe.evaluate
        groups: dict[int, tuple[Any, list[str]]] = {}
        names = self.scorer.names(said, who)
        for name in names:
            answers = self.scorer.answers(said, name)
            groups.setdefault(id(answers), (answers, []))[1].append(name)
        found = {}
        for answers, group in groups.values():
            scores = intervals(
                group, answers, resamples=options.bootstrap, confidence=options.confidence, seed=options.seed
            )
            found |= {score.metric: score for score in scores}
        return [{"split": split.name, **asdict(found[name]), "who": who} for name in names]

    def _unbeaten(self, split: Held, record: dict[str, Any]) -> list[Finding]:
        if split.role not in ("test", "on"):
            return []
        share = f"{self.recipe.evaluate.confidence:.0%}"
        return [_not_beaten(split.name, pair, share=share) for pair in record["paired"] if not pair["beaten"]]


def _not_beaten(split: str, pair: dict[str, Any], *, share: str) -> Finding:
    metric = pair["metric"]
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


def _failed(name: str, error: SeptetError) -> Finding:
    return Finding(
        "baseline-failed",
        "warning",
        f"The baseline {name} could not be measured: {error.what}",
        error.hint or "",
        {"baseline": name},
    )


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
        "labels": examiner.scorer.labels,
        "answers": examiner.scorer.kind,
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
