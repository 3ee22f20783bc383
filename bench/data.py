"""`python -m bench data`: the same texts read, cleaned, freed of repeats and tokenised by Septet and by `datasets` with datasketch, in turn."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import table
from bench.data_judge import judge
from bench.data_side import folded_text
from bench.jobs import REPO
from bench.launch import JobError
from bench.many import write_rows
from bench.speed import Spread

SAMPLED_S = 0.5
LIBRARIES = ("septet", "rensa", "ftfy", "py3langid", "datasets", "datasketch", "transformers", "pyarrow")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    Args:
        rows: of the table that both sides read.
        alone: rows of a larger table that Septet reads by itself; 0 for none.
        repeats: rounds over both sides.
    """

    rows: int
    alone: int
    repeats: int
    work: Path


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved.

    Raises:
        FileNotFoundError: the shared data are not there.
        JobError: a side failed.
    """
    options.work.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {"septet": [], "peer": []}
    kinds = _write(options.rows, options.work, say)
    kept: dict[str, list[str]] = {}
    for turn in range(options.repeats):
        for side in list(runs) if turn % 2 == 0 else list(reversed(runs)):
            found = _run(side, options.rows, options.work, say)
            kept[side] = found.pop("kept")
            runs[side].append(found)
    result = {
        "what": "data",
        "facts": _facts(options.work),
        "options": {"rows": options.rows, "alone": options.alone, "repeats": options.repeats},
        "kinds": kinds,
        "runs": runs,
        "agreement": agreement(kept["septet"], kept["peer"]),
        "alone": judge(_rows(options.rows, options.work), kept["septet"], kept["peer"]),
        "ratio": Spread.of(
            [p["wall_s"] / s["wall_s"] for s, p in zip(runs["septet"], runs["peer"], strict=True)]
        ).to_json(),
    }
    if options.alone:
        _write(options.alone, options.work, say)
        alone = _run("septet", options.alone, options.work, say)
        result["larger"] = {name: value for name, value in alone.items() if name != "kept"}
    return result


def agreement(ours: list[str], theirs: list[str]) -> dict[str, float]:
    """Return how far two sides keep the same texts: those that both keep, and those of one alone, letters and digits compared."""
    one, other = set(map(folded_text, ours)), set(map(folded_text, theirs))
    both = len(one & other)
    return {
        "both": both,
        "septet_alone": len(one - other),
        "peer_alone": len(other - one),
        "share": both / max(1, len(one | other)),
    }


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    header = ["side", "rows", "seconds", "rows/s", "peak memory, GiB", "kept", "tokens"]
    options, facts = result["options"], result["facts"]
    cells = [_cells(side, options["rows"], runs) for side, runs in result["runs"].items()]
    if "larger" in result:
        cells.append(_cells("septet", options["alone"], [result["larger"]]))
    agreed, ratio = result["agreement"], result["ratio"]
    told = [
        f"`python -m bench data --rows {options['rows']} --alone {options['alone']} --repeats {options['repeats']}`, {facts['date']}, load before {facts['load']:.1f}",
        f"{facts['cpu']}, {facts['cores']} cores; " + ", ".join(f"{n} {v}" for n, v in facts["versions"].items()),
        "rows: " + ", ".join(f"{count:,} {kind}" for kind, count in result["kinds"].items()),
        f"Septet is {ratio['median']:.1f} times as fast ({ratio['low']:.1f}-{ratio['high']:.1f})",
        f"of the texts that either side keeps, both keep {agreed['share']:.1%}; Septet alone {agreed['septet_alone']:,}, the peer alone {agreed['peer_alone']:,}",
        *(
            f"of what {side} keeps alone: "
            + ", ".join(f"{share:.0%} is {kind}" for kind, share in kinds.items() if kind != "texts")
            for side, kinds in result["alone"].items()
        ),
        *(
            f"{side}: " + ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in runs[-1]["stages"].items())
            for side, runs in result["runs"].items()
        ),
    ]
    return table.markdown(header, cells) + "\n\n" + "\n".join(f"- {line}" for line in told)


def _cells(side: str, rows: int, runs: list[dict[str, Any]]) -> list[str]:
    seconds = Spread.of([run["wall_s"] for run in runs])
    memory = max(run["peak_bytes"] for run in runs)
    last = runs[-1]
    return [
        side,
        f"{rows:,}",
        f"{seconds.median:.0f}",
        f"{rows / seconds.median:,.0f}",
        f"{memory / 2**30:.2f}",
        f"{last['rows']:,}",
        f"{last['tokens']:,}",
    ]


def _write(count: int, work: Path, say: Callable[[str], None]) -> dict[str, int]:
    shared = Path(os.environ.get("SEPTET_SHARED", REPO.parent / "shared"))
    say(f"writing {count:,} rows")
    return write_rows(_rows(count, work), count, shared=shared)


def _rows(count: int, work: Path) -> Path:
    return work / f"rows-{count}.csv"


def _run(side: str, count: int, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a side in a fresh process and folder; return what it found and the largest memory of it and its children."""
    folder, result, log = work / f"{side}-run", work / f"{side}.json", work / f"{side}.log"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-m", "bench.data_side", side, str(_rows(count, work)), str(folder), str(result)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=REPO, env=environment, stdout=output, stderr=subprocess.STDOUT)
        peak = _watch(process)
    shutil.rmtree(folder, ignore_errors=True)
    if process.returncode:
        raise JobError(f"{side} ended with code {process.returncode}; the end of {log}:\n" + log.read_text()[-3000:])
    found = json.loads(result.read_text())
    result.unlink()
    say(f"{side}: {count:,} rows in {found['wall_s']:.0f} s, {peak / 2**30:.2f} GiB")
    return {**found, "rows": len(found["kept"]), "peak_bytes": peak}


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Return the largest memory, in bytes, that a process and its children held together; a page that they share counts once."""
    import psutil

    peak, ended = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not ended.wait(SAMPLED_S):
            held = 0
            with contextlib.suppress(psutil.Error):
                own = psutil.Process(process.pid)
                for each in [own, *own.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error, AttributeError):
                        held += each.memory_full_info().pss
            peak = max(peak, held)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    return peak


def _facts(work: Path) -> dict[str, Any]:
    from septet.engine.machine import machine

    found = machine(work)
    return {
        "machine": found,
        "cpu": found["cpu"]["name"],
        "cores": found["cpu"]["cores"],
        "load": os.getloadavg()[1],
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
