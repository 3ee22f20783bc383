"""Folders, archives and tables of recordings as rows; what is damaged is named and counted; copies and leaks are found; samples are those of the file."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from concert import BROKEN, PITCHES, RATE, break_concert, concert, encoded, recipe, tone
from septet.data import media
from septet.data.address import Unreadable
from septet.data.read import Reading, read
from septet.data.sound import milliseconds_of, read_whole, resampled, samples_of
from septet.data.store import Prepared
from septet.errors import CheckError, DataError, MissingExtraError, Problems, RecipeError, SeptetError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

READING = Reading(media="recording")
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


def found(facts: dict, slug: str) -> list[dict]:
    return [finding for finding in facts["findings"] if finding["slug"] == slug]


class TestReading:
    def test_a_folder_is_a_table_of_paths_and_labels(self, tmp_path):
        table = read(concert(tmp_path / "a", 2), reading=READING)
        assert table.columns["label"] == [label for label in PITCHES for _ in range(2)]
        assert all(Path(path).is_file() for path in table.columns["audio"])

    def test_a_table_beside_an_archive_of_its_files(self, tmp_path):
        folder = concert(tmp_path / "a", 2)
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
            for path in sorted(folder.rglob("*.wav")):
                file.write(path, f"in/{path.parent.name}-{path.name}")
        lines = [f"{label}-{i:03d}.wav,{label}" for label in PITCHES for i in range(2)]
        (tmp_path / "t.csv").write_text("\n".join(["audio,label", *lines, "none.wav,low"]) + "\n")
        one, facts = prepared(tmp_path, {"train": "t.csv", "media": "all.zip/in", **NO_SPLIT})
        assert facts["ledger"]["train"]["dropped"] == {"there is no such file in the archive": 1}
        assert all("all.zip/in/" in row["audio"] for row in one.rows("train"))
        shutil.copy(tmp_path / "all.zip", tmp_path / "other.zip")
        two, _ = prepared(tmp_path, {"train": "t.csv", "media": "other.zip/in", **NO_SPLIT})
        assert all("other.zip/in/" in row["audio"] for row in two.rows("train"))

    def test_a_folder_of_files_that_is_not_there(self, tmp_path):
        (tmp_path / "t.csv").write_text("audio,label\na.wav,x\n")
        with pytest.raises(UsageError, match="no such folder and no such archive"):
            prepared(tmp_path, {"train": "t.csv", "media": "nowhere"})

    def test_texts_have_no_folder_of_files(self, tmp_path):
        (tmp_path / "t.csv").write_text("text,label\na,x\nb,y\n")
        with pytest.raises(RecipeError, match=r"data\.media would be ignored"):
            prepared(tmp_path, {"train": "t.csv", "media": "."}, task={"audio": None, "text": "text"})


class TestDamage:
    def test_every_broken_file_is_left_out_by_name_and_counted(self, tmp_path):
        folder = concert(tmp_path / "a", 10)
        told = break_concert(folder)
        _, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        book = facts["ledger"]["train"]
        assert balanced(facts) and book["kept"] == 30 and book["read"] == 30 + len(told)
        assert sum(f["evidence"]["rows"] for f in found(facts, "recording-unreadable")) == len(told)

    @pytest.mark.parametrize("name", sorted(BROKEN))
    def test_what_is_said_of_a_broken_file(self, tmp_path, name):
        make, says = BROKEN[name]
        (tmp_path / name).write_bytes(make())
        with pytest.raises(Unreadable) as caught:
            read_whole(str(tmp_path / name))
        assert re.fullmatch(says, str(caught.value))

    @pytest.mark.parametrize("seed", range(3))
    def test_no_flipped_byte_escapes(self, tmp_path, seed):
        rng = np.random.default_rng(seed)
        for kind in ("WAV", "FLAC", "OGG", "MP3"):
            raw = encoded(tone(440, 1, 0.2), kind)
            for place in rng.integers(0, min(len(raw), 400), 20):
                (tmp_path / "a").write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
                try:
                    assert np.isfinite(read_whole(str(tmp_path / "a")).peak)
                except Unreadable as error:
                    assert str(error)

    def test_a_writer_that_was_stopped_left_no_length(self, tmp_path):
        raw = bytearray(encoded(tone(440, 1, 0.5), "WAV"))
        at = raw.index(b"data")
        raw[at + 4 : at + 8] = b"\xff\xff\xff\xff"
        (tmp_path / "a.wav").write_bytes(raw)
        assert read_whole(str(tmp_path / "a.wav")).samples == RATE // 2

    def test_nothing_readable_stops(self, tmp_path):
        (tmp_path / "t.csv").write_text("audio,label,more\nnone.wav,a,1\n3,b,2\n")
        with pytest.raises(DataError, match="No recording of 'audio' can be read") as caught:
            prepared(tmp_path, {"train": "t.csv"})
        assert "data.media" in (caught.value.hint or "")

    def test_silence_is_told_and_kept(self, tmp_path):
        folder = concert(tmp_path / "a", 5)
        soundfile.write(folder / "low" / "still.wav", np.zeros(RATE), RATE)
        _, facts = prepared(tmp_path, {"train": "a", "expect": {"recording-silent": "== 0"}, **NO_SPLIT})
        assert found(facts, "recording-silent")[0]["evidence"]["places"] == ["still.wav"]
        assert facts["ledger"]["train"]["kept"] == 16 and any(f["level"] == "blocker" for f in facts["findings"])

    def test_without_soundfile_the_extra_is_named(self, tmp_path, monkeypatch):
        concert(tmp_path / "a", 1)
        monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
        with pytest.raises(MissingExtraError) as caught:
            prepared(tmp_path, {"train": "a"})
        assert caught.value.hint == "pip install 'septet[audio]'"


class TestSamples:
    @pytest.mark.parametrize(
        ("kind", "subtype", "error"),
        [
            ("WAV", "PCM_16", 1e-4),
            ("WAV", "PCM_U8", 1e-2),
            ("WAV", "PCM_24", 1e-6),
            ("WAV", "FLOAT", 0),
            ("WAVEX", "PCM_16", 1e-4),
            ("FLAC", None, 1e-4),
            ("OGG", "VORBIS", 0.1),
            ("OGG", "OPUS", 0.1),
            ("MP3", None, 0.1),
        ],
        ids=lambda value: str(value),
    )
    def test_every_kind_is_read(self, tmp_path, kind, subtype, error):
        samples = tone(440, 1, 0.5)
        (tmp_path / "a").write_bytes(encoded(samples, kind, subtype=subtype))
        told = read_whole(str(tmp_path / "a"))
        ours = samples_of(str(tmp_path / "a"), RATE)
        assert (told.samples, told.rate, told.channels, told.milliseconds) == (RATE // 2, RATE, 1, 500)
        assert ours.dtype == np.float32 and np.abs(ours - samples).max() <= error
        assert milliseconds_of(str(tmp_path / "a")) == 500

    def test_channels_are_averaged(self, tmp_path):
        both = np.stack([tone(440, 1), tone(900, 2)], 1)
        (tmp_path / "a.wav").write_bytes(encoded(both, "WAV", subtype="FLOAT"))
        assert np.allclose(samples_of(str(tmp_path / "a.wav"), RATE), both.mean(1), atol=1e-7)

    @pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
    def test_another_rate_keeps_the_tone_and_lets_nothing_fold_back(self, rate):
        at = np.arange(rate) / rate
        ours = resampled(np.sin(2 * np.pi * 1000 * at).astype(np.float32), rate, RATE)
        theirs = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
        assert len(ours) == RATE and ours.dtype == np.float32
        assert np.abs(ours - theirs)[800:-800].max() < 0.01
        if rate > RATE:  # a tone above what the new rate can hold is gone
            above = resampled(np.sin(2 * np.pi * 0.45 * rate * at).astype(np.float32), rate, RATE)
            assert np.abs(above)[800:-800].max() < 0.01


class TestPreparing:
    def test_copies_conflicts_and_leaks_are_found(self, tmp_path):
        train, test = concert(tmp_path / "train", 10), concert(tmp_path / "test", 10, first=100)
        shutil.copy(train / "low" / "001.wav", train / "low" / "copy.wav")
        shutil.copy(train / "low" / "002.wav", train / "high" / "torn.wav")
        shutil.copy(test / "middle" / "100.wav", train / "middle" / "leak.wav")
        _, facts = prepared(tmp_path, {"train": "train", "test": "test", "conflicts": "drop"})
        assert balanced(facts)
        book = facts["ledger"]["train"]["dropped"]
        assert (book["duplicate"], book["label conflict"], book["also in test"]) == (1, 2, 1)
        assert found(facts, "data-leak")[0]["evidence"]["texts"][0].endswith("middle/leak.wav")

    def test_the_profile_tells_lengths_rates_and_kinds(self, tmp_path):
        folder = concert(tmp_path / "a", 5)
        (folder / "low" / "x.ogg").write_bytes(encoded(tone(200, 9, 1.0, 8_000), "OGG", 8_000))
        _, facts = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        profile = facts["profile"]["train"]["recordings"]
        assert profile["sizes"]["milliseconds"]["max"] == 1000 and profile["sizes"]["sampling rate"]["min"] == 8_000
        assert profile["kinds"] == {"WAV": 15, "OGG": 1}
        assert ">milliseconds<" in (tmp_path / "runs" / "a" / "data.html").read_text()

    def test_a_recording_that_changed_since_is_named(self, tmp_path):
        folder = concert(tmp_path / "a", 5)
        data, _ = prepared(tmp_path, {"train": "a", **NO_SPLIT})
        soundfile.write(folder / "low" / "003.wav", tone(1, 1), RATE)
        with pytest.raises(DataError, match="1 recording is gone or no longer the one that was prepared"):
            data.rows("train")

    @pytest.mark.parametrize(
        ("data", "names"),
        [
            ({"clean": {"html": True}}, "data.clean.html"),
            ({"near": {"threshold": 0.9}}, "data.near"),
            ({"doubtful": {"policy": "warn"}}, "data.doubtful"),
            ({"augment": {"augmenters": ["typos"]}}, "data.augment"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_of_texts_is_refused(self, tmp_path, data, names):
        concert(tmp_path / "a", 5)
        with pytest.raises((RecipeError, Problems), match="recordings") as caught:
            prepared(tmp_path, {"train": "a", **data})
        assert names in str(caught.value)

    @pytest.mark.parametrize(
        ("task", "says"),
        [
            ({"text": "body"}, "a text, a picture or a recording"),
            ({"image": "image"}, "a text, a picture or a recording"),
            ({"audio": None, "text": "body", "seconds": 2.0}, "of recordings"),
            ({"size": 32}, "of pictures"),
        ],
        ids=["text", "image", "seconds", "size"],
    )
    def test_a_row_is_one_thing(self, tmp_path, task, says):
        with pytest.raises(SeptetError, match=says):
            Recipe.load(recipe(tmp_path, {"train": "a"}, "starter", task=task))


def test_a_folder_of_recordings_for_a_task_of_texts_names_the_way(tmp_path):
    concert(tmp_path / "a", 1)
    task = {"name": "classify", "text": "text", "label": "label"}
    source = Recipe.load({"data": {"train": str(tmp_path / "a")}, "task": task})
    with pytest.raises(SeptetError) as caught:
        prepare(source, Run(tmp_path / "runs" / "a"))
    assert "audio: audio" in (caught.value.hint or "")


def test_pictures_in_a_folder_of_recordings_are_other_files(tmp_path):
    folder = concert(tmp_path / "a", 1)
    (folder / "cover.png").write_bytes(b"x")
    (told,) = media.folder(folder, "recording").findings
    assert told.slug == "files-skipped" and told.evidence["others"] == ["cover.png"]
