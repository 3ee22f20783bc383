"""The verb `prepare`: order of the stages, events, errors that stop it, and real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from septet.errors import CheckError, DataError, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

REPOSITORY = Path(__file__).parents[2]


def recipe(folder: Path, **data) -> Recipe:
    return Recipe.load(
        {
            "data": {"folder": str(folder)} | data,
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )


def table(path: Path, n: int = 60, labels: str = "ab") -> Path:
    path.write_text("text,label\n" + "".join(f"{path.stem} {i},{labels[i % len(labels)]}\n" for i in range(n)))
    return path


def test_only_train_is_needed_and_the_splits_are_cut_from_it(tmp_path):
    table(tmp_path / "train.csv", 200)
    data = prepare(recipe(tmp_path, train="train.csv"), Run(tmp_path / "runs" / "a"))
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }
    assert data.ledger["train"].moved == {"validation": 20, "test": 20}
    ids = [row["_row"] for split in data.splits for row in data.rows(split)]
    assert len(set(ids)) == 200


def test_with_train_and_test_validation_is_cut_from_train(tmp_path):
    table(tmp_path / "train.csv", 200)
    table(tmp_path / "test.csv", 50)
    data = prepare(recipe(tmp_path, train="train.csv", test="test.csv"), Run(tmp_path / "runs" / "a"))
    assert [row["text"] for row in data.rows("test")] == [f"test {i}" for i in range(50)]
    assert data.ledger["validation"].received == data.splits["validation"]["rows"] == 20
    assert all(row["text"].startswith("train") for row in data.rows("validation"))


def test_the_test_split_decides_nothing_for_train_but_the_overlap(tmp_path):
    table(tmp_path / "train.csv", 200)
    ids = []
    for n in (50, 51):
        table(tmp_path / "test.csv", n)
        data = prepare(recipe(tmp_path, train="train.csv", test="test.csv"), Run(tmp_path / "runs" / "a"))
        ids.append({split: [row["_row"] for row in data.rows(split)] for split in ("train", "validation")})
    assert ids[0] == ids[1]


def test_named_tests_and_lists_of_files(tmp_path):
    for name in ("one", "two", "web", "mail"):
        table(tmp_path / f"{name}.csv")
    data = prepare(
        recipe(tmp_path, train=["one.csv", "two.csv"], test={"web": "web.csv", "mail": ["mail.csv"]}),
        Run(tmp_path / "runs" / "a"),
    )
    assert data.ledger["train"].read == 120
    assert (data.path / "test.web.parquet").exists()


def test_a_pair_of_texts(tmp_path):
    rows = [{"a": f"one {i}", "b": f"two {i}", "label": "xy"[i % 2]} for i in range(80)]
    made = Recipe.load(
        {
            "data": {"train": "<memory>"},
            "task": {"name": "classify", "text": ["a", "b"], "label": "label"},
            "model": "starter",
        }
    )
    data = prepare(made, Run(tmp_path / "runs" / "a"), tables={"train": rows})
    assert list(data.rows("train")[0]) == ["_row", "a", "b", "label"]


def test_what_happens_is_told(tmp_path):
    table(tmp_path / "train.csv", 40)
    heard: list[tuple[str, dict]] = []
    prepare(
        recipe(tmp_path, train="train.csv"),
        Run(tmp_path / "runs" / "a"),
        listen=lambda event, **facts: heard.append((event, facts)),
    )
    assert heard[0] == ("stage", {"name": "prepare"})
    assert "few-rows" in [facts["finding"].slug for event, facts in heard if event == "finding"]
    assert any("dropped" in facts["text"] for event, facts in heard if event == "note")


def test_data_json_is_written_before_a_blocker_stops_the_run(tmp_path):
    table(tmp_path / "train.csv", labels="a")
    run = Run(tmp_path / "runs" / "a")
    for _ in range(2):  # the second time from the prepared folder
        with pytest.raises(CheckError, match="single-label") as caught:
            prepare(recipe(tmp_path, train="train.csv"), run)
        assert caught.value.exit_code == 3
        assert run.read_json("data.json")["findings"][0]["slug"] == "single-label"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, UsageError, ["train.csv"]),
        ("", DataError, ["empty"]),
        ("texts,label\na,b\n", RecipeError, ["task.text", "texts, label"]),
        ("text,label\na,b\nc\n", DataError, ["line 3"]),
        (b"text,label\n\xff,b\n", DataError, ["line 2", "cp1252 reads"]),
        ("text,label\na,x\nb,\nc,y\n", CheckError, ["label-missing", "train.csv line 3"]),
    ],
)
def test_bad_input_is_named(tmp_path, content, error, words):
    if content is not None:
        (tmp_path / "train.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error) as caught:
        prepare(recipe(tmp_path, train="train.csv"), Run(tmp_path / "runs" / "a"))
    for word in words:
        assert word in str(caught.value)


def test_tables_in_memory(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"text": [f"NA {i}" for i in range(60)], "label": [i % 3 for i in range(60)]})
    made = recipe(tmp_path, train="<memory>")
    data = prepare(made, Run(tmp_path / "runs" / "a"), tables={"train": frame})
    assert data.labels == ["0", "1", "2"]
    assert prepare(made, Run(tmp_path / "runs" / "b"), tables={"train": frame}).path == data.path
    assert prepare(made, Run(tmp_path / "runs" / "b"), tables={"train": frame[:59]}).path != data.path
    with pytest.raises(UsageError, match="tables="):
        prepare(made, Run(tmp_path / "runs" / "a"))
    with pytest.raises(UsageError, match="train, validation, test"):
        prepare(made, Run(tmp_path / "runs" / "a"), tables={"training": frame})


@pytest.mark.parametrize(
    ("name", "train", "validation", "test"), [("tweet_sentiment", 47946, 2000, 12284), ("banking77", 8993, 999, 3080)]
)
def test_real_data(tmp_path, name, train, validation, test):
    folder = Path(os.environ.get("SEPTET_SHARED", REPOSITORY.parent / "shared")) / "data" / name
    if not folder.is_dir():
        pytest.skip("no shared data (SEPTET_SHARED)")
    given = {
        split: f"{split}.csv.gz" for split in ("train", "validation", "test") if (folder / f"{split}.csv.gz").exists()
    }
    data = prepare(recipe(folder, **given), Run(tmp_path / "runs" / "a"))
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {
        "train": train,
        "validation": validation,
        "test": test,
    }
    assert not data.findings.blockers
