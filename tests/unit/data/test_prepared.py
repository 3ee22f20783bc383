"""Prepared data on disk: whole or absent, used again without opening a raw file, damage named."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from septet.data import store
from septet.data.store import Prepared
from septet.errors import DataError, UsageError
from septet.prepare import prepare
from septet.run import Run


@pytest.fixture
def files(tmp_path, rows):
    for split, n in (("train", 90), ("test", 30)):
        lines = "".join(f"{row['text']},{row['label']}\n" for row in rows(n, prefix=split))
        (tmp_path / f"{split}.csv").write_text("text,label\n" + lines)
    return {"train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}


def test_unchanged_files_are_not_opened_again(files, recipe, tmp_path, opened):
    first = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    assert any(name.endswith("test.csv") for name in opened)  # the watch works
    opened.clear()
    again = prepare(recipe(files), Run(tmp_path / "runs" / "b"))
    again.rows("train")
    again.rows("validation")
    assert again.path == first.path
    assert not [name for name in opened if name.endswith((".csv", "test.parquet"))]


def test_a_changed_file_is_read_again(files, recipe, tmp_path):
    first = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    with Path(files["train"]).open("a") as file:
        file.write("one more,a\n")
    second = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    assert second.path != first.path
    assert second.ledger["train"].read == 91


def test_a_touched_file_gives_the_same_folder_and_a_new_stamp(files, recipe, tmp_path, opened):
    first = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    os.utime(files["train"], ns=(1, 1))
    assert prepare(recipe(files), Run(tmp_path / "runs" / "a")).path == first.path
    opened.clear()
    prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    assert not [name for name in opened if name.endswith(".csv")]


def test_another_recipe_is_another_preparation(files, recipe, tmp_path):
    run = Run(tmp_path / "runs" / "a")
    paths = {prepare(recipe(files | extra), run).path for extra in ({}, {"split": {"seed": 1}}, {"duplicates": "keep"})}
    assert len(paths) == 3


def test_rows_have_ids_and_the_recipes_columns(files, recipe, tmp_path):
    data = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    row = data.rows("test")[0]
    assert list(row) == ["_row", "text", "label"]
    assert row["text"] == "test number 0"
    assert data.labels == ["a", "b"]
    assert data.tests == ["test"]
    with pytest.raises(UsageError, match="its splits: train, validation, test"):
        data.rows("dev")


def test_data_json_points_to_the_prepared_folder(files, recipe, tmp_path):
    run = Run(tmp_path / "runs" / "a")
    data = prepare(recipe(files), run)
    facts = run.read_json("data.json")
    assert facts["prepared"] == f"../prepared/{data.path.name}"
    assert facts["splits"]["test"]["sha256"] == data.splits["test"]["sha256"]
    assert {entry["split"] for entry in facts["raw"]} == {"train", "test"}
    assert facts["profile"]["test"]["labels"] == {"a": 15, "b": 15}
    assert facts["profile"]["test"]["characters"]["max"] == len("test number 29")
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert len(Prepared.of(Run(tmp_path / "moved" / "a")).rows("test")) == 30


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_named_and_the_others_can_be_read(files, recipe, tmp_path, damage):
    data = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    file = data.path / "validation.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    if damage == "flip":
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"validation[\s\S]*validation\.parquet"):
        Prepared.open(data.path).rows("validation")
    assert data.rows("train")


def test_a_damaged_folder_is_replaced_when_the_data_are_prepared_again(files, recipe, tmp_path):
    data = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    (data.path / "train.parquet").write_bytes(b"short")
    assert prepare(recipe(files), Run(tmp_path / "runs" / "a")).rows("train")
    assert not list(data.path.parent.glob(".*"))


def test_a_damaged_manifest_or_another_format_is_named(files, recipe, tmp_path):
    data = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    manifest = data.path / store.MANIFEST
    manifest.write_text(json.dumps(data.manifest | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        Prepared.open(data.path)
    manifest.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Prepared.open(data.path)
    with pytest.raises(UsageError):
        Prepared.open(tmp_path)
    assert prepare(recipe(files), Run(tmp_path / "runs" / "a")).rows("train")


def test_a_failed_write_leaves_nothing_behind(files, recipe, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    assert list((tmp_path / "runs" / "prepared").iterdir()) == []


def _prepare_in_process(files, folder, name, start):
    from septet.recipe import Recipe

    recipe = Recipe.load(
        {"data": files, "task": {"name": "classify", "text": "text", "label": "label"}, "model": "starter"}
    )
    start.wait(timeout=60)
    prepare(recipe, Run(folder / name)).rows("train")


def test_two_processes_may_prepare_the_same_data(files, tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    workers = [
        context.Process(target=_prepare_in_process, args=(files, tmp_path / "runs", f"run{i}", start)) for i in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    (folder,) = (tmp_path / "runs" / "prepared").iterdir()
    assert Prepared.open(folder).rows("test")
