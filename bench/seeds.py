"""Two sides, several seeds each, compared by resampling rows and seeds.

Every finished run is kept under the work folder by what went into it, so that an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import table
from bench.jobs import ANSWERS, REPO, Job, Learning, in_turn
from bench.launch import clear, launch
from bench.resample import Difference, difference
from bench.score import METRICS, load, of_all, pool
from septet.metrics import Answers

# of a job, what no weight depends on
UNTIED = ("launched", "folder", "prepared", "warmup")
# the code of each peer, and the packages its runs rest on
CODE = {"trainer": ("trainer.py",), "trl": ("trl_sft.py", "texts.py", "trainer.py")}
VERSIONS = {"trl": ("trl",)}


def compare(
    base: Job,
    learning: Learning,
    seeds: Sequence[int],
    *,
    name: str,
    prepared: dict[str, Any],
    facts: dict[str, Any],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return the runs of both sides for each seed, and their differences by test split and metric.

    Args:
        base: a job of the peer; Septet's differ in their kind.
        name: of the data, in the names of the runs.
        prepared: splits and sha256 of the rows, and of whatever else both sides begin with.
    """
    names = (base.kind, "septet")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in names}
    kept: dict[str, list[dict[str, Answers]]] = {side: [] for side in names}
    for place, side in in_turn(names, len(seeds)):
        seed = seeds[place]
        job = replace(base, kind=side, name=f"{name} {side} seed {seed}", learning=replace(learning, seed=seed))
        record, answers = once(job, work, facts, sha256=prepared["sha256"], say=say)
        runs[side].append(record)
        kept[side].append(answers)
    found = compared(kept["septet"], kept[base.kind])
    return {
        "recipe": Path(base.recipe).name,
        "splits": prepared["splits"],
        "sha256": prepared["sha256"],
        "learning": asdict(learning),
        "differences": {split: {m: d.to_json() for m, d in each.items()} for split, each in found.items()},
        "runs": runs,
    }


def key(job: Job, *facts: Any) -> str:
    """Return a name for a run by everything that can change its result."""
    settings = {name: value for name, value in json.loads(job.to_json()).items() if name not in UNTIED}
    return hashlib.sha256(json.dumps([settings, *facts], sort_keys=True).encode()).hexdigest()[:12]


def source_hash(folder: Path) -> str:
    """Return a hash of all Python files below a folder: other code, another run."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compared(
    ours: Sequence[dict[str, Answers]], theirs: Sequence[dict[str, Answers]]
) -> dict[str, dict[str, Difference]]:
    """Return the difference of each metric by test split; with several splits, first of all their rows together."""
    splits = list(ours[0])
    metrics = METRICS[ours[0][splits[0]].kind]
    groups = {split: [split] for split in splits}
    if len(splits) > 1:
        groups = {"all": splits, **groups}
    return {
        group: {
            metric: difference(metric, *([pool([each[s] for s in parts]) for each in side] for side in (ours, theirs)))
            for metric in metrics
        }
        for group, parts in groups.items()
    }


def once(
    job: Job, work: Path, facts: dict[str, Any], *, sha256: dict[str, str], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Answers]]:
    """Return a run's record and answers: found, or made now."""
    folder = work / "done" / f"{job.kind}-{kept_as(job, facts['machine']['versions'], sha256)}"
    if not (folder / "record.json").exists():
        job = job.at(work / "now")
        found = launch(job)
        folder.mkdir(parents=True, exist_ok=True)
        (Path(job.folder) / ANSWERS).replace(folder / ANSWERS)
        clear(job)
        kept = {name: value for name, value in found.items() if name not in ("model", "run")}
        # last, so that a record stands for a whole run
        (folder / "record.json").write_text(json.dumps(kept, indent=1))
    record = json.loads((folder / "record.json").read_text())
    metric, value = next(iter(of_all(record["scores"]).items()))
    say(f"{job.name}: {metric} {table.shown(metric, value)}, {record['wall_s']:.0f} s")
    return record, load(folder / ANSWERS)


def kept_as(job: Job, versions: dict[str, str], sha256: dict[str, str]) -> str:
    """Return the name a run is kept under: its settings, the rows, the versions and the code."""
    files = CODE.get(job.kind)
    code = (
        source_hash(REPO / "src" / "septet")
        if files is None
        else "".join((REPO / "bench" / file).read_text() for file in files)
    )
    names = ("torch", "transformers", "accelerate", *VERSIONS.get(job.kind, ()))
    return key(job, sha256, {name: versions[name] for name in names}, code + Path(job.recipe).read_text())
