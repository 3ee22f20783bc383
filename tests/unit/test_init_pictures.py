"""`septet init` on pictures: a folder, folders of splits, a table of paths; what it drafts prepares."""

from __future__ import annotations

import pytest

from album import album
from septet.init import init
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run


def drafted(folder, data):
    text = init(folder / data, out=folder / "recipe.yaml", force=True)
    recipe = Recipe.load(folder / "recipe.yaml")
    return text, recipe, prepare(recipe, Run(folder / "runs" / "a"))


def test_a_folder(tmp_path):
    album(tmp_path / "pictures", 20)
    text, recipe, prepared = drafted(tmp_path, "pictures")
    assert (recipe.task.image, recipe.task.label, recipe.data.train) == ("image", "label", "pictures")
    assert "60 pictures, 3 labels" in text and recipe.model.name == "microsoft/resnet-18"
    assert prepared.labels == ["blue", "green", "red"]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "dev", "testing")])
def test_folders_of_splits(tmp_path, names):
    for i, name in enumerate(names):
        album(tmp_path / "pictures" / name, 4, first=10 * i)
    _, recipe, prepared = drafted(tmp_path, "pictures")
    told = (recipe.data.train, recipe.data.validation, recipe.data.test)
    assert told == tuple(f"pictures/{name}" for name in names)
    assert {split: facts["rows"] for split, facts in prepared.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 12
    )


def test_a_table_of_paths(tmp_path):
    folder = album(tmp_path / "pictures", 8)
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "all.csv").write_text("\n".join(["file,kind", *lines]) + "\n")
    _, recipe, prepared = drafted(tmp_path, "pictures/all.csv")
    assert (recipe.task.image, recipe.task.label, recipe.task.text) == ("file", "kind", None)
    assert sum(facts["rows"] for facts in prepared.splits.values()) == 24


def test_a_folder_with_texts_and_a_picture_is_one_of_texts(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("A text.\n\n" * 50)
    album(tmp_path / "notes", 1)
    assert "name: pretrain" in init(tmp_path / "notes")


def test_a_note_beside_pictures_does_not_make_them_texts(tmp_path):
    album(tmp_path / "pets", 10)
    (tmp_path / "pets" / "readme.txt").write_text("from the garden")
    assert "image: image" in init(tmp_path / "pets")
