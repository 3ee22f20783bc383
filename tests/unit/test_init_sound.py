"""`septet init` on recordings: a folder, folders of splits, a table of paths; what it drafts prepares."""

from __future__ import annotations

import pytest

from album import album
from concert import concert
from septet.init import init
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run


def drafted(folder, data):
    text = init(folder / data, out=folder / "recipe.yaml", force=True)
    recipe = Recipe.load(folder / "recipe.yaml")
    return text, recipe, prepare(recipe, Run(folder / "runs" / "a"))


def test_a_folder(tmp_path):
    concert(tmp_path / "words", 20)
    text, recipe, prepared = drafted(tmp_path, "words")
    assert (recipe.task.audio, recipe.task.label, recipe.data.train) == ("audio", "label", "words")
    assert "60 recordings, 3 labels" in text and recipe.model.name == "ntu-spml/distilhubert"
    assert prepared.labels == ["high", "low", "middle"]


def test_folders_of_splits(tmp_path):
    for i, name in enumerate(("train", "val", "test")):
        concert(tmp_path / "words" / name, 4, first=10 * i)
    _, recipe, prepared = drafted(tmp_path, "words")
    told = (recipe.data.train, recipe.data.validation, recipe.data.test)
    assert told == tuple(f"words/{name}" for name in ("train", "val", "test"))
    assert {split: facts["rows"] for split, facts in prepared.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 12
    )


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_table_of_paths(tmp_path, ending):
    folder = concert(tmp_path / "words", 8, ending=ending)
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob(f"*.{ending}"))]
    (folder / "all.csv").write_text("\n".join(["file,kind", *lines]) + "\n")
    _, recipe, prepared = drafted(tmp_path, "words/all.csv")
    assert (recipe.task.audio, recipe.task.label, recipe.task.image) == ("file", "kind", None)
    assert sum(facts["rows"] for facts in prepared.splits.values()) == 24


def test_a_column_that_names_splits_is_no_label(tmp_path):
    folder = concert(tmp_path / "words", 8)
    paths = sorted(folder.rglob("*.wav"))
    lines = [
        f"{path.relative_to(folder)},{path.parent.name},{'train' if i % 4 else 'test'}" for i, path in enumerate(paths)
    ]
    (folder / "all.csv").write_text("\n".join(["file,pitch,split", *lines]) + "\n")
    assert "label: pitch" in init(folder / "all.csv")


def test_a_cover_beside_recordings_does_not_make_them_pictures(tmp_path):
    concert(tmp_path / "words", 4)
    album(tmp_path / "words", 1)
    assert "audio: audio" in init(tmp_path / "words")
