"""Preparing again: the same bytes from the same rows, in any process and folder; and only what has changed is done again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from septet import cache, cli
from septet.model import features
from septet.model.kept import KeptFeatures
from tiny import model_folder

WORDS = {"fruit": ["apple", "pear", "plum", "cherry", "grape"], "metal": ["iron", "copper", "silver", "gold", "nickel"]}
RECIPE = """\
data:
  train: [one.csv, two.jsonl]
  near: {policy: drop}
  doubtful: {policy: drop, features: tfidf}
  clean: {unicode: NFKC}
task: {name: classify, text: text, label: label}
model: starter
"""


def write(folder: Path) -> None:
    """Write 240 rows with repeats, near repeats, wrong labels and odd characters, in two files, and a recipe."""
    draw, rows = random.Random(5), []
    for i in range(240):
        label = ("fruit", "metal")[i % 2]
        text = " ".join([*draw.choices(WORDS[label], k=6), "ﬁne", f"no{i * 37}"])
        text = rows[-2]["text"] if i % 17 == 16 else rows[-2]["text"] + "!" if i % 13 == 12 else text
        rows.append({"text": text, "label": WORDS.keys() - {label} if i % 29 == 28 else label})
    for row in rows:
        row["label"] = row["label"] if isinstance(row["label"], str) else min(row["label"])
    folder.mkdir()
    (folder / "one.csv").write_text(
        "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows[:120]), encoding="utf-8"
    )
    (folder / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[120:]), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE)


def call(*arguments: object) -> object:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(each) for each in arguments])
    return caught.value.code


def prepared(folder: Path) -> dict[str, bytes]:
    """Return the files of the one prepared set under a folder, by their path from it."""
    (found,) = [each for each in (folder / "prepared").iterdir() if not each.name.startswith(".")]
    return {str(path.relative_to(found.parent)): path.read_bytes() for path in sorted(found.iterdir())}


def test_two_processes_prepare_the_same_bytes(tmp_path):
    write(tmp_path / "data")
    found = []
    for seed, threads in ((1, 1), (2, 2)):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": str(threads)}
        run = tmp_path / f"runs-{seed}" / "run"
        command = [sys.executable, "-m", "septet", "prepare", "recipe.yaml", "--run", str(run)]
        subprocess.run(command, cwd=tmp_path / "data", env=environment, check=True, capture_output=True)
        found.append(prepared(run.parent))
    assert found[0] == found[1] and len(found[0]) == 4
    manifest = json.loads(next(raw for path, raw in found[0].items() if path.endswith("manifest.json")))
    dropped = manifest["ledger"]["train"]["dropped"]
    assert dropped.keys() == {"duplicate", "near duplicate", "label doubtful"}


def test_rows_that_moved_to_another_folder_give_the_same_splits(tmp_path, monkeypatch):
    for place in ("here", "there"):
        write(tmp_path / place)
        os.utime(tmp_path / place / "one.csv", ns=(0, 10**18 + len(place)))
        monkeypatch.chdir(tmp_path / place)
        assert call("prepare", "recipe.yaml", "--run", "runs/one") == 0
    here, there = (prepared(tmp_path / place / "runs") for place in ("here", "there"))
    assert here.keys() == there.keys()
    assert all(here[path] == there[path] for path in here if not path.endswith("manifest.json"))


def test_only_a_changed_file_or_choice_prepares_again(tmp_path, monkeypatch, capsys):
    write(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    assert call("prepare", "recipe.yaml", "--run", "runs/one") == 0
    capsys.readouterr()
    before = prepared(Path("runs"))
    # what training chooses is no part of the prepared rows
    assert call("prepare", "recipe.yaml", "train.lr=1e-4", "method=lora", "--run", "runs/two") == 0
    assert "unchanged, prepared before" in capsys.readouterr().err and prepared(Path("runs")) == before
    # a file that was only touched is read, and the rows that it gave before are used again
    os.utime("one.csv")
    assert call("prepare", "recipe.yaml", "--run", "runs/three") == 0
    assert {p: raw for p, raw in prepared(Path("runs")).items() if "manifest" not in p} == {
        p: raw for p, raw in before.items() if "manifest" not in p
    }
    with Path("one.csv").open("a") as file:
        file.write("iron and a pear,metal\n")
    assert call("prepare", "recipe.yaml", "--run", "runs/four") == 0
    assert len(list(Path("runs/prepared").iterdir())) == 2
    assert json.loads(Path("runs/four/data.json").read_text())["ledger"]["train"]["read"] == 241


def test_rows_are_embedded_once_whatever_else_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    model = model_folder(tmp_path / "model")
    embedded = []
    original = features.Features.encode

    def counted(self, texts, listen=features.quiet):
        embedded.append(len(texts))
        return original(self, texts, listen)

    monkeypatch.setattr(features.Features, "encode", counted)
    wanted = ["prepare", "recipe.yaml", f"model={model}", "data.doubtful.features=model"]
    assert call(*wanted, "--run", "runs/one") == 0
    assert len(embedded) == 3  # train, validation, test
    assert call(*wanted, "data.doubtful.policy=warn", "data.expect.rows='>= 1'", "--run", "runs/two") == 0
    assert len(embedded) == 3
    assert call(*wanted, "data.split.seed=1", "--run", "runs/three") == 0
    assert len(embedded) == 6


def test_kept_vectors_are_those_of_the_model_and_damaged_ones_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    folder = Path(model_folder(tmp_path / "model"))
    texts = ["one two", "three", "four five six"]
    fresh = features.Features(folder).encode(texts)
    first = KeptFeatures(folder).encode(texts)
    (path,) = cache.folder("vectors").iterdir()
    kept = KeptFeatures(folder)
    again = kept.encode(texts)
    assert np.array_equal(first, fresh) and np.array_equal(again, fresh)
    assert kept._features is None  # the model was not loaded
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert np.array_equal(KeptFeatures(folder).encode(texts), fresh)
    assert np.array_equal(
        KeptFeatures(folder, max_length=3).encode(texts), features.Features(folder, max_length=3).encode(texts)
    )
    assert len(list(cache.folder("vectors").iterdir())) == 2


def test_vectors_used_longest_ago_make_room(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("septet.model.kept.MOST_BYTES", 2_000)
    folder = Path(model_folder(tmp_path / "model"))
    for name in ("a", "b", "c", "d"):
        KeptFeatures(folder).encode([name] * 3)
    sizes = [path.stat().st_size for path in cache.folder("vectors").iterdir()]
    assert 0 < sum(sizes) <= 2_000 and len(sizes) < 4
    shutil.rmtree(cache.folder("vectors"))
    cache.folder("vectors").write_text("")  # a cache that cannot be written is no error
    assert len(KeptFeatures(folder).encode(["a"])) == 1
