"""Arrow files and streams, Feather, and folders that `datasets` saved, read without `datasets`."""

from __future__ import annotations

import pyarrow as pa
import pytest

from septet.data.read import read
from septet.errors import DataError, UsageError
from septet.prepare import prepare
from septet.run import Run

TABLE = pa.table({"text": ["NA", None, "c"], "label": ["x", "y", "x"], "n": [1, 2, 3]})


def stream(path, table=TABLE):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return path


def file(path, table=TABLE):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("write", [stream, file])
@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a.csv"])
def test_the_file_and_the_stream_format_whatever_the_name(tmp_path, write, name):
    assert read(write(tmp_path / name)).columns == TABLE.to_pydict()


def test_only_the_columns_in_use_are_read(tmp_path):
    assert list(read(file(tmp_path / "a.arrow"), columns={"text": "task.text"}).columns) == ["text"]


def test_feather_packed_and_with_categories(tmp_path):
    from pyarrow import feather

    table = TABLE.set_column(1, "label", TABLE.column("label").dictionary_encode())
    feather.write_feather(table, str(tmp_path / "a.feather"), compression="zstd")
    assert read(tmp_path / "a.feather").columns == TABLE.to_pydict()
    feather.write_feather(TABLE, str(tmp_path / "old.feather"), version=1)
    with pytest.raises(DataError, match="version 1"):
        read(tmp_path / "old.feather")


@pytest.mark.parametrize("write", [stream, file])
def test_damaged_and_empty_files_are_named(tmp_path, write):
    whole = write(tmp_path / "a.arrow").read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[:200])
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "cut.arrow")
    with pytest.raises(DataError, match="no rows"):
        read(write(tmp_path / "none.arrow", TABLE.slice(0, 0)))
    with pytest.raises(DataError, match="twice"):
        read(write(tmp_path / "twice.arrow", pa.table([[1], [2]], names=["a", "a"])))


@pytest.fixture
def saved(tmp_path):
    """A data set of two shards with class names, and a file that `map` left behind."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = {"text": [f"NA {i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    whole.save_to_disk(tmp_path / "saved", num_shards=2)
    datasets.DatasetDict({"train": whole, "test": whole.select(range(4))}).save_to_disk(tmp_path / "both")
    file(tmp_path / "saved" / "cache-0123.arrow")
    return tmp_path


def test_a_saved_data_set(saved, recipe, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    table = read(saved / "saved")
    assert table.columns["text"] == [f"NA {i}" for i in range(40)]
    assert table.columns["label"] == ["neg", "pos"] * 20
    assert table.where(20).endswith("data-00001-of-00002.arrow row 1")
    found = prepare(recipe({"train": str(saved / "saved")}), Run(saved / "runs" / "a"))
    assert found.labels == ["neg", "pos"]


def test_a_saved_data_set_with_splits(saved):
    with pytest.raises(UsageError, match=r"several splits \(train, test\)"):
        read(saved / "both")
    assert len(read(saved / "both" / "test")) == 4


def test_a_missing_shard_is_named(saved):
    (saved / "saved" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match="missing: data-00001"):
        read(saved / "saved")
