"""Encoded rows that are kept: the same examples as without, and new ones wherever anything they depend on has changed."""

import json
import shutil

import numpy as np
import pytest

import small
from septet.encode import encode, folder_of
from septet.engine import examples
from septet.prepare import prepare
from septet.tasks import Example
from septet.tasks.classify import Classify, Options
from septet.tasks.generate import Generate
from septet.tasks.pretrain import Pretrain
from tiny import model_folder


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Keep the rows of small sets too; return the folder they are kept in."""
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(examples, "LEAST_ROWS", 1)
    return tmp_path / "cache" / examples.KIND


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "own"


def encoder(folder, kind, task):
    """Write a tiny model and rows, and return what encodes them as a task does; each call may change its options."""
    source = {**small.recipe(folder), "task": {"name": "classify", "text": "text", "label": "label"}}
    if kind != "bert":
        shutil.rmtree(folder / "base")
        model_folder(folder / "base", kind)
    if task.get("name", "classify") != "classify":
        source["task"] = {}
        source["train"].pop("metric")
    runs = iter(range(100))

    def encoded(**changes):
        recipe, opened = small.begin(
            {**source, "task": {**source["task"], **task, **changes}}, folder / f"run{next(runs)}"
        )
        prepared = prepare(recipe, opened)
        found = encode(recipe, prepared, folder_of(recipe, prepared))
        return [as_told(example) for examples in [found.train, *found.validation] for example in examples]

    return encoded


def files(kept):
    return {path.name: path.read_bytes() for path in kept.glob("*")} if kept.exists() else {}


def forbid(monkeypatch):
    """Let no task encode anything from now on."""

    def refuse(_task, rows, _processor):
        assert not rows, "encoded again"
        return []

    for task in (Classify, Generate, Pretrain):
        monkeypatch.setattr(task, "encode", refuse)


TASKS = {
    "classify": {},
    "pretrain": {"name": "pretrain", "objective": "masked"},
    "generate": {"name": "generate", "prompt": "text", "answer": "label"},
}


def as_told(example):
    """Return an example with its arrays as their type and numbers."""
    inputs = {
        name: (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value
        for name, value in example.inputs.items()
    }
    return example.row, inputs, example.target, example.size, example.meta


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_the_same_with_and_without(folder, kept, monkeypatch, name):
    encoding = encoder(folder, "gpt2" if name == "generate" else "bert", TASKS[name])
    monkeypatch.setattr(examples, "LEAST_ROWS", 10**9)
    plain = encoding()
    assert not files(kept), "few rows are not kept"
    monkeypatch.setattr(examples, "LEAST_ROWS", 1)
    first = encoding()
    before = files(kept)
    assert len(before) == 2, "one file a split"
    forbid(monkeypatch)
    again = encoding()
    assert len(plain) > 60 and any(size > 5 for *_, size, _ in plain)
    assert plain == first == again and files(kept) == before


def test_a_damaged_file_is_noticed_and_written_anew(folder, kept):
    encoding = encoder(folder, "bert", {})
    first, whole = encoding(), files(kept)
    for name, raw in whole.items():
        for damaged in (raw[:-7], raw[:40] + bytes([raw[40] ^ 1]) + raw[41:], b"", b"nothing of the kind" * 9):
            (kept / name).write_bytes(damaged)
            assert encoding() == first
            assert files(kept) == whole


def test_whatever_examples_depend_on_makes_new_ones(folder, kept, monkeypatch):
    encoding = encoder(folder, "bert", {})
    first = encoding()
    assert len(files(kept)) == 2
    turned = encoding(labels=["shop", "post", "money"])
    assert len(files(kept)) == 4 and turned != first, "an option of the task"
    tokenizer = folder / "base" / "tokenizer.json"
    told = json.loads(tokenizer.read_text())
    words = told["model"]["vocab"]
    a, b = (word for word in words if word in ("hello", "please"))
    words[a], words[b] = words[b], words[a]
    tokenizer.write_text(json.dumps(told))
    swapped = encoding()
    assert len(files(kept)) == 6 and swapped != first, "the tokenizer"
    versions = iter("abcdefghijkl")
    monkeypatch.setattr(examples, "version", lambda _: next(versions))
    assert encoding() == swapped
    assert len(files(kept)) == 8, "a version"
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": "one more row of words", "label": "money"}\n')
    monkeypatch.undo()
    monkeypatch.setenv("SEPTET_CACHE", str(kept.parent))
    monkeypatch.setattr(examples, "LEAST_ROWS", 1)
    assert len(encoding()) == len(first) + 1


def test_what_would_not_come_back_as_it_is_is_not_kept():
    whole = Example(1, {"input_ids": [1, 2]}, 0, 2, {"truncated": 0})
    assert examples._read(examples._written([[whole], [], [whole, whole]])) == [[whole], [], [whole, whole]]
    others = {
        "fractions": Example(1, {"input_ids": [0.5]}, 0, 1, {}),
        "yes and no": Example(1, {"input_ids": [True]}, 0, 1, {}),
        "text": Example(1, {"input_ids": "abc"}, 0, 1, {}),
        "a picture": Example(1, {"pixels": np.zeros((3, 4, 4), np.int32)}, 0, 1, {}),
        "a wide array": Example(1, {"input_ids": np.array([1, 2])}, 0, 1, {}),
        "a pair for a target": Example(1, {"input_ids": [1]}, (1, 2), 1, {}),
        "an object beside it": Example(1, {"input_ids": [1]}, 0, 1, {"of": object()}),
        "a number that is none": Example(1, {"input_ids": [1]}, float("nan"), 1, {}),
    }
    for name, example in others.items():
        assert examples._written([[example]]) is None, name
    for name in ("a wide array", "fractions"):
        assert examples._written([[whole], [others[name]]]) is None, name


def test_examples_of_a_task_of_someone_elses_are_not_kept(folder, kept):
    class Own(Classify):
        pass

    model_folder(folder)
    rows = [{"_row": i, "text": "hello please", "label": "money"} for i in range(3)]
    task = Own(Options(text="text", label="label")).learn(rows)  # type: ignore[call-arg]
    processor = task.input.processor(str(folder))
    assert examples.encoded(task, processor, rows, "its sha256", folder) == task.encode(rows, processor)
    assert not files(kept)
