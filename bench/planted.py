"""What the data stage finds of what was planted into real texts. `python -m bench.planted WHAT`.

    python -m bench.planted labels [--data banking77 ag_news]           # flipped labels: planted_labels.py
    python -m bench.planted near [--data banking77 ag_news tweets sst2] # copies and edits: planted_near.py
    python -m bench.planted leaks [--data …]                            # the same, across splits: planted_leaks.py
    python -m bench.planted marks [--data …]                            # marks that give the label away: planted_marks.py
    python -m bench.planted cleaning [--data personal labels …]         # personal data, label variants, encodings, HTML, languages: planted_cleaning.py

Each WHAT is a file with `records(shared, names)`; the results go into `bench/results/planted-WHAT.json`, or where `--out` says.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

SETS = {
    "marks": ["banking77", "ag_news", "tweet_sentiment", "sst2", "office"],
    "cleaning": ["personal", "labels", "encodings", "html", "languages"],
    "labels": ["banking77", "ag_news"],
    "near": ["banking77", "ag_news", "tweet_sentiment", "sst2"],
    "leaks": ["banking77", "ag_news", "tweet_sentiment", "sst2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(SETS))
    parser.add_argument("--data", nargs="+")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found = import_module(f"bench.planted_{chosen.what}").records(chosen.shared, chosen.data or SETS[chosen.what])
    out = chosen.out or Path(__file__).parent / "results" / f"planted-{chosen.what}.json"
    out.write_text(json.dumps({"command": f"python -m bench.planted {chosen.what}", "results": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
