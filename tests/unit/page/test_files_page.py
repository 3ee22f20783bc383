"""Pictures and recordings on the page: small, few, from the data's own folders only, and a path where there is nothing to show."""

import base64
import io
import re
import wave
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from reader import Reader, page_of

import invented_run
from album import picture
from septet.evaluate import evaluate
from septet.page import files as shown
from septet.page.files import Files
from septet.page.report import write
from septet.recipe import Recipe


def recipe(folder: Path, **data: object) -> Recipe:
    source = {"data": {"train": "a.csv", "folder": str(folder)} | data, "model": "starter"}
    return Recipe.load(source | {"task": {"name": "classify", "image": "image", "label": "label"}})


def drawn(found: str) -> Image.Image:
    assert Reader(found).tags == ["img"]
    (raw,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', found)
    return Image.open(io.BytesIO(base64.b64decode(raw)))


def sound_file(path: Path, frames: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * frames))
    return path


def test_a_picture_becomes_a_small_one(tmp_path):
    picture((200, 40, 40), 1, (700, 900)).save(tmp_path / "big.png")
    picture((200, 40, 40), 1, (20, 30)).save(tmp_path / "small.png")
    files = Files.of(recipe(tmp_path), "picture")
    big, small = (files.show(str(tmp_path / name)) for name in ("big.png", "small.png"))
    assert big is not None and small is not None
    assert max(drawn(big).size) == shown.SIDE and len(big) < 12_000
    assert drawn(small).size == (30, 20) and 'width="60" height="40"' in small


def test_what_lies_elsewhere_is_gone_or_damaged_has_its_path_alone(tmp_path):
    inside, outside = tmp_path / "data", tmp_path / "secret"
    inside.mkdir(), outside.mkdir()
    picture((1, 2, 3), 1).save(outside / "a.png")
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "text.png").write_text("no picture")
    (inside / "folder.png").mkdir()
    files = Files.of(recipe(inside), "picture")
    for address in ("gone.png", "link.png", "text.png", "folder.png", "../secret/a.png", "../data/../secret/a.png"):
        assert files.show(f"{inside}/{address}") is None
    assert files.show(str(outside / "a.png")) is None and files.show("a.png") is None and files.show("") is None
    assert Files.of(recipe(inside, train=str(outside)), "picture").show(str(outside / "a.png")) is not None
    assert Files.of(recipe(inside), "picture", others=[str(outside)]).show(str(outside / "a.png")) is not None


def test_an_archive_is_looked_into_and_not_around(tmp_path):
    (tmp_path / "data").mkdir()
    picture((1, 2, 3), 1).save(tmp_path / "beside.png")
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        archive.write(tmp_path / "beside.png", "red/1.png")
    files = Files.of(recipe(tmp_path / "data", train=f"{tmp_path}/album.zip/red"), "picture")
    assert files.show(f"{tmp_path}/album.zip/red/1.png") is not None
    assert files.show(f"{tmp_path}/album.zip/red/2.png") is None
    assert files.show(f"{tmp_path}/beside.png") is None


def test_a_page_holds_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "MOST_PICTURES", 2)
    picture((1, 2, 3), 1).save(tmp_path / "a.png")
    files = Files.of(recipe(tmp_path), "picture")
    assert [files.show(f"{tmp_path}/{name}") is not None for name in ("x.png", "a.png", "a.png", "a.png")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_short_recording_can_be_heard(tmp_path, monkeypatch):
    short, long = sound_file(tmp_path / "a.wav", 8000), sound_file(tmp_path / "b.wav", 80_000)
    files = Files.of(recipe(tmp_path), "recording")
    found = files.show(str(short))
    assert found is not None and Reader(found).tags == ["audio"] and 'src="data:audio/wav;base64,' in found
    assert files.show(str(long)) is None and files.show(str(tmp_path / "gone.wav")) is None
    monkeypatch.setattr(shown, "RECORDINGS_BYTES", 40_000)
    files = Files.of(recipe(tmp_path), "recording")
    assert [files.show(str(short)) is not None for _ in range(4)] == [True, True, False, False]


@pytest.fixture
def run_of_pictures(tmp_path, monkeypatch):
    """A run whose worst mistakes are pictures of its data folder, the first of them gone."""
    invented_run.answering(monkeypatch, skill=0.5)
    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 30), overrides=("evaluate.baselines=[majority]",))
    evaluate(run)
    picture((200, 40, 40), 1).save(tmp_path / "a.png")
    monkeypatch.setattr("septet.page.files.Files._inside", lambda self, address: address.startswith(str(tmp_path)))
    data, record = run.read_json("data.json"), run.read_json("evaluation.json")
    run.write_json("data.json", {**data, "columns": {**data["columns"], "media": "picture"}})
    for i, mistake in enumerate(record["splits"]["test"]["mistakes"]):
        mistake["texts"] = [f"{tmp_path}/gone.png" if i == 0 else f"{tmp_path}/a.png"]
    run.write_json("evaluation.json", record)
    write(run)
    return run, len(record["splits"]["test"]["mistakes"])


def test_the_worst_mistakes_are_seen_and_nothing_is_loaded(run_of_pictures):
    run, mistakes = run_of_pictures
    page = page_of(run)
    assert page.tags.count("img") == mistakes - 1
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(sources) == mistakes - 1 and all(value.startswith("data:image/jpeg;base64,") for value in sources)
    assert any("gone.png" in word for word in page.words) and any("a.png" in word for word in page.words)
    assert any(value and "img-src data:; media-src data:;" in value for _, value in page.attributes)
