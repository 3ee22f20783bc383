"""What reading costs in memory: a million rows of five columns of which two are used, as whole files and in pieces.

    python -m bench.reading                     # 1,000,000 rows: JSON lines, CSV, Parquet; a GB of disk for a while
    python -m bench.reading --rows 100000

Each reading has a process of its own; what is told is its largest resident size less that of a process that has imported the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "old",
    "wizards",
    "mix",
    "quart",
    "jugs",
    "of",
    "liquor",
    "near",
    "river",
    "banks",
]
USED = {"text": "task.text", "label": "task.label"}
FILES = ("rows.jsonl", "rows.csv", "rows.parquet")
PART = 50_000


def main() -> None:
    """Write the files, read each in both ways, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measured(Path(options.measure[0]), options.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.rows)
        print("| file | size, MiB | peak whole, MiB | peak in pieces, MiB |\n|---|---|---|---|")
        for name in FILES:
            path = Path(folder) / name
            peaks = [_in_process(path, way) for way in ("whole", "pieces")]
            print(f"| {name} | {path.stat().st_size / 2**20:,.0f} | {peaks[0]:,} | {peaks[1]:,} |")


def write(folder: Path, rows: int) -> None:
    """Write the same rows in three formats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw, parquet = random.Random(0), None
    with (folder / FILES[0]).open("w") as lines, (folder / FILES[1]).open("w", newline="") as cells:
        table = csv.writer(cells)
        table.writerow(["id", "text", "label", "meta", "more"])
        for start in range(0, rows, PART):
            made = []
            for i in range(start, min(rows, start + PART)):
                meta = " ".join(draw.choices(WORDS, k=30))
                text = f"{i} " + " ".join(draw.choices(WORDS, k=16))
                made.append({"id": i, "text": text, "label": "abcd"[i % 4], "meta": meta, "more": meta[::-1]})
            lines.writelines(json.dumps(row) + "\n" for row in made)
            table.writerows(row.values() for row in made)
            part = pa.Table.from_pylist(made)
            parquet = parquet or pq.ParquetWriter(folder / FILES[2], part.schema)
            parquet.write_table(part)
    if parquet is not None:
        parquet.close()


def measured(path: Path, way: str) -> int:
    """Return the MiB that reading a file took at most."""
    import pyarrow.parquet  # noqa: F401  (before the base is taken)

    from septet.data import stream
    from septet.data.read import read

    stream.LARGE = 1 if way == "pieces" else sys.maxsize
    base = _peak_kb()
    read(path, columns=USED)
    return round((_peak_kb() - base) / 1024)


def _in_process(path: Path, way: str) -> int:
    command = [sys.executable, "-m", "bench.reading", "--measure", str(path), way]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _peak_kb() -> int:
    # not getrusage: a new process begins with the largest size of the one that started it
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
