"""`python -m bench classify`, `quality`, `sft`, `data` and `label`; run from the repository's root. See README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bench import classify, data, label, plot, quality, sft, sft_quality, table
from bench.jobs import RESULTS, WORK, SftTuning, Tuning
from bench.launch import JobError
from bench.rows import Wanted
from septet.errors import SeptetError

ROWS, VALIDATION_ROWS, TEST_ROWS = 3000, 500, 2000
DATA_ROWS, DATA_ROWS_ALONE = 100_000, 1_000_000
SFT_ROWS, SFT_QUALITY_ROWS, SFT_VALIDATION_ROWS, SFT_TEST_ROWS = 800, 2000, 100, 200


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(_with_mode(sys.argv[1:] if arguments is None else arguments))
    try:
        return chosen.do(chosen)
    except (SeptetError, JobError, FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def say(text: str) -> None:
    print(text, flush=True)


def _with_mode(arguments: list[str]) -> list[str]:
    """Return the arguments with `sft --quality` as a command, which has options of its own."""
    if arguments[:1] == ["sft"] and "--quality" in arguments:
        return ["sft-quality", *(each for each in arguments[1:] if each != "--quality")]
    return arguments


def _classify(chosen: argparse.Namespace) -> int:
    tuning = Tuning(chosen.precision, _sampling(chosen), chosen.attention, chosen.compile)
    options = classify.Options(**_of_speed(chosen), best_tuning=tuning, article=not chosen.no_article)
    result = classify.measure(options, say)
    return _keep(f"classify-{Path(chosen.data).stem}", result, classify.text(result), chosen.results, drawn=True)


def _quality(chosen: argparse.Namespace) -> int:
    result = quality.measure(quality.Options(**_of_quality(chosen), data=tuple(chosen.data)), say)
    names = "-".join(Path(name).stem for name in chosen.data)
    return _keep(f"quality-{names}", result, quality.text(result), chosen.results)


def _sft(chosen: argparse.Namespace) -> int:
    tuning = SftTuning(
        chosen.precision,
        _sampling(chosen),
        chosen.attention,
        chosen.compile,
        layout=chosen.layout,
        checkpointing=False,
    )
    options = sft.Options(**_of_speed(chosen), best_tuning=tuning, fp32=not chosen.no_fp32)
    result = sft.measure(options, say)
    return _keep(f"sft-{Path(chosen.data).stem}", result, sft.text(result), chosen.results, drawn=True)


def _sft_quality(chosen: argparse.Namespace) -> int:
    tuning = SftTuning(chosen.precision, checkpointing=False)
    options = sft_quality.Options(**_of_quality(chosen), data=chosen.data, model=chosen.model, tuning=tuning)
    result = sft_quality.measure(options, say)
    begun = "" if chosen.model is None else f"-{Path(chosen.model).name}"
    return _keep(f"sft-quality-{Path(chosen.data).stem}{begun}", result, sft_quality.text(result), chosen.results)


def _data(chosen: argparse.Namespace) -> int:
    options = data.Options(chosen.rows, chosen.alone, chosen.repeats, chosen.work.resolve() / "data")
    result = data.measure(options, say)
    return _keep("data", result, data.text(result), chosen.results)


def _label(chosen: argparse.Namespace) -> int:
    folder = chosen.data
    options = label.Options(folder / "train.csv.gz", folder / "test.csv.gz", chosen.work.resolve(), seeds=chosen.seeds)
    result = label.measure(options, say)
    return _keep(f"label-{folder.name}", result, label.text(result), chosen.results)


def _keep(what: str, result: dict[str, Any], text: str, folder: Path, *, drawn: bool = False) -> int:
    path = table.stem(what, result["facts"], folder)
    files = table.keep(path, result, text)
    if drawn:
        files.append(plot.draw(result, path.with_name(path.name + ".svg")))
    say("\n" + text + "\n\n" + "\n".join(f"wrote {file}" for file in files))
    return 0


def _of_speed(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what all tables of speed take."""
    return {
        **_of_rows(chosen),
        "data": chosen.data,
        "repeats": chosen.repeats,
        "seed": chosen.seed,
        "search": chosen.search,
        "search_rows": chosen.search_rows,
        "compiled": chosen.compile,
        "best_batch": chosen.batch,
    }


