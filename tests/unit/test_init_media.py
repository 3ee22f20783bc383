"""`septet init` on pictures and recordings: a folder, folders of splits, a table of paths; what it drafts prepares."""

from __future__ import annotations

import pytest

from album import album
from concert import concert
from media import PICTURES, RECORDINGS
from septet.init import init
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run


def drafted(folder, data):
    text = init(folder / data, out=folder / "recipe.yaml", force=True)
    recipe = Recipe.load(folder / "recipe.yaml")
    return text, recipe, prepare(recipe, Run(folder / "runs" / "a"))


@pytest.mark.parametrize(
    ("medium", "model"),
    [(PICTURES, "microsoft/resnet-18"), (RECORDINGS, "ntu-spml/distilhubert")],
    ids=["pictures", "recordings"],
)
def test_a_folder(tmp_path, medium, model):
    medium.write(tmp_path / "things", 20)
    text, recipe, prepared = drafted(tmp_path, "things")
    named = getattr(recipe.task, medium.column)
    assert (named, recipe.task.label, recipe.data.train) == (medium.column, "label", "things")
    assert f"60 {medium.things}, 3 labels" in text and recipe.model.name == model
    assert prepared.labels == sorted(medium.labels)


@pytest.mark.parametrize(
    ("medium", "names"),
    [
        (PICTURES, ("train", "val", "test")),
        (PICTURES, ("training", "dev", "testing")),
        (RECORDINGS, ("train", "val", "test")),
    ],
)
def test_folders_of_splits(tmp_path, medium, names):
    for i, name in enumerate(names):
        medium.write(tmp_path / "things" / name, 4, first=10 * i)
    _, recipe, prepared = drafted(tmp_path, "things")
    told = (recipe.data.train, recipe.data.validation, recipe.data.test)
    assert told == tuple(f"things/{name}" for name in names)
    assert {split: facts["rows"] for split, facts in prepared.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 12
    )


@pytest.mark.parametrize(
    ("medium", "ending"), [(PICTURES, "png"), (RECORDINGS, "wav"), (RECORDINGS, "flac"), (RECORDINGS, "mp3")]
)
def test_a_table_of_paths(tmp_path, medium, ending):
    folder = medium.write(tmp_path / "things", 8, ending=ending)
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob(f"*.{ending}"))]
    (folder / "all.csv").write_text("\n".join(["file,kind", *lines]) + "\n")
    _, recipe, prepared = drafted(tmp_path, "things/all.csv")
    read = {column: getattr(recipe.task, column) for column in ("text", "image", "audio")}
    assert {column: name for column, name in read.items() if name} == {medium.column: "file"}
    assert recipe.task.label == "kind" and sum(facts["rows"] for facts in prepared.splits.values()) == 24


def test_a_folder_with_texts_and_a_picture_is_one_of_texts(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("A text.\n\n" * 50)
    album(tmp_path / "notes", 1)
    assert "name: pretrain" in init(tmp_path / "notes")


def test_a_note_beside_pictures_does_not_make_them_texts(tmp_path):
    album(tmp_path / "pets", 10)
    (tmp_path / "pets" / "readme.txt").write_text("from the garden")
    assert "image: image" in init(tmp_path / "pets")


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
