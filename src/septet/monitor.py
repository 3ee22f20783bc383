"""Stage 7: compare what the server was asked with what the model was made for.

`monitor("runs/x")` reads the run's request log and its model's profile, makes the tests of `watch/drift.py`, and writes
`monitor.json`. "Not enough requests" is an answer, not an error. Drift gives exit code 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from septet.durable import write_atomic
from septet.errors import DataError, UsageError
from septet.inputs import require_texts
from septet.progress import Listen, quiet
from septet.report import Finding, Report

MAX_ROWS = 20_000
FILE = "monitor.json"
LOG_ENDINGS = (".sqlite", ".sqlite3", ".db")
_DOCUMENTED = {"text": "drift-text", "labels": "drift-labels", "length": "drift-length"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The recipe's `monitor` section; see `septet explain monitor`."""

    false_alarm: float = 0.01
    min_requests: int = 50
    permutations: int = 1000
    window: int | None = None
    seed: int = 42


@dataclass(slots=True)
class Watched:
    """What `monitor` found.

    Args:
        findings: the drifts, or why there is none to report.
        requests: rows of the window, and how many of them are `distinct`.
        tests: the figures of each test, as JSON.
        facts: the false-alarm rate, the window, where the requests came from.
    """

    findings: Report
    requests: int
    distinct: int
    tests: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def drift(self) -> bool:
        return any(f.slug.startswith("drift-") for f in self.findings)

    @property
    def exit_code(self) -> int:
        return 3 if self.drift else 0

    def to_json(self) -> dict[str, Any]:
        counts = {"requests": self.requests, "distinct": self.distinct}
        return {"drift": self.drift, **counts, **self.facts, "tests": self.tests, "findings": self.findings.to_json()}

    def text(self) -> str:
        """The findings as plain lines, with the figures of the tests."""
        lines = [f"{self.requests:,} requests ({self.distinct:,} distinct)"]
        for test in self.tests:
            mark = "drift" if test["drift"] else "no drift"
            lines.append(
                f"  {test['test']:<7} {mark:<9} p = {test['p']:.4f} (drift at or below {test['threshold']:.4f})"
            )
        return "\n".join([*lines, self.findings.text()])


def monitor(
    folder: str | Path,
    *,
    log: str | Path | None = None,
    window: int | None = None,
    device: str | None = None,
    code: Sequence[str] = (),
    listen: Listen = quiet,
) -> Watched:
    """Test the requests of a model for drift and write `monitor.json`.

    Args:
        folder: a run folder or a model folder.
        log: a request log, or a table of texts that are answered first; None is the run's own log.
        window: only the last N requests, instead of the recipe's.
        device, code: as for `predict`; used where texts are answered first.
        listen: told of the progress.

    Raises:
        UsageError: no model or no log there, or the window is too small.
        ModelError: the model has no profile.
        DataError: the log cannot be read.
    """
    from septet.model.artifact import model_folder
    from septet.watch import profile as profiles

    model = model_folder(Path(folder)).resolve()
    limits = _limits(model.parent, window)
    profile = profiles.read(model)
    requests = _requests(model, log, limits=limits, device=device, code=code, listen=listen)
    result = _judge(profile, requests, limits=limits)
    place = model.parent if (model.parent / "recipe.given.yaml").is_file() else None
    if place is not None:
        import json

        write_atomic(place / FILE, json.dumps(result.to_json(), indent=2, ensure_ascii=False).encode() + b"\n")
    return result


# ---- the requests ----


@dataclass(slots=True)
class Requests:
    """The window: predicted labels, token counts, embeddings, texts where they are known, and the inputs' hashes."""

    labels: list[str]
    tokens: np.ndarray
    embeddings: np.ndarray
    texts: list[str | None]
    hashes: list[str]
    source: str


def _requests(
    model: Path, log: str | Path | None, *, limits: Limits, device: str | None, code: Sequence[str], listen: Listen
) -> Requests:
    from septet.serve import log_file
    from septet.server.log import read

    path = Path(log) if log is not None else log_file(model)
    if log is not None and path.suffix.lower() not in LOG_ENDINGS:
        return _answered(model, path, limits=limits, device=device, code=code, listen=listen)
    from septet.server.identity import model_hash

    last = min(limits.window or MAX_ROWS, MAX_ROWS)
    found = read(path, last=last, model=model_hash(model))
    return Requests(found.labels, found.tokens, found.embeddings, found.texts, found.hashes, str(path))


