"""The answers of baselines on disk: the same when read again, made anew where they do not fit."""

import json

import numpy as np
import pytest

from septet import registry
from septet.baselines import Options
from septet.baselines._kept import Kept
from septet.errors import UsageError
from septet.run import Run

LABELS = Options(2, ("bad", "good"))
TEXTS = Options()
TRAIN = ["a dog runs", "two men play", "a child sleeps", "雨が降る。"]
CHOICES = (TRAIN, np.array([0, 1, 1, 1]))
ANSWERS = (TRAIN, ["ein Hund rennt", "zwei Männer spielen", "ein Kind\u2028schläft 🙂\n", "Es regnet."])
SPLITS = {
    "test": (["a dog", "", "children"], np.array([3, 4, 9])),
    "test.web/2": (["雨"], np.array([1])),
    "empty": ([], np.array([], np.int64)),
}
ROWS = {split: rows for split, (_, rows) in SPLITS.items()}
KINDS = [
    pytest.param(LABELS, "majority", CHOICES, "baselines.safetensors", id="choices"),
    pytest.param(TEXTS, "nearest", ANSWERS, "baselines.jsonl", id="texts"),
]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run").create()


def answers(kept: Kept, name: str) -> dict:
    if kept.options.answers == "texts":
        return {split: kept.texts(name, split) for split in SPLITS}
    return {split: kept.scores(name, split).tolist() for split in SPLITS}


def fitted(run: Run, options: Options, name: str, train) -> Kept:
    kept = Kept(run, "data", options)
    kept.fit(name, train, SPLITS)
    return kept


@pytest.mark.parametrize(("options", "name", "train", "file"), KINDS)
def test_answers_are_the_same_when_read_again(run, options, name, train, file):
    assert Kept(run, "data", options).missing([name], ROWS) == [name]
    kept = fitted(run, options, name, train)
    again = Kept(run, "data", options)
    assert again.missing([name], ROWS) == [] and answers(again, name) == answers(kept, name)
    assert again.facts() == kept.facts() and again.facts()[name]["rows"] == 4
    assert sorted(p.name for p in run.path.iterdir()) == sorted(["baselines.json", file])
    assert again.missing([name], {"test": np.array([3, 4, 8])}) == [name], "other rows"


def test_texts_keep_every_character(run):
    fitted(run, TEXTS, "copy", ANSWERS)
    kept = fitted(run, TEXTS, "nearest", ANSWERS)
    again = Kept(run, "data", TEXTS)
    assert again.texts("copy", "test") == ["a dog", "", "children"] and again.texts("copy", "test.web/2") == ["雨"]
    assert again.texts("nearest", "test")[2] == "ein Kind\u2028schläft 🙂\n" and again.texts("nearest", "empty") == []
    assert set(kept.facts()) == set(again.facts()) == {"copy", "nearest"}
    lines = [json.loads(line) for line in (run.path / "baselines.jsonl").read_text().split("\n")[:-1]]
    assert lines[0] == {"who": "copy", "split": "test", "texts": ["a dog", "", "children"]}


def test_a_split_more_keeps_those_before(run):
    fitted(run, TEXTS, "copy", ANSWERS)
    kept = Kept(run, "data", TEXTS)
    kept.fit("copy", ANSWERS, {"on": (["new"], np.array([0]))})
    again = Kept(run, "data", TEXTS)
    assert again.missing(["copy"], {**ROWS, "on": np.array([0])}) == []
    assert again.texts("copy", "on") == ["new"] and again.texts("copy", "test") == ["a dog", "", "children"]


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


DAMAGES = [
    flip,
    lambda path: path.write_bytes(path.read_bytes()[:-4]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\xff\xfe[]"),
    lambda path: path.unlink(),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("options", "name", "train", "file"), KINDS)
def test_damaged_answers_are_made_again(run, options, name, train, file, damage):
    expected = answers(fitted(run, options, name, train), name)
    damage(run.path / file)
    kept = Kept(run, "data", options)
    assert kept.missing([name], ROWS) == [name] and kept.facts() == {}
    kept.fit(name, train, SPLITS)
    assert answers(Kept(run, "data", options), name) == expected


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1'])
@pytest.mark.parametrize(("options", "name", "train", "file"), KINDS)
def test_damaged_facts_are_made_again(run, options, name, train, file, text):
    fitted(run, options, name, train)
    (run.path / "baselines.json").write_text(text)
    assert Kept(run, "data", options).missing([name], ROWS) == [name]


@pytest.mark.parametrize(("options", "name", "train", "file"), KINDS)
def test_other_data_or_options_have_other_answers(run, options, name, train, file):
    fitted(run, options, name, train)
    assert Kept(run, "other data", options).missing([name], ROWS) == [name]
    changed = Options(options.num_labels, options.labels, seed=7)
    assert Kept(run, "data", changed).missing([name], ROWS) == [name]


@pytest.mark.parametrize(
    ("options", "name", "train", "fits"), [(LABELS, "lead", CHOICES, "majority"), (TEXTS, "tfidf", ANSWERS, "nearest")]
)
def test_a_baseline_of_the_other_kind_is_refused(run, options, name, train, fits):
    with pytest.raises(UsageError, match=rf"must answer with {options.answers}.*{name}") as caught:
        fitted(run, options, name, train)
    assert fits in str(caught.value) and not (run.path / "baselines.json").exists()


@pytest.mark.parametrize(("options", "name", "train", "file"), KINDS)
def test_a_row_without_an_answer_is_an_error(run, monkeypatch, options, name, train, file):
    part = registry.part("baseline", name)
    monkeypatch.setattr(part, "write" if options is TEXTS else "scores", lambda self, texts: [[1.0, 0.0]] * 2)
    with pytest.raises(UsageError, match=f"baseline {name} must give one answer a row: 3\\. Received: 2"):
        fitted(run, options, name, train)
    assert Kept(run, "data", options).missing([name], ROWS) == [name]
