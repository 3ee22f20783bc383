"""`python -m bench sft`: speed, memory and held-out loss of Septet's `generate` and TRL's `SFTTrainer`, in turn, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import rows, sides, table
from bench.ground import ground, lines
from bench.jobs import Job, Learning, SftTuning
from bench.search import pack_length, search, sft_candidates
from bench.speed import Spread

DEFAULT_BATCH, DEFAULT_LR = 8, 2e-5
NAMES = ("trl-default", "septet as trl-default", "trl-best", "septet as trl-best", "septet, own defaults")
# of every side: what is compiled is compiled anew as it meets other shapes
WARMUP_UPDATES = 10
FP32_UPDATES = WARMUP_UPDATES + 10
IN_FP32 = "trl-default in fp32"
# what Septet derives for minutes of training, and the whole data set takes them; the few rows measured here would not
COMPILED = ("train.compile=true",)
# of what SFTConfig chose itself, what a reader must know
CHOSEN = ("bf16", "gradient_checkpointing", "attention")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    Args:
        train_rows, validation_rows, test_rows: at most so many of those that both sides take.
        epochs: None is the recipe's.
        best_batch, best_tuning: of `trl-best`, when it is not searched.
        fp32: also a few updates of `trl-default` without the bf16 that SFTConfig chooses.
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
    best_tuning: SftTuning
    fp32: bool
    work: Path


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved."""
    wanted = {"train": options.train_rows, "validation": options.validation_rows, "test": options.test_rows}
    found = ground(options.data, wanted, options.work, name="sft", say=say)
    base, facts = replace(found.base, warmup=WARMUP_UPDATES), found.facts
    work = Path(base.folder)
    best = rows.learning_of(found.recipe, batch=options.best_batch, epochs=options.epochs, seed=options.seed)
    tuning, tried = sized(options.best_tuning, options.best_batch, base, facts), []
    if options.search:
        say(f"searching SFTTrainer's best settings, {options.search_rows} rows each")
        settings = sft_candidates(facts, length=base.tuning.length, compiled=options.compiled)
        chosen, tuning, tried = search(base, best, facts, settings, rows=options.search_rows, say=say)
        best = replace(best, batch=chosen)
    default = Learning(DEFAULT_BATCH, DEFAULT_LR, best.epochs, best.seed)
    measured = [compiled(job) for job in sides.five(base, default, best, tuning, NAMES)]
    pairs = sides.pairs_of_five(NAMES)
    if options.fp32:
        measured.append(in_fp32(measured[0]))
        pairs += [(NAMES[1], IN_FP32), (NAMES[4], IN_FP32)]
    runs = sides.in_rounds(measured, options.repeats, work=work, facts=facts, say=say)
    return {
        "what": "sft",
        "facts": facts,
        "options": {**asdict(options), "work": None, "recipe": found.recipe.name},
        "rows": found.to_json(),
        "warmup_updates": WARMUP_UPDATES,
        "search": tried,
        "sides": [summary(job, runs[job.name], facts) for job in measured],
        "ratios": sides.ratios(runs, pairs),
        "runs": runs,
    }


def sized(tuning: SftTuning, batch: int, base: Job, facts: dict[str, Any]) -> SftTuning:
    """Return settings with their length: of a pack, or that of the rows."""
    return replace(tuning, length=pack_length(batch, facts) if tuning.layout == "packed" else base.tuning.length)


def compiled(job: Job) -> Job:
    """Return a job of Septet with what it compiles; any other as it is."""
    if job.kind != "septet":
        return job
    return replace(job, overrides=(*job.overrides, *COMPILED))


def in_fp32(default: Job) -> Job:
    """Return a few updates of SFTConfig's defaults, but for its bf16."""
    tuning = replace(default.tuning, precision="fp32")
    few = FP32_UPDATES * DEFAULT_BATCH
    return replace(default, name=IN_FP32, tuning=tuning, rows=few, max_steps=FP32_UPDATES, score=False)


def summary(job: Job, runs: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """Return a side's repeats as one, its speed in tokens: all real ones, and those that are learned."""
    speeds = [run["examples_per_s"] for run in runs]
    counted = [run["timing"] for run in runs]
    return {
        **sides.summary(job, runs, ("loss",)),
        "tokens_per_s": Spread.of([speed * facts["tokens_per_row"] for speed in speeds]).to_json(),
        "supervised_per_s": Spread.of([speed * facts["supervised_per_row"] for speed in speeds]).to_json(),
        "rows_per_update": Spread.of([each["rows"] / each["updates"] for each in counted]).to_json(),
    }


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    header = [
        "side",
        "rows/update",
        "tokens/s",
        "supervised/s",
        "of the ceiling",
        "peak memory, GiB",
        "whole run, s",
        "held-out loss",
    ]
    cells = [
        [
            side["name"],
            f"{side['rows_per_update']['median']:.1f}",
            f"{side['tokens_per_s']['median']:,.0f}",
            f"{side['supervised_per_s']['median']:,.0f}",
            f"{side['ceiling_share']['median']:.1%}",
            f"{side['peak_bytes']['median'] / 2**30:.2f}",
            f"{side['wall_s']['median']:.0f}" if side["loss"] else "-",
            table.shown("loss", side["loss"]) if side["loss"] else "-",
        ]
        for side in result["sides"]
    ]
    facts, options = result["facts"], result["options"]
    settings = {side["name"]: side["settings"] for side in result["sides"]}
    failed = [tried for tried in result["search"] if "error" in tried]
    searched = f", the fastest of {len(result['search'])} settings tried; {len(failed)} did not run"
    told = [
        f"`python -m bench sft --data {options['data']}`, {facts['date']}: {table.row_counts(result['rows']['splits'])}, "
        f"{options['epochs']:g} epochs, median of {options['repeats']} repeats in turn",
        *lines(result["rows"], facts),
        table.machine_line(facts),
        f"the first {result['warmup_updates']} updates of every side are not timed",
        f"trl-default: SFTConfig as it comes, {_chosen(result['runs']['trl-default'][0])}",
        f"trl-best: {settings['trl-best']}" + (searched if result["search"] else ""),
        *(f"did not run: {tried['name']}: {table.last_line(tried['error'])}" for tried in failed),
        f"septet: {' '.join(COMPILED)}, as it derives for all rows of the data",
        *sides.ratio_lines(result["ratios"]),
    ]
    return table.markdown(header, cells) + "\n\n" + "\n".join(f"- {line}" for line in told)


def _chosen(run: dict[str, Any]) -> str:
    return ", ".join(f"{name} {run['settings'][name]}" for name in CHOSEN)
