"""Archives: their tables, rows named by file and line; whatever else they hold is refused by name, or left out and counted."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import damaged_binary
import sheets
from septet.data import archive
from septet.data.read import Reading, read
from septet.errors import DataError, RecipeError, UsageError

USED = {"text": "task.text", "label": "task.label"}
A, B = b"text,label\na,x\nb,y\n", b'{"text": "c", "label": "z"}\n'


def zipped(path, members, **how):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path, members, mode="w"):
    path.write_bytes(damaged_binary.tarred(members, mode))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.txz"])
def test_tables_of_an_archive_are_read_like_those_of_a_folder(tmp_path, name):
    members = {
        "2025/b.jsonl": B,
        "2025/a.csv": A,
        "README.md": b"# About",
        "__MACOSX/._a.csv": b"\0",
        ".DS_Store": b"x",
    }
    mode = "w:gz" if name.endswith("gz") else "w:xz" if name.endswith("xz") else "w"
    path = zipped(tmp_path / name, members) if name == "a.zip" else tarred(tmp_path / name, members, mode)
    table = read(path, columns=USED)
    assert table.columns == {"text": ["a", "b", "c"], "label": ["x", "y", "z"]}
    assert [table.where(i).rpartition(f"{name}/")[2] for i in range(3)] == [
        "2025/a.csv line 2",
        "2025/a.csv line 3",
        "2025/b.jsonl line 1",
    ]
    assert {part.source for part in table.parts} == {0}
    (stamp,) = table.stamps
    assert stamp.path == str(path.resolve()) and stamp.fresh()
    (found,) = table.findings
    assert (found.slug, found.evidence["hidden"], found.evidence["others"]) == ("archive-skipped", 2, ["README.md"])
    assert (
        "2 of 5 files were read; left out: 2 hidden (__MACOSX/._a.csv, .DS_Store), 1 no table (README.md)"
        in found.message
    )


def test_one_file_of_an_archive(tmp_path):
    path = zipped(tmp_path / "a.zip", {"train.csv": A, "sub/test.jsonl": B})
    assert read(path / "train.csv").columns["text"] == ["a", "b"]
    assert read(str(path / "sub" / "test.jsonl")).columns["text"] == ["c"]
    with pytest.raises(UsageError, match=r"no such file in the archive[\s\S]*train\.csv"):
        read(path / "trian.csv")
    with pytest.raises(RecipeError, match=r"archive holds files of several splits[\s\S]*a\.zip/sub/test\.jsonl"):
        read(path)


def test_a_folder_of_an_archive(tmp_path):
    path = zipped(
        tmp_path / "a.zip", {"x/1.csv": A, "x/2.csv": b"text,label\nc,x\n", "y/test.csv": A, "x/train/t.csv": A}
    )
    table = read(path / "x")
    assert table.columns["text"] == ["a", "b", "c", "a", "b"]
    assert table.where(2).endswith("a.zip/x/2.csv line 2")
    with pytest.raises(UsageError, match=r"no such file in the archive"):
        read(path / "z")
    split = zipped(tmp_path / "b.zip", {"x/train.csv": A, "x/test.csv": A})
    with pytest.raises(RecipeError, match=r"folder holds files of several splits[\s\S]*b\.zip/x/test\.csv"):
        read(split / "x")


def test_tables_of_every_format_packed_too(tmp_path):
    inner = sheets.xlsx(tmp_path / "c.xlsx", {"One": [["text", "label"], ["sheet", "x"]]}).read_bytes()
    pq.write_table(pa.table({"text": ["parquet"], "label": ["y"]}), tmp_path / "d.parquet")
    members = {"a.csv.gz": gzip.compress(A), "c.xlsx": inner, "d.parquet": (tmp_path / "d.parquet").read_bytes()}
    path = tarred(tmp_path / "all.tar", members)
    assert read(path).columns["text"] == ["a", "b", "sheet", "parquet"]
    with zipfile.ZipFile(tmp_path / "stored.zip", "w", zipfile.ZIP_STORED) as file:
        file.writestr("c.xlsx", inner)
    assert read(tmp_path / "stored.zip").columns["text"] == ["sheet"]


def test_plain_text_is_read_where_documents_are(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.txt": b"one\n", "b.txt": b"two\n"})
    assert read(path, reading=Reading(plain=True)).columns["text"] == ["one", "two"]
    with pytest.raises(DataError, match=r"holds no table[\s\S]*a\.txt, b\.txt"):
        read(path)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.csv": A, "b.csv": (tarfile.SYMTYPE, "/etc/passwd")}, ["symbolic link", "a.tar/b.csv"]),
        ({"a.csv": A, "b.csv": (tarfile.LNKTYPE, "a.csv")}, ["hard link", "a.tar/b.csv"]),
        ({"a.csv": A, "b.csv": (tarfile.CHRTYPE, "")}, ["a device", "a.tar/b.csv"]),
        ({"a.csv": A, "b": (tarfile.FIFOTYPE, "")}, ["a pipe", "a.tar/b"]),
        ({"a.csv": A, "../b.csv": A}, ["leads out", "../b.csv"]),
        ({"a.csv": A, "/b.csv": A}, ["leads out", "a.tar//b.csv"]),
        ({"a.csv": A, "C:\\b.csv": A}, ["leads out", "C:\\b.csv"]),
        ({"a.csv": A, "x/..\\b.csv": A}, ["leads out"]),
    ],
)
def test_what_is_no_regular_file_is_refused_by_name(tmp_path, members, words):
    with pytest.raises(DataError) as caught:
        read(tarred(tmp_path / "a.tar", members))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_links_names_and_passwords_of_a_zip(tmp_path):
    link = zipfile.ZipInfo("b.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.csv", A)
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"symbolic link[\s\S]*a\.zip/b\.csv"):
        read(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"leads out[\s\S]*\.\./b\.csv"):
        read(zipped(tmp_path / "b.zip", {"../b.csv": A}))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "c.zip", "w") as file:
        file.writestr("a.csv", A)
        file.writestr("a.csv", A)
    with pytest.raises(DataError, match=r"two files of one name[\s\S]*c\.zip/a\.csv"):
        read(tmp_path / "c.zip")
    raw = bytearray(zipped(tmp_path / "d.zip", {"a.csv": A}).read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(magic) + place] |= 1
    (tmp_path / "d.zip").write_bytes(raw)
    with pytest.raises(DataError, match=r"password[\s\S]*d\.zip/a\.csv"):
        read(tmp_path / "d.zip")


def test_an_archive_in_an_archive_is_refused(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"a.csv": A}).read_bytes()
    with pytest.raises(DataError, match=r"archive in the archive[\s\S]*a\.tar/b\.csv"):
        read(tarred(tmp_path / "a.tar", {"b.csv": inner}))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 1000)
    path = zipped(tmp_path / "a.zip", {"a.csv": b"text,label\n" + b"a,x\n" * 100_000})
    monkeypatch.setattr(archive, "CHUNK", None)  # nothing is read
    with pytest.raises(DataError, match=r"more than 200 times its size[\s\S]*390\.6 KiB[\s\S]*a\.zip"):
        read(path)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    for make, name in ((zipped, "b.zip"), (tarred, "b.tar")):
        with pytest.raises(DataError, match=rf"more than 3 files[\s\S]*{name}"):
            read(make(tmp_path / name, {f"{i}.csv": A for i in range(4)}))
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    with pytest.raises(DataError, match=r"more than 10 B[\s\S]*c\.zip"):
        read(zipped(tmp_path / "c.zip", {"a.csv": A}))


def test_an_archive_damaged_anywhere_is_refused_as_a_whole(tmp_path):
    whole = tarred(tmp_path / "a.tar", {"a.csv": A, "b.csv": A, "c.csv": A}).read_bytes()
    assert len(read(tmp_path / "a.tar")) == 6
    for cut in (100, 600, 1024, 1600, 3072):  # in a header, in a file, between two, before the end
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"damaged or cut short[\s\S]*a\.tar"):
            read(tmp_path / "a.tar")
    broken = whole[:1100] + b"\xff" + whole[1101:]  # a header, of which `tarfile` alone would say nothing
    (tmp_path / "a.tar").write_bytes(broken)
    with pytest.raises(DataError, match=r"more after the entry that ends at byte 1,024"):
        read(tmp_path / "a.tar")
    whole = zipped(tmp_path / "a.zip", {"a.csv": A * 50}).read_bytes()
    place = whole.index(b"a.csv") + 12
    for raw in (whole[:-30], whole[:60], whole[:place] + b"\xff\xff" + whole[place + 2 :]):
        (tmp_path / "a.zip").write_bytes(raw)
        with pytest.raises(DataError, match=r"damaged[\s\S]*a\.zip"):
            read(tmp_path / "a.zip")
