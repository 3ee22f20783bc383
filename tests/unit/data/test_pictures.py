"""Folders, archives and tables of pictures as rows; what is damaged is named and counted; copies and leaks are found."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from album import BROKEN, COLOURS, album, break_album, encoded, picture, recipe
from septet.data import media
from septet.data.picture import MOST_PIXELS, open_rgb, read_whole
from septet.data.read import Reading, read
from septet.data.store import Prepared
from septet.errors import CheckError, DataError, Problems, RecipeError, SeptetError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

READING = Reading(media="picture")
NO_SPLIT = {"split": {"validation": 0, "test": 0}}


def prepared(folder: Path, data: dict, **sections) -> tuple[Prepared, dict]:
    source = recipe(folder, data, "starter", **sections)
    run = Run(folder / "runs" / "a")
    try:
        found = prepare(Recipe.load(source), run)
    except CheckError:
        return None, run.read_json("data.json")  # type: ignore[return-value]
    return found, run.read_json("data.json")


def balanced(facts: dict) -> bool:
    return all(
        book["read"] + book["received"] == book["kept"] + sum(book["dropped"].values()) + sum(book["moved"].values())
        for book in facts["ledger"].values()
    )


def slugs(facts: dict) -> set[str]:
    return {finding["slug"] for finding in facts["findings"]}


def found(facts: dict, slug: str) -> list[dict]:
    return [finding for finding in facts["findings"] if finding["slug"] == slug]


def zipped(folder: Path, target: Path, under: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, under + path.relative_to(folder).as_posix())
    return target


class TestReading:
    def test_a_folder_is_a_table_of_paths_and_labels(self, tmp_path):
        table = read(album(tmp_path / "a", 2), reading=READING)
        assert table.columns["label"] == [label for label in COLOURS for _ in range(2)]
        assert all(Path(path).is_file() for path in table.columns["image"])
        assert table.where(2).endswith("a/green/000.png")

    def test_pictures_below_a_label_are_its_own_and_others_have_none(self, tmp_path):
        album(tmp_path / "a", 1)
        (tmp_path / "a" / "red" / "dark").mkdir()
        picture((90, 0, 0), 5).save(tmp_path / "a" / "red" / "dark" / "x.JPG", "JPEG")
        picture((90, 0, 0), 6).save(tmp_path / "a" / "alone.webp")
        table = read(tmp_path / "a", reading=READING)
        told = dict(zip((Path(p).name for p in table.columns["image"]), table.columns["label"], strict=True))
        assert told["x.JPG"] == "red" and told["alone.webp"] is None

    @pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
    def test_an_archive_is_read_like_its_folder(self, tmp_path, kind):
        folder, target = album(tmp_path / "a", 2), tmp_path / f"all.{kind}"
        if kind == "zip":
            zipped(folder, target)
        else:
            with tarfile.open(target, f"w:{kind[4:]}") as file:
                file.add(folder, arcname=".")
        plain, packed = (media.look(read(p, reading=READING), "image", "picture") for p in (folder, target))
        assert packed.columns == plain.columns
        address = packed.media.known[packed.columns["image"][0]].address
        assert open_rgb(address).tobytes() == open_rgb(str(folder / "blue" / "000.png")).tobytes()

    def test_a_folder_in_an_archive(self, tmp_path):
        target = zipped(album(tmp_path / "a", 1), tmp_path / "a.zip", under="train/")
        table = read(target / "train", reading=READING)
        assert table.columns["label"] == list(COLOURS)
        with pytest.raises(DataError, match="no picture"):
            read(target / "test", reading=READING)

    def test_a_table_names_pictures_relative_to_itself(self, tmp_path):
        album(tmp_path / "a", 1)
        (tmp_path / "a" / "t.csv").write_text("file,kind\nred/000.png,r\n./blue/../green/000.png,g\n")
        table = media.look(read(tmp_path / "a" / "t.csv"), "file", "picture")
        addresses = [table.media.known[key].address for key in table.columns["file"]]
        assert [Path(a).resolve() for a in addresses] == [tmp_path / "a" / c / "000.png" for c in ("red", "green")]

    def test_a_table_in_an_archive_names_its_members(self, tmp_path):
        folder = album(tmp_path / "a", 1)
        (folder / "t.csv").write_text("image,label\nred/000.png,r\nblue/none.png,b\n")
        table = media.look(read(zipped(folder, tmp_path / "a.zip", "in/") / "in" / "t.csv"), "image", "picture")
        assert table.columns["label"] == ["r"]
        assert table.left_out == {"there is no such file in the archive": 1}

    @pytest.mark.parametrize("heads", [("train", "test"), ("train",), ("Training", "val", "test")])
    def test_folders_of_splits_are_no_labels(self, tmp_path, heads):
        for i, head in enumerate(heads):
            album(tmp_path / "a" / head, 1, first=i)
        with pytest.raises(RecipeError) as caught:
            read(tmp_path / "a", reading=READING)
        assert f"train: {tmp_path}/a/{heads[0]}" in caught.value.hint

    def test_a_label_may_begin_like_a_split(self, tmp_path):
        for name in ("test-tube", "train", "valve"):
            (tmp_path / "a" / name).mkdir(parents=True)
            picture((0, 0, 0), len(name)).save(tmp_path / "a" / name / "1.png")
        assert read(tmp_path / "a", reading=READING).columns["label"] == ["test-tube", "train", "valve"]

    def test_other_files_are_told(self, tmp_path):
        folder = album(tmp_path / "a", 1)
        (folder / "red" / "notes.txt").write_text("x")
        (folder / ".DS_Store").write_text("x")
        (told,) = read(folder, reading=READING).findings
        assert told.slug == "files-skipped" and told.evidence["others"] == [".DS_Store", "red/notes.txt"]


class TestDamage:
    def test_every_broken_file_is_left_out_by_name_and_counted(self, tmp_path):
        folder = album(tmp_path / "a", 20)
        told = break_album(folder)
        _, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        assert len(told) >= 20
        book = facts["ledger"]["train"]
        assert balanced(facts) and book["kept"] == 60 and book["read"] == 60 + len(told)
        said = {"links": found(facts, "picture-unreadable")[0], "files": found(facts, "picture-unreadable")[-1]}
        assert sum(f["evidence"]["rows"] for f in said.values()) == len(told)

    @pytest.mark.parametrize("name", sorted(BROKEN))
    def test_what_is_said_of_a_broken_file(self, tmp_path, name):
        folder = album(tmp_path / "a", 1)
        says = break_album(folder)[name]
        table = media.look(read(folder, reading=READING), "image", "picture")
        (told,) = [f for f in table.findings if f.slug == "picture-unreadable" and "followed" not in f.message]
        reasons = {reason: count for reason, count in told.evidence["reasons"].items() if re.fullmatch(says, reason)}
        assert reasons, told.evidence["reasons"]
        assert not any(Path(p.address).name == name for p in table.media.known.values())

    def test_links_are_followed_within_the_folder_alone(self, tmp_path):
        folder = album(tmp_path / "a", 2)
        (folder / "red" / "again.png").symlink_to(folder / "red" / "000.png")
        (folder / "red" / "up").symlink_to(folder)
        break_album(folder)
        table = read(folder, reading=READING)
        names = [Path(path).name for path in table.columns["image"]]
        assert "again.png" in names and "outside.png" not in names
        assert table.left_out == {"a link out of the folder": 1}

    def test_nothing_readable_stops(self, tmp_path):
        (tmp_path / "t.csv").write_text("image,label,more\nnone.png,a,1\nhttps://x.y/z.png,b,2\n")
        with pytest.raises(DataError, match="No picture of 'image' can be read"):
            prepared(tmp_path, {"train": "t.csv"})

    def test_a_picture_of_too_many_pixels_is_never_decoded(self, tmp_path, monkeypatch):
        monkeypatch.setattr("septet.data.picture.MOST_PIXELS", 100)
        picture((0, 0, 0), 1, (11, 10)).save(tmp_path / "a.png")
        with pytest.raises(Exception, match="million pixels"):
            read_whole(str(tmp_path / "a.png"))
        assert MOST_PIXELS == 100_000_000


class TestPixels:
    def test_a_picture_is_turned_as_its_camera_was(self, tmp_path):
        image = picture((9, 200, 9), 3, (10, 20))
        exif = image.getexif()
        exif[274] = 6  # turned by a quarter
        image.save(tmp_path / "a.png", exif=exif)
        assert open_rgb(str(tmp_path / "a.png")).size == (10, 20)

    @pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
    def test_other_modes_become_rgb(self, tmp_path, mode):
        kind = "TIFF" if mode == "CMYK" else "PNG"
        (tmp_path / "a.png").write_bytes(encoded(picture((9, 200, 9), 3).convert(mode), kind))
        assert open_rgb(str(tmp_path / "a.png")).mode == "RGB"

    def test_sixteen_bits_keep_their_range(self, tmp_path):
        import numpy as np
        from PIL import Image

        grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(grey).save(tmp_path / "a.png")
        assert np.array_equal(np.asarray(open_rgb(str(tmp_path / "a.png")))[..., 0], grey >> 8)

    def test_several_frames_are_told(self, tmp_path):
        folder = album(tmp_path / "a", 1)
        frames = [picture((0, 0, 0), i) for i in range(3)]
        frames[0].save(folder / "red" / "film.gif", save_all=True, append_images=frames[1:])
        table = media.look(read(folder, reading=READING), "image", "picture")
        (told,) = [f for f in table.findings if f.slug == "picture-frames"]
        assert told.evidence["places"] == ["film.gif"]


class TestPreparing:
    def test_copies_conflicts_and_leaks_are_found(self, tmp_path):
        train, test = album(tmp_path / "train", 30), album(tmp_path / "test", 30, first=100)
        shutil.copy(train / "red" / "001.png", train / "red" / "copy.png")
        shutil.copy(train / "red" / "002.png", train / "blue" / "torn.png")
        shutil.copy(test / "green" / "100.png", train / "green" / "leak.png")
        _, facts = prepared(tmp_path, {"train": "train", "test": "test", "conflicts": "drop"})
        assert balanced(facts)
        book = facts["ledger"]["train"]["dropped"]
        assert (book["duplicate"], book["label conflict"], book["also in test"]) == (1, 2, 1)
        assert found(facts, "duplicates")[0]["message"].count("picture and label") == 1
        assert found(facts, "data-leak")[0]["evidence"]["texts"][0].endswith("green/leak.png")
        assert facts["ledger"]["test"]["kept"] == 90

    def test_rows_are_paths_and_ids_are_of_the_content(self, tmp_path):
        album(tmp_path / "a", 20)
        one, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        shutil.copytree(tmp_path / "a", tmp_path / "moved" / "a")
        two, _ = prepared(tmp_path / "moved", {"train": "a", **NO_SPLIT})
        rows = {row["_row"]: row for row in one.rows("train")}
        assert {row["_row"] for row in two.rows("train")} == set(rows) and len(rows) == 60
        assert all(set(row) == {"_row", "image", "label"} and Path(row["image"]).is_file() for row in rows.values())
        profile = facts["profile"]["train"]["pictures"]
        assert (
            profile["sizes"]["width"]["max"] == 28
            and profile["sizes"]["height"]["min"] == 24
            and profile["kinds"] == {"PNG": 60}
        )

    def test_prepared_again_only_when_a_picture_or_folder_changed(self, tmp_path):
        folder = album(tmp_path / "a", 20)
        first, _ = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        again, _ = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        assert again.path == first.path
        picture((0, 0, 0), 5).save(folder / "red" / "new.png")
        third, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        assert third.path != first.path and facts["ledger"]["train"]["kept"] == 61

    def test_a_picture_that_changed_since_is_named(self, tmp_path):
        folder = album(tmp_path / "a", 20)
        data, _ = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        data.rows("train")
        (folder / "red" / "003.png").touch()
        data.rows("train")  # another time, the same bytes
        picture((0, 0, 0), 5).save(folder / "red" / "003.png")
        (folder / "red" / "004.png").unlink()
        with pytest.raises(DataError, match="2 pictures are gone or no longer the ones"):
            data.rows("train")

    def test_labels_that_are_missing_or_alike_are_told(self, tmp_path):
        folder = album(tmp_path / "a", 20)
        album(folder / "x", 1, first=50)
        shutil.move(folder / "x" / "red", folder / "Red")
        shutil.rmtree(folder / "x")
        picture((0, 0, 0), 5).save(folder / "alone.png")
        _, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        assert {"label-variants", "label-missing"} <= slugs(facts)
        assert found(facts, "label-missing")[0]["level"] == "blocker"

    @pytest.mark.parametrize(
        ("data", "names"),
        [
            ({"clean": {"html": True}}, "data.clean.html"),
            ({"clean": {"min_length": 3}}, "data.clean.min_length"),
            ({"near": {"threshold": 0.9}}, "data.near"),
            ({"doubtful": {"policy": "warn"}}, "data.doubtful"),
            ({"against": "a"}, "data.against"),
            ({"documents": "line"}, "data.documents"),
            ({"augment": {"typos": 1}}, "data.augment"),
            ({"expect": {"near-leak": "== 0"}}, "data.expect.near-leak"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_of_texts_is_refused(self, tmp_path, data, names):
        album(tmp_path / "a", 5)
        with pytest.raises((RecipeError, Problems)) as caught:
            prepared(tmp_path, {"train": "a", **data})
        assert names in str(caught.value)

    def test_a_recipe_for_both_or_neither(self, tmp_path):
        for task, says in (
            ({"text": "body"}, "beside task.text"),
            ({"image": None}, "task.text is missing"),
            ({"image": None, "text": "body", "size": 32}, "of pictures"),
        ):
            with pytest.raises(SeptetError, match=says):
                Recipe.load(recipe(tmp_path, {"train": "a"}, "starter", task=task))

    def test_data_json_holds_no_list_of_all_files(self, tmp_path):
        album(tmp_path / "a", 30)
        _, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        assert len(facts["raw"]) == 1 and "029.png" not in json.dumps(facts["raw"])


def test_a_folder_of_pictures_for_a_task_of_texts_names_the_way(tmp_path):
    album(tmp_path / "a", 1)
    task = {"name": "classify", "text": "text", "label": "label"}
    source = Recipe.load({"data": {"train": str(tmp_path / "a")}, "task": task})
    with pytest.raises(SeptetError) as caught:
        prepare(source, Run(tmp_path / "runs" / "a"))
    assert "image: image" in caught.value.hint
