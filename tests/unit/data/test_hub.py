"""A local folder in the hub's layout, through `datasets`."""

from __future__ import annotations

import pytest

from septet.data.hub import read_hub
from septet.errors import DataError, UsageError
from septet.prepare import prepare
from septet.run import Run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    root = tmp_path / "hub" / "reviews"
    (root / "data").mkdir(parents=True)
    for split, n in (("train", 60), ("test", 20)):
        table = datasets.Dataset.from_dict(
            {"text": [f"{split} NA {i}" for i in range(n)], "label": [i % 2 for i in range(n)]}, features=features
        )
        table.to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def test_a_split_with_label_names(folder):
    table = read_hub(str(folder), "train")
    assert table.columns["label"][:3] == ["neg", "pos", "neg"]
    assert table.columns["text"][0] == "train NA 0"
    assert {stamp.path.rsplit("/", 1)[1] for stamp in table.stamps} == {
        "train-00000-of-00001.parquet",
        "test-00000-of-00001.parquet",
    }


def test_prepare_and_use_again(folder, tmp_path, recipe, monkeypatch):
    made = recipe({"hub": {"path": str(folder), "splits": {"train": "train", "test": "test"}}})
    first = prepare(made, Run(tmp_path / "runs" / "a"))
    assert first.labels == ["neg", "pos"]
    assert {split: facts["rows"] for split, facts in first.splits.items()} == {"train": 54, "validation": 6, "test": 20}
    monkeypatch.setattr("septet.data.sources.read_hub", lambda *a, **k: pytest.fail("the data set was read again"))
    assert prepare(made, Run(tmp_path / "runs" / "b")).path == first.path


def test_an_unknown_split_is_named(folder):
    with pytest.raises(UsageError, match="no such split"):
        read_hub(str(folder), "dev")


def test_code_is_never_run(folder):
    (folder / "reviews.py").write_text("raise SystemExit")
    with pytest.raises(DataError, match="comes with code"):
        read_hub(str(folder), "train")
