"""`python -m bench classify` and `python -m bench quality`; run from the repository's root. See README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import classify, plot, quality, table
from bench.jobs import RESULTS, WORK, Tuning
from bench.launch import JobError
from bench.rows import Wanted
from septet.errors import SeptetError

ROWS, VALIDATION_ROWS, TEST_ROWS = 3000, 500, 2000


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return _classify(chosen) if chosen.command == "classify" else _quality(chosen)
    except (SeptetError, JobError, FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def say(text: str) -> None:
    print(text, flush=True)


def _classify(chosen: argparse.Namespace) -> int:
    options = classify.Options(
        data=chosen.data,
        repeats=chosen.repeats,
        train_rows=chosen.rows,
        validation_rows=chosen.validation_rows,
        test_rows=chosen.test_rows,
        epochs=chosen.epochs,
        seed=chosen.seed,
        search=chosen.search,
        search_rows=chosen.search_rows,
        compiled=chosen.compile,
        best_batch=chosen.batch,
        best_tuning=Tuning(chosen.precision, "random" if chosen.ungrouped else "group_by_length", chosen.attention),
        article=not chosen.no_article,
        work=chosen.work.resolve(),
    )
    result = classify.measure(options, say)
    text = classify.text(result)
    path = table.stem(f"classify-{Path(chosen.data).stem}", result["facts"], chosen.results)
    files = table.keep(path, result, text)
    files.append(plot.draw(result, path.with_name(path.name + ".svg")))
    say("\n" + text + "\n\n" + "\n".join(f"wrote {file}" for file in files))
    return 0


def _quality(chosen: argparse.Namespace) -> int:
    options = quality.Options(
        data=tuple(chosen.data),
        seeds=tuple(range(chosen.first_seed, chosen.first_seed + chosen.seeds)),
        train_rows=chosen.rows,
        validation_rows=chosen.validation_rows,
        test_rows=chosen.test_rows,
        epochs=chosen.epochs,
        work=chosen.work.resolve(),
    )
    result = quality.measure(options, say)
    text = quality.text(result)
    names = "-".join(Path(name).stem for name in chosen.data)
    files = table.keep(table.stem(f"quality-{names}", result["facts"], chosen.results), result, text)
    say("\n" + text + "\n\n" + "\n".join(f"wrote {file}" for file in files))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Septet beside Hugging Face's Trainer.")
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("classify", help="speed, memory and accuracy, in turn, in one run")
    speed.add_argument("--data", default="tweets", help="a recipe of recipes/ by name, or a file (default: tweets)")
    speed.add_argument("--repeats", type=int, default=3, help="rounds over all sides (default: 3)")
    _rows(speed, ROWS, VALIDATION_ROWS, TEST_ROWS)
    speed.add_argument("--epochs", type=float, default=1.0, help="passes over the rows (default: 1)")
    speed.add_argument("--seed", type=int, default=42)
    speed.add_argument(
        "--search", action="store_true", help="try Trainer's settings first, and take the fastest as trainer-best"
    )
    speed.add_argument("--search-rows", type=int, default=1280, help="rows of each trial (default: 1280)")
    speed.add_argument("--compile", action="store_true", help="try torch.compile in the search too (minutes each)")
    speed.add_argument(
        "--batch", type=int, default=64, help="rows per update of trainer-best without --search (default: 64)"
    )
    speed.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of trainer-best without --search")
    speed.add_argument(
        "--attention", choices=("eager", "sdpa"), default="sdpa", help="of trainer-best without --search"
    )
    speed.add_argument("--ungrouped", action="store_true", help="trainer-best in random order, without --search")
    speed.add_argument("--no-article", action="store_true", help="leave out the run that pads every row to 512")
    scores = commands.add_parser(
        "quality", help="accuracy and F1 over several seeds, with the interval of the difference"
    )
    scores.add_argument(
        "--data", nargs="+", default=["tweets", "banking77", "sst2"], help="recipes of recipes/, or files"
    )
    scores.add_argument("--seeds", type=int, default=3, help="seeds of each side (default: 3)")
    scores.add_argument("--first-seed", type=int, default=42)
    _rows(scores, None, None, "all")
    scores.add_argument("--epochs", type=float, default=None, help="instead of the recipe's")
    for each in (speed, scores):
        each.add_argument("--work", type=Path, default=WORK, help="where runs are made (default: runs/bench)")
        each.add_argument(
            "--results", type=Path, default=RESULTS, help="where the result is written (default: bench/results)"
        )
    return parser


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
