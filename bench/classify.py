"""`python -m bench classify`: speed, memory and accuracy of both sides, in turn, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import rows, table
from bench.jobs import WARMUP_UPDATES, Job, Learning, Tuning, in_turn
from bench.launch import clear, launch
from bench.search import search
from bench.speed import Spread, ceiling_share, examples_per_s, ratio

DEFAULT_BATCH, DEFAULT_LR = 8, 5e-5
ARTICLE_LENGTH = 512
ARTICLE_UPDATES = 8


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose. Row counts of None are the recipe's.

    Args:
        best_batch, best_tuning: of `trainer-best`, when it is not searched.
    """

    data: str
    repeats: int
    train_rows: rows.Wanted
    validation_rows: rows.Wanted
    test_rows: rows.Wanted
    epochs: float
    seed: int
    search: bool
    search_rows: int
    compiled: bool
    best_batch: int
    best_tuning: Tuning
    article: bool
    work: Path


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved."""
    recipe = rows.recipe_file(options.data)
    drawn = rows.overrides(recipe, train=options.train_rows, validation=options.validation_rows, test=options.test_rows)
    work = options.work / "classify"
    say(f"preparing {options.data}")
    prepared, facts = rows.ready(recipe, drawn, work)
    say(f"{table.row_counts(prepared['splits'])}\n{table.machine_line(facts)}")
    length = rows.length_of(recipe)
    base = Job("trainer", "", str(work), str(recipe), drawn, prepared["prepared"], tuning=Tuning(length=length))
    best = rows.learning_of(recipe, batch=options.best_batch, epochs=options.epochs, seed=options.seed)
    tuning, tried = replace(options.best_tuning, length=length), []
    if options.search:
        say(f"searching Trainer's best settings, {options.search_rows} rows each")
        chosen, tuning, tried = search(base, best, facts, rows=options.search_rows, compiled=options.compiled, say=say)
        best = replace(best, batch=chosen)
    sides = {job.name: job for job in jobs(base, best, tuning)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for repeat, name in in_turn(list(sides), options.repeats):
        found[name].append(_run(sides[name], work, facts, say=say, of=f"{repeat + 1}/{options.repeats}"))
    if options.article:
        job = article(base, options)
        found[job.name] = [_run(job, work, facts, say=say, of="1/1")]
        sides[job.name] = job
    return {
        "what": "classify",
        "facts": facts,
        "options": {**asdict(options), "work": None, "recipe": recipe.name},
        "rows": {name: prepared[name] for name in ("splits", "sha256")},
        "warmup_updates": WARMUP_UPDATES,
        "search": tried,
        "sides": [summary(sides[name], runs) for name, runs in found.items()],
        "ratios": ratios(found),
        "runs": found,
    }


def jobs(base: Job, best: Learning, tuning: Tuning) -> list[Job]:
    """Return the sides; each pair that is compared stands side by side and moves the weights alike."""
    default = Learning(DEFAULT_BATCH, DEFAULT_LR, best.epochs, best.seed)
    scored = replace(base, score=True)
    return [
        replace(scored, name="trainer-default", learning=default),
        replace(scored, kind="septet", name=f"septet, batch {DEFAULT_BATCH}", learning=default),
        replace(scored, name="trainer-best", learning=best, tuning=tuning),
        replace(scored, kind="septet", name=f"septet, batch {best.batch}", learning=best),
        replace(scored, kind="septet", name="septet, own defaults", learning=replace(best, batch=None, lr=None)),
    ]


def article(base: Job, options: Options) -> Job:
    """Return the tutorials' way, a few updates of it: every row padded to the maximum, batch 8, fp32."""
    tuning = Tuning(pad="max_length", length=ARTICLE_LENGTH)
    learning = Learning(DEFAULT_BATCH, DEFAULT_LR, options.epochs, options.seed)
    few = ARTICLE_UPDATES * DEFAULT_BATCH
    return replace(base, name="article", learning=learning, tuning=tuning, rows=few, max_steps=ARTICLE_UPDATES)


def summary(job: Job, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a side's repeats as one: medians with the least and the most; the scores are those of the first repeat."""
    scores = runs[0].get("scores")
    split = None if scores is None else scores.get("all") or next(iter(scores.values()))
    return {
        "name": job.name,
        "kind": job.kind,
        "batch": job.learning.batch if job.learning else None,
        "settings": job.tuning.label if job.kind == "trainer" else "as the machine measures",
        **{
            key: Spread.of([run[key] for run in runs]).to_json()
            for key in ("examples_per_s", "ceiling_share", "peak_bytes", "wall_s", "start_s")
        },
        "accuracy": split and split["accuracy"],
        "f1": split and split["f1"],
    }


def ratios(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Return the speed of each Septet side over the Trainer sides it stands beside, repeat by repeat."""
    speed = {name: [run["examples_per_s"] for run in runs] for name, runs in found.items()}
    ours = [name for name in speed if name.startswith("septet")]
    pairs = [
        (ours[0], "trainer-default"),
        (ours[1], "trainer-best"),
        (ours[2], "trainer-default"),
        (ours[2], "trainer-best"),
    ]
    return {f"{a} / {b}": ratio(speed[a], speed[b]).to_json() for a, b in pairs}


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    header = [
        "side",
        "rows/update",
        "examples/s",
        "of the ceiling",
        "peak memory, GiB",
        "whole run, s",
        "accuracy, %",
        "macro F1, %",
    ]
    lines = [
        [
            side["name"],
            str(side["batch"] or "auto"),
            f"{side['examples_per_s']['median']:.1f}",
            f"{side['ceiling_share']['median']:.1%}",
            f"{side['peak_bytes']['median'] / 2**30:.2f}",
            f"{side['wall_s']['median']:.0f}" if side["name"] != "article" else "-",
            table.percent(side["accuracy"]),
            table.percent(side["f1"]),
        ]
        for side in result["sides"]
    ]
    facts, options = result["facts"], result["options"]
    best = next(side for side in result["sides"] if side["name"] == "trainer-best")
    told = [
        f"`python -m bench classify --data {options['data']}`, {facts['date']}: {table.row_counts(result['rows']['splits'])}, "
        f"{options['epochs']:g} epochs, {facts['tokens_per_row']:.1f} tokens a row, median of {options['repeats']} repeats in turn",
        table.machine_line(facts),
        f"trainer-best: {best['settings']}"
        + (f", the fastest of {len(result['search'])} settings tried" if result["search"] else ""),
        *(f"{name}: {r['median']:.2f} times ({r['low']:.2f}-{r['high']:.2f})" for name, r in result["ratios"].items()),
    ]
    return table.markdown(header, lines) + "\n\n" + "\n".join(f"- {line}" for line in told)


def _run(job: Job, work: Path, facts: dict[str, Any], *, say: Callable[[str], None], of: str) -> dict[str, Any]:
    job = job.at(work / job.name.replace(", ", "-").replace(" ", "-"))
    found = launch(job)
    if found["timing"] is None:
        raise ValueError(f"{job.name} made {found['updates']} updates; {WARMUP_UPDATES} are warm-up: use more rows")
    speed = examples_per_s(found["timing"], facts["tokens_per_row"])
    share = ceiling_share(
        speed,
        tokens_per_row=facts["tokens_per_row"],
        flops_per_token=facts["flops_per_token"],
        gflops=facts["best_gflops"],
    )
    clear(job)
    say(f"{of} {job.name}: {speed:.1f} examples/s, {found['wall_s']:.0f} s")
    kept = {key: value for key, value in found.items() if key not in ("model", "run")}
    return {**kept, "examples_per_s": speed, "ceiling_share": share}
