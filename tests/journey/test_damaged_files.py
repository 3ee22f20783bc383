"""Damaged files through `septet prepare`: every row is accounted for, or the file is refused by name; never a traceback, never mojibake."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from damaged import MIB, Damaged, joined
from damaged_binary import FILES
from septet.cli import main

USUAL = {"few-rows", "rare-labels", "class-imbalance", "no-validation", "no-test"}  # of so few rows


def run(folder: Path, source: str, file: Damaged, model: Path) -> tuple[int, str]:
    """Return the exit code, and what was said."""
    data = {"split": {"validation": 0, "test": 0}, **file.data}
    recipe = {"data": {"train": source, **data}, "task": dict(file.task), "model": str(model)}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main(["prepare", str(folder / "recipe.yaml"), "--run", str(folder / "runs" / "a")])
    said = told.getvalue()
    assert "Traceback" not in said and "Defect" not in said, said[-2000:]
    return int(ended.value.code or 0), said


def balanced(ledger: dict) -> bool:
    return all(
        book["read"] + book["received"] == book["kept"] + sum(book["dropped"].values()) + sum(book["moved"].values())
        for book in ledger.values()
    )


def test_there_are_150_of_them_and_more():
    names = [file.name for file in FILES]
    assert len(FILES) >= 150 and len(set(names)) == len(names)
    fates = Counter(file.code for file in FILES)
    assert fates[0] >= 40 and fates[3] >= 100 and fates[2] >= 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_row_is_accounted_for_or_the_file_is_named(file, tmp_path, tiny_bert, request):
    source = file.make(tmp_path)
    writer = threading.Thread(target=pour, args=(tmp_path / file.name,)) if file.name == "pipe.jsonl" else None
    if writer is not None:
        writer.start()
    code, said = run(tmp_path, source, file, tiny_bert)
    if writer is not None:
        writer.join(10)
        assert not writer.is_alive()
    assert code == file.code, said
    if code:
        assert file.name in said or file.name == "unknown.csv", said
        assert all(" ".join(each.split()) in " ".join(said.split()) for each in file.says), said
        return
    data = json.loads((tmp_path / "runs" / "a" / "data.json").read_text())
    train = data["ledger"]["train"]
    assert balanced(data["ledger"])
    assert (train["read"], train["dropped"]) == (file.read, dict(file.dropped)), said
    slugs = {finding["slug"] for finding in data["findings"]}
    assert set(file.says) <= slugs and slugs <= {*file.says, *USUAL}, (slugs, said)
    (rows,) = (tmp_path / "runs" / "prepared").glob("*/train.parquet")
    found = pq.read_table(rows).to_pydict()
    texts = found.get("text") or found["question"]
    assert Counter(texts) == Counter(file.kept)
    assert train["kept"] == len(texts) == file.read - sum(file.dropped.values())


def pour(pipe: Path) -> None:
    """Write a line of 1 GiB into a pipe, as far as someone reads it."""
    piece = b"w" * MIB
    with pipe.open("wb", buffering=0) as file:
        file.write(joined('{"text": "').encode().rstrip(b"\n"))
        for written in range(1024):
            try:
                file.write(piece)
            except BrokenPipeError:
                assert 60 <= written <= 70
                return
    raise AssertionError("all of it was read")