def _of_quality(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what all tables of quality take."""
    return {**_of_rows(chosen), "seeds": tuple(range(chosen.first_seed, chosen.first_seed + chosen.seeds))}


def _of_rows(chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "train_rows": chosen.rows,
        "validation_rows": chosen.validation_rows,
        "test_rows": chosen.test_rows,
        "epochs": chosen.epochs,
        "work": chosen.work.resolve(),
    }


def _sampling(chosen: argparse.Namespace) -> str:
    return "random" if chosen.ungrouped else "group_by_length"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Septet beside Hugging Face's Trainer and TRL.")
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("classify", help="speed, memory and accuracy, in turn, in one run")
    speed.add_argument("--data", default="tweets", help="a recipe of recipes/ by name, or a file (default: tweets)")
    _rows(speed, ROWS, VALIDATION_ROWS, TEST_ROWS)
    _speed(speed, "trainer-best", search_rows=1280, batch=64, precision="fp32")
    speed.add_argument("--no-article", action="store_true", help="leave out the run that pads every row to 512")
    scores = commands.add_parser(
        "quality", help="accuracy and F1 over several seeds, with the interval of the difference"
    )
    scores.add_argument(
        "--data", nargs="+", default=["tweets", "banking77", "sst2"], help="recipes of recipes/, or files"
    )
    _rows(scores, None, None, "all")
    _seeded(scores)
    written = commands.add_parser(
        "sft",
        help="instruction tuning beside SFTTrainer: speed, memory and held-out loss",
        epilog="`sft --quality` measures the held-out loss over several seeds; `sft --quality --help` has its options",
    )
    _sft_rows(written, SFT_ROWS)
    _speed(written, "trl-best", search_rows=256, batch=16, precision="bf16")
    written.add_argument(
        "--layout", choices=("padded", "padding-free", "packed"), default="padded", help="of trl-best without --search"
    )
    written.add_argument(
        "--no-fp32", action="store_true", help="leave out the few updates of trl-default without SFTConfig's bf16"
    )
    losses = commands.add_parser("sft-quality", help="`sft --quality`: held-out loss over several seeds")
    _sft_rows(losses, SFT_QUALITY_ROWS)
    _seeded(losses)
    losses.add_argument(
        "--model", default=None, help="both sides begin with, such as starter-lm (default: the recipe's)"
    )
    losses.add_argument(
        "--precision", choices=("fp32", "bf16"), default=None, help="of SFTTrainer (default: SFTConfig's own)"
    )
    tables = commands.add_parser(
        "data", help="rows read, cleaned, freed of repeats and tokenised, beside datasets with datasketch"
    )
    tables.add_argument("--rows", type=int, default=DATA_ROWS, help=f"that both sides read (default: {DATA_ROWS:,})")
    tables.add_argument(
        "--alone",
        type=int,
        default=DATA_ROWS_ALONE,
        help=f"that Septet reads by itself; 0: none (default: {DATA_ROWS_ALONE:,})",
    )
    tables.add_argument("--repeats", type=int, default=1, help="rounds over both sides (default: 1)")
    picked = commands.add_parser("label", help="accuracy by rows labelled: `septet label` beside random picks")
    picked.add_argument(
        "--data",
        type=Path,
        default=Path("../shared/data/banking77"),
        help="a folder with train.csv.gz and test.csv.gz, columns text and label (default: ../shared/data/banking77)",
    )
    picked.add_argument("--seeds", type=int, choices=range(2, 11), default=5, help="from 2 to 10 (default: 5)")
    does = {speed: _classify, scores: _quality, written: _sft, losses: _sft_quality, tables: _data, picked: _label}
    for each, do in does.items():
        each.set_defaults(do=do)
        each.add_argument("--work", type=Path, default=WORK, help="where runs are made (default: runs/bench)")
        each.add_argument(
            "--results", type=Path, default=RESULTS, help="where the result is written (default: bench/results)"
        )
    return parser


def _speed(parser: argparse.ArgumentParser, best: str, *, search_rows: int, batch: int, precision: str) -> None:
    """Add the options of a table of speed; `best` is the side of the peer's best settings."""
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all sides (default: 3)")
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the rows (default: 1)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--search", action="store_true", help=f"try the peer's settings first, and take the fastest as {best}"
    )
    parser.add_argument(
        "--search-rows", type=int, default=search_rows, help=f"rows of each trial (default: {search_rows})"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help=f"try torch.compile in the search too (minutes each); without a search, {best} is compiled",
    )
    parser.add_argument(
        "--batch", type=int, default=batch, help=f"rows per update of {best} without --search (default: {batch})"
    )
    without = f"of {best} without --search"
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=precision, help=without)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="sdpa", help=without)
    parser.add_argument("--ungrouped", action="store_true", help=f"{best} in random order, without --search")


def _seeded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each side (default: 3)")
    parser.add_argument("--first-seed", type=int, default=42)
    parser.add_argument("--epochs", type=float, default=None, help="instead of the recipe's")


def _sft_rows(parser: argparse.ArgumentParser, train: int) -> None:
    parser.add_argument(
        "--data", default="gsm8k_train", help="a recipe of bench/recipes/ by name, or a file (default: gsm8k_train)"
    )
    _rows(parser, train, SFT_VALIDATION_ROWS, SFT_TEST_ROWS)


def _rows(parser: argparse.ArgumentParser, train: Wanted, validation: Wanted, test: Wanted) -> None:
    for name, default in (("--rows", train), ("--validation-rows", validation), ("--test-rows", test)):
        shown = "the recipe's" if default is None else default
        parser.add_argument(
            name, type=_count, default=default, help=f"a number drawn with the recipe's seed, or all (default: {shown})"
        )


def _count(text: str) -> Wanted:
    return "all" if text == "all" else int(text)


if __name__ == "__main__":
    sys.exit(main())