def _answered(
    model: Path, path: Path, *, limits: Limits, device: str | None, code: Sequence[str], listen: Listen
) -> Requests:
    from septet.model.predictor import Predictor
    from septet.predict import source_rows
    from septet.server.log import row_hash

    predictor = Predictor.load(model, device, code)
    require_texts(predictor.task, "septet monitor")
    rows = source_rows(str(path), predictor.task)
    rows = rows[-min(limits.window or MAX_ROWS, MAX_ROWS) :]
    if not rows:
        raise DataError("There is no text to compare.", where=str(path))
    answers = predictor.predict(rows, embed=True, listen=listen)
    tokens = np.array([p.tokens + p.truncated for p in answers], np.int64)
    embeddings = np.stack([np.asarray(p.embedding, np.float32) for p in answers])
    texts: list[str | None] = [" | ".join(map(str, row.values())) for row in rows]
    return Requests([p.label for p in answers], tokens, embeddings, texts, [row_hash(r) for r in rows], str(path))


def _limits(run: Path, window: int | None) -> Limits:
    limits = Limits()
    if (run / "recipe.yaml").is_file():
        from septet.recipe import Recipe

        limits = Recipe.load(run / "recipe.yaml").monitor
    known = {name: getattr(limits, name) for name in Limits.__dataclass_fields__}
    if window is not None:
        if window < known["min_requests"]:
            hint = f"--window {10 * known['min_requests']}"
            what = f"The window must hold at least monitor.min_requests, {known['min_requests']} requests."
            raise UsageError(what, received=window, hint=hint)
        known["window"] = window
    return Limits(**known)


# ---- the verdict ----


def _judge(profile: Any, requests: Requests, *, limits: Limits) -> Watched:
    from septet.watch.drift import Sample, compare

    count = len(requests.labels)
    facts = {
        "false_alarm": limits.false_alarm,
        "window": limits.window,
        "source": requests.source,
        "reference_rows": profile.n,
    }
    result = Watched(Report(), count, len(set(requests.hashes)), facts=facts)
    if count < limits.min_requests:
        result.findings.add(_too_few(count, limits))
        return result
    tests = compare(
        Sample(profile.labels, profile.tokens, profile.embeddings),
        Sample(dict(Counter(requests.labels)), requests.tokens, requests.embeddings),
        false_alarm=limits.false_alarm,
        permutations=limits.permutations,
        seed=limits.seed,
    )
    result.tests = [test.to_json() for test in tests]
    result.findings.add(*[_finding(test, profile, requests=requests) for test in tests if test.drift])
    if not len(result.findings):
        result.findings.add(_no_drift(count, [t.name for t in tests], limits=limits))
    return result


def _too_few(count: int, limits: Limits) -> Finding:
    return Finding(
        "not-enough-requests",
        "note",
        f"{count} requests are too few to judge; {limits.min_requests} are needed (monitor.min_requests).",
        "wait for more requests",
        {"requests": count, "needed": limits.min_requests},
    )


def _no_drift(count: int, tests: Sequence[str], *, limits: Limits) -> Finding:
    missing = "" if "text" in tests else " The texts were not compared: there are no embeddings."
    return Finding(
        "no-drift",
        "note",
        f"{count:,} requests look like the validation rows (false-alarm rate {limits.false_alarm:g}).{missing}",
        "",
        {"requests": count, "tests": list(tests)},
    )


def _finding(test: Any, profile: Any, *, requests: Requests) -> Finding:
    from septet.watch.drift import FAR

    evidence = {**test.to_json()}
    if test.name == "text":
        apart, far = test.effect["told_apart"], test.effect["far_share"]
        message = f"The texts differ from the validation rows: the two are told apart in {apart:.0%} of cases (50 % is chance)"
        if far > 2 * (1 - FAR):
            message += f", and {far:.0%} of the requests lie where {1 - FAR:.0%} of the validation rows do"
        fix = "read the examples; if they belong to the task, label some and train again with them"
        evidence["examples"] = _examples(profile, requests)
    elif test.name == "labels":
        moved = test.effect["labels"][0]
        message = f"The labels are predicted in other shares: {moved['label']!r} {moved['before']:.0%} before, {moved['now']:.0%} now"
        fix = "check whether the world changed or the model errs: label 100 requests and run septet evaluate"
    else:
        before, now = test.effect["before"], test.effect["now"]
        message = f"The texts have other lengths: median {before['median']:.0f} tokens before, {now['median']:.0f} now"
        fix = "look for a changed form, template or client; longer texts may be cut off at the model's maximum length"
    return Finding(_DOCUMENTED[test.name], "warning", f"{message} (p = {test.p:.4f}).", fix, evidence)


def _examples(profile: Any, requests: Requests) -> list[dict[str, Any]]:
    from septet.watch.drift import unusual

    examples = []
    for i, distance in unusual(profile.embeddings, requests.embeddings):
        example: dict[str, Any] = {"row_hash": requests.hashes[i], "label": requests.labels[i], "distance": distance}
        if requests.texts[i] is not None:
            example["text"] = str(requests.texts[i])[:300]
        examples.append(example)
    return examples
