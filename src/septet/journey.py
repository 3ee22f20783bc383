"""The journey: each verb from a recipe or a folder, and `run_all`, the seven stages in order.

Here a recipe's name becomes a `Recipe` and a `Run`; the verbs themselves take those. The command line and the Python API call
these functions and nothing below them. Every result has `to_json()` and `text()`, and `exit_code` where it is not 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from septet import registry
from septet.begin import Source, alone, begin, begin_training, together
from septet.errors import UsageError
from septet.interrupt import during
from septet.launch import launched
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.run import Run

SMOKE_ROWS = 200


@dataclass(slots=True)
class Journey:
    """What `run_all` came to, stage by stage."""

    run: Run
    stages: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return max((getattr(result, "exit_code", 0) for result in self.stages.values()), default=0)

    def to_json(self) -> dict[str, Any]:
        return {"run": str(self.run.path), "stages": {name: _json(result) for name, result in self.stages.items()}}

    def text(self) -> str:
        told = [f"{name}\n{_indent(result.text())}" for name, result in self.stages.items() if hasattr(result, "text")]
        return "\n".join([*told, f"report      {self.run.path / 'report.html'}"])


@dataclass(frozen=True, slots=True)
class PreparedResult:
    """What `prepare` came to; `shown` are the rows that were asked for."""

    run: Run
    prepared: Any
    shown: Any = None

    def to_json(self) -> dict[str, Any]:
        facts = {"run": str(self.run.path), **self.run.read_json("data.json")}
        if self.shown is None:
            return facts
        findings = [*facts["findings"], *self.shown.findings.to_json()]
        return {**facts, "findings": findings, "shown": self.shown.to_json()}

    def text(self) -> str:
        return self._told("" if self.shown is None else self.shown.text())

    def coloured(self) -> str:
        """Return the text with the colours of a terminal."""
        return self._told("" if self.shown is None else self.shown.coloured())

    def _told(self, shown: str) -> str:
        where = (
            f"prepared    {self.prepared.path}\nrun         {self.run.path}\npage        {self.run.path / 'data.html'}"
        )
        return f"{shown}\n\n{where}" if shown else where


@dataclass(frozen=True, slots=True)
class Served:
    """What the test of the real server came to."""

    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return self.facts

    def text(self) -> str:
        facts = self.facts
        compared = (
            "answered with drawn words, which are not compared"
            if facts["drawn"]
            else f"answered as the model answers (largest difference {facts['max_difference']:.1e})"
        )
        return f"{facts['rows']} rows in {facts['requests']} requests to the real server, {compared}; p50 {facts['p50_ms']:.0f} ms, p95 {facts['p95_ms']:.0f} ms"


@during("prepare")
def prepare(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    code: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    show: int | None = None,
    review: str | Path | None = None,
    dry_run: bool = False,
    listen: Listen = quiet,
) -> Any:
    """Stage 1: read, clean, de-duplicate, split and audit the data of a recipe.

    Args:
        source: a recipe file, a dict, or a `Recipe`.
        overrides: `train.lr=1e-4` and the like.
        run: the run folder; a fresh one under `run.folder` when None.
        code: plug-in files.
        tables: in-memory splits instead of the recipe's files.
        show: rows of train to show as training sees them (`septet.show`); the model's tokenizer and config are needed.
        review: where to write a sheet of rows whose label someone should look at (`septet.review`).
        dry_run: show what each step would change and drop, and write nothing: no run, no prepared data (`septet.preview`).
        listen: told of all progress.
    """
    if show is not None and show < 1:
        raise UsageError("The rows to show are a whole number from 1.", received=show)
    if dry_run:
        from septet.preview import preview

        for option, given in (("--run", run), ("--show", show), ("--review", review)):
            if given is not None:
                raise UsageError(f"{option} would be ignored: a dry run writes nothing.", hint=f"leave out {option}")
        for path in code:
            registry.load_code(path)
        return preview(Recipe.load(source, overrides, in_memory=tuple(tables or ())), tables=tables, listen=listen)
    recipe, opened, _ = begin(source, overrides, run, code, tables, listen)
    from septet.prepare import prepare as verb

    with opened.locked():
        sheet = None if review is None else Path(review)
        prepared = verb(recipe, opened, tables=tables, review=sheet, listen=listen)
        if show is None:
            return PreparedResult(opened, prepared)
        from septet.show import show as showing

        shown = showing(recipe, prepared, show, listen=listen)
        for finding in shown.findings:
            listen("finding", finding=finding)
        return PreparedResult(opened, prepared, shown)


def label(
    data: str | Path,
    *,
    budget: int | None = None,
    read: str | Path | None = None,
    recipe: Source | None = None,
    text: Sequence[str] = (),
    label: str | None = None,
    labels: Sequence[str] = (),
    model: str | None = None,
    known: str | Path | None = None,
    out: str | Path | None = None,
    new_labels: bool = False,
    training: bool = False,
    run: str | Path | None = None,
    listen: Listen = quiet,
) -> Any:
    """Pick rows that are worth a label, or read back a sheet of labels and, where asked, train with them; see `septet.label`.

    Args:
        training: after reading, train: the recipe with the labelled rows beside its own, or a recipe of defaults.
        run: the run folder of that training.
    """
    from septet.label import label as verb
    from septet.labelling.wanted import columns_of, train_override

    if training and read is None:
        raise UsageError("There is nothing new to train with before a sheet is read.", hint="--read SHEET --train")
    loaded = None if recipe is None else Recipe.load(recipe)
    named = str(recipe) if isinstance(recipe, str | Path) else "RECIPE"
    wanted = columns_of(
        data, text=text, label=label, labels=labels, model=model, known=known, recipe=loaded, named=named
    )
    budget = 200 if budget is None and read is None else budget
    result = verb(data, wanted, budget=budget, sheet=read, out=out, new_labels=new_labels, listen=listen)
    if training:
        texts = wanted.texts[0] if len(wanted.texts) == 1 else list(wanted.texts)
        own = {
            "data": {"train": str(wanted.known.resolve())},
            "task": {"name": "classify", "text": texts, "label": wanted.label},
            "model": wanted.model,
        }
        source, overrides = (own, []) if recipe is None else (recipe, [train_override(wanted)])
        result.trained = train(source, overrides, run=run, listen=listen)
    return result


@during("check")
def check(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    code: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    listen: Listen = quiet,
) -> Any:
    """Stages 2 and 3: the machine, the model, and what the run will take. Arguments as in `prepare`."""
    recipe, opened, _ = begin(source, overrides, run, code, tables, listen)
    from septet.check import check as verb

    return verb(recipe, opened, tables=tables, listen=listen)


def train(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    profile: bool = False,
    code: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    listen: Listen = quiet,
) -> Any:
    """Stage 4: train, and leave an artifact. Arguments as in `prepare`.

    Args:
        resume: go on from the newest checkpoint of `run`, with the values it was begun with.
        force: resume although the recipe, the data, the model or versions have changed since.
        profile: look closely at where the time goes.
    """
    with together():
        recipe, opened, going_on = begin_training(
            source, overrides, run, code, tables, listen, resume=resume, force=force
        )
        from septet.finish import trained
        from septet.train import train as verb

        if opened.done and launched().restarted:  # the processes were started again after the last byte was written
            return trained(opened)
        return verb(recipe, opened, **going_on, profile=profile, tables=tables, listen=listen)


@during("evaluate")
def evaluate(folder: str | Path, *, on: str | None = None, listen: Listen = quiet) -> Any:
    """Stage 5: score the artifact and its baselines, diagnose, and write the report."""
    from septet.evaluate import evaluate as verb

    return verb(_finished(folder), on=on, listen=listen)


@during("deploy")
def deploy(folder: str | Path, *, to: str | None = None, listen: Listen = quiet) -> Any:
    """Stage 6: write the packages and prove them equal to the trained model."""
    from septet.deploy import deploy as verb

    return verb(_finished(folder), to=to, listen=listen)


def serve(
    folder: str | Path,
    *,
    host: str | None = None,
    port: int | None = None,
    log_text: bool | None = None,
    listen: Listen = quiet,
) -> Any:
    """Stage 6: answer requests until stopped."""
    from septet.serve import serve as verb

    return verb(folder, host=host, port=port, log_text=log_text, listen=listen)


@during("predict")
def predict(
    folder: str | Path, source: Any, *, out: str | TextIO | None = None, skip: int = 0, listen: Listen = quiet
) -> Any:
    """Answer the rows of a file, or of standard input (`-`)."""
    from septet.predict import predict as verb

    return verb(folder, source, out=out, skip=skip, listen=listen)


@during("monitor")
def monitor(folder: str | Path, *, log: str | None = None, window: int | None = None, listen: Listen = quiet) -> Any:
    """Stage 7: compare the requests that were served with the training profile."""
    from septet.monitor import monitor as verb

    return verb(folder, log=log, window=window, listen=listen)


def run_all(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    run: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    profile: bool = False,
    code: Sequence[str] = (),
    tables: Mapping[str, Any] | None = None,
    listen: Listen = quiet,
) -> Journey:
    """All seven stages in order. Arguments as in `train`.

    The server is started for real on a free loopback port, answers held-out rows, and is stopped; `monitor` then looks at those requests.
    """
    from septet.check import check as checking
    from septet.train import train as training

    with together():
        recipe, opened, going_on = begin_training(
            source, overrides, run, code, tables, listen, resume=resume, force=force
        )
        resume = going_on["resume"]
        journey = Journey(opened)
        if not (resume and opened.done):
            if not resume and not launched().follows:
                with during("check"), alone():
                    journey.stages["check"] = checking(recipe, opened, tables=tables, listen=listen)
                    journey.stages["check"].findings.tell(listen)  # before the training begins
            going_on["resume"] = resume and opened.started
            journey.stages["train"] = training(
                recipe, opened, **going_on, profile=profile, tables=tables, listen=listen
            )
    if not launched().follows:
        _after_training(journey, opened, listen)
    return journey


@during("run")
def _after_training(journey: Journey, opened: Run, listen: Listen) -> None:
    from septet.data.store import Prepared
    from septet.deploy import deploy as deploying
    from septet.evaluate import evaluate as evaluating
    from septet.monitor import monitor as monitoring
    from septet.serve import smoke

    with _stage("evaluate", listen):
        journey.stages["evaluate"] = evaluating(opened, listen=listen)
        journey.stages["evaluate"].findings.tell(listen)
    with _stage("deploy", listen):
        journey.stages["deploy"] = deploying(opened, listen=listen)
    if not answers_rows(opened):
        listen("note", text="this task answers no rows yet: there is nothing to serve or to watch")
        return
    if media := Prepared.of(opened).schema.media:
        listen("note", text=f"the server reads texts: {media}s are answered by septet predict")
        return
    with _stage("serve", listen):
        journey.stages["serve"] = Served(smoke(opened, _smoke_rows(opened)))
    if not (opened.model / "profile.json").exists():
        listen("note", text="without validation rows there is nothing to compare requests with: they are not watched")
        return
    with _stage("monitor", listen):
        journey.stages["monitor"] = monitoring(opened.path, listen=listen)


@contextlib.contextmanager
def _stage(name: str, listen: Listen) -> Iterator[None]:
    listen("stage", name=name)
    with during(name):
        yield


def _finished(folder: str | Path) -> Run:
    opened = Run.open(folder)
    if not opened.done:
        raise UsageError(
            "This run is not finished (it has no DONE).",
            where=str(folder),
            hint="septet train RECIPE --run DIR --resume",
        )
    return opened


def answers_rows(run: Run) -> bool:
    """Whether the model of a run can be asked."""
    from septet.model.artifact import read_task

    return read_task(run.model).answers_rows


def _smoke_rows(run: Run) -> list[Any]:
    """Return held-out rows for the server's test: of the first test set, else of validation; drawn, since files are often sorted by label."""
    import numpy as np

    from septet.data.store import Prepared

    prepared = Prepared.of(run)
    split = next(iter(prepared.tests), "validation")
    rows = prepared.rows(split)
    drawn = np.sort(np.random.default_rng(0).permutation(len(rows))[:SMOKE_ROWS])
    return [rows[i] for i in drawn]


def _json(result: Any) -> Any:
    return result.to_json() if hasattr(result, "to_json") else result


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))
