"""From the command to the first update: nothing is imported on the way that only other runs, or later stages, need."""

from __future__ import annotations

import json
import subprocess
import sys

import yaml

from septet import journey
from small import recipe

# what a full fine-tuning of prepared data has no use for before its first update
LATER = {
    "pandas",
    "sklearn",
    "peft",
    "ftfy",
    "sacrebleu",
    "rouge_score",
    "datasets",
    "rich",
    "fastapi",
    "onnx",
    "matplotlib",
}

PROGRAM = """
import gc, json, os, sys
from septet import cli
from septet.engine import loop
from septet import course

def first_update(*given, **options):
    next(loop.train_steps(*given, **options))
    found = {name: name in sys.modules for name in LATER}
    print(json.dumps({"imported": sorted(k for k, v in found.items() if v), "every": gc.get_threshold()[0]}), flush=True)
    os._exit(0)

course.train_steps = first_update
cli.main(sys.argv[1:])
"""


def test_a_run_of_prepared_data_imports_nothing_before_its_first_update_that_it_does_not_use(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(tmp_path)))
    journey.prepare(file, run=tmp_path / "runs" / "prepared")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"LATER = {LATER!r}{PROGRAM}",
            "train",
            str(file),
            "--run",
            str(tmp_path / "runs" / "one"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "prepared before" in done.stderr
    found = json.loads(done.stdout)
    assert found["imported"] == []
    assert found["every"] == 10_000
