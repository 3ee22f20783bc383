"""Damaged files that are no texts: Parquet, Arrow, arrays of NumPy, packed files, databases, spreadsheets, archives, and places where no file is; see `damaged`."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import sqlite3
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sheets
from damaged import COLUMNS, ENCODINGS, LINES, MIB, OBJECTS, ROWS, TABLE, TABLES, WHOLE, Damaged, bad, good, lines

RAW = TABLE.encode()
SHEET = [["text", "label"], *map(list, ROWS)]


# ---- makers ----


def parquet(columns: Mapping[str, Any] = COLUMNS, **how: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), out, **how)
    return out.getvalue()


def arrow(table: Any, *, stream: bool = False) -> bytes:
    out = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def arrays(columns: Mapping[str, Any] = COLUMNS) -> bytes:
    """Return an .npz, whose members are packed."""
    out = io.BytesIO()
    np.savez_compressed(out, **{name: np.array(values) for name, values in columns.items()})
    return out.getvalue()


def fields(raw: Any = ROWS) -> bytes:
    """Return an .npy of an array with fields."""
    out = io.BytesIO()
    np.save(out, np.array(raw, [("text", "U40"), ("label", "U5")]))
    return out.getvalue()


def flipped(raw: bytes, at: int, *, bits: int = 0xFF, count: int = 1) -> bytes:
    return raw[:at] + bytes(byte ^ bits for byte in raw[at : at + count]) + raw[at + count :]


def zipped(members: Mapping[str, bytes], *, links: Mapping[str, int] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # of a fixed date
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (links or {}).get(name, stat.S_IFREG | 0o644) << 16
            file.writestr(entry, content)
    return out.getvalue()


def tarred(members: Mapping[str, Any], mode: str = "w") -> bytes:
    """Return a tar file: a member is its content, or the type and target of what is no regular file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = content
                file.addfile(entry)
    return out.getvalue()


def gz(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def bomb(pack: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what writes 50 MB of nothing, packed; only when it is asked to."""
    return lambda path: path.write_bytes(pack(bytes(51 * MIB))) and None


def stored(path: Path) -> None:
    """Write a zip of a table with a line of 65 MiB, which is not packed."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.csv", RAW + b"w" * (65 * MIB))


def sheet(rows: Any = SHEET, change: Callable[[bytes], bytes] = bytes, **names: Any) -> Callable[[Path], None]:
    """Return what writes a spreadsheet, of the sheet One or of those named."""

    def make(path: Path) -> None:
        sheets.xlsx(path, names or {"One": rows})
        path.write_bytes(change(path.read_bytes()))

    return make


def _hide_first(raw: bytes) -> bytes:
    """Hide the first sheet of a workbook."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'sheetId="1"', b'sheetId="1" state="hidden"'))
    return out.getvalue()


def database(path: Path, *, cut: int | None = None, rows: Any = ROWS) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tickets (text TEXT, label TEXT)")
        connection.executemany("INSERT INTO tickets VALUES (?, ?)", rows)
    connection.close()
    path.write_bytes(path.read_bytes()[:cut])


def folder(path: Path) -> None:
    path.mkdir()
    (path / "a.csv").write_bytes(RAW)
    (path / "b.csv").write_bytes(RAW + b"a,b,c\n")


def _password(raw: bytes) -> bytes:
    found = bytearray(raw)
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        found[found.index(magic) + place] |= 1
    return bytes(found)


def _sparse() -> bytes:
    entry = tarfile.TarInfo("rows.csv")
    entry.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.name": "rows.csv",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(entry)
    return out.getvalue()


def _bad_offsets() -> bytes:
    """Return an Arrow file of which an offset of a text leads out of it."""
    raw = arrow(pa.table(COLUMNS))
    offsets = pa.array(COLUMNS["text"]).buffers()[1].to_pybytes()[:28]
    at = raw.index(offsets)
    return raw[: at + 20] + b"\xff\xff\xff\x7f" + raw[at + 24 :]


_FORMULA = b'<c %s><f>UPPER("a")</f></c>'
_COMPUTED = b'<c %s t="str"><f>LOWER("POST")</f><v>post</v></c>'
_LINES = "\n".join(lines())
_NOTHING = pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})

# ---- the files ----

BINARY = [
    good("really.csv", parquet()),
    bad("cut.parquet", parquet()[:-20], "damaged or not Parquet"),
    bad("beheaded.parquet", parquet()[3:], "damaged or not Parquet"),
    bad(
        "flipped.parquet",
        flipped(parquet(write_page_checksum=True, compression="none", use_dictionary=False), 60),
        "damaged or not Parquet",
    ),
    bad("no-rows.parquet", parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), "no rows"),
    bad("text.parquet", TABLE, "damaged or not Parquet"),
    bad("empty.parquet", b"", "The file is empty"),
    bad(
        "no-label.parquet",
        parquet({**COLUMNS, "label": [*COLUMNS["label"][:-1], None]}),
        "label-missing",
        "no-label.parquet row 6",
    ),
    bad("lists.parquet", parquet({**COLUMNS, "text": [[text] for text in COLUMNS["text"]]}), "row 1", "must hold text"),
    bad("bytes.parquet", parquet({**COLUMNS, "text": [b"\xff"] * 6}), "row 1", "must hold text"),
    bad("cut.arrow", arrow(pa.table(COLUMNS))[:-40], "damaged or not Arrow"),
    bad("cut-stream.arrow", arrow(pa.table(COLUMNS), stream=True)[:-60], "damaged or not Arrow"),
    bad("offsets.arrow", _bad_offsets(), "damaged or not Arrow"),
    bad("no-rows.arrow", arrow(_NOTHING), "no rows"),
    bad("first.feather", b"FEA1" + bytes(40), "version 1"),
    bad("twice.arrow", arrow(pa.table([["a"], ["b"], ["c"]], names=["text", "label", "text"])), "a column twice"),
    good("rows.npz", arrays()),
    good("fields.npy", fields()),
    good("really-arrays.csv", arrays()),
    bad("cut.npz", arrays()[:-30], "damaged or cut short"),
    bad("flipped.npz", flipped(arrays(), 120, count=4), "flipped.npz/text.npy", "damaged or cut short"),
    bad("short.npz", arrays({**COLUMNS, "label": COLUMNS["label"][:-1]}), "different lengths", "text: 6, label: 5"),
    bad(
        "objects.npz", arrays({**COLUMNS, "label": [*COLUMNS["label"][:-1], None]}), "label.npy", "holds Python objects"
    ),
    bad("cube.npz", arrays({**COLUMNS, "X": np.ones((6, 2, 2))}), "cube.npz/X.npy", "6x2x2"),
    bad("other.npz", zipped({"text.npy": fields(), "rows.csv": RAW}), "other.npz/rows.csv", "no array of NumPy"),
    bad("bomb.npz", bomb(lambda raw: arrays({"X": np.frombuffer(raw, np.uint8)})), "more than 200 times its size"),
    bad("cut.npy", fields()[:-20], "cut short"),
    bad("more.npy", fields() + b"more", "goes on behind its end"),
    bad("beheaded.npy", fields()[6:], "no array of NumPy"),
    bad("no-rows.npy", fields([]), "no rows"),
    bad("empty.npy", b"", "The file is empty"),
    bad("text.npz", TABLE, "no array of NumPy"),
    bad("image.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "an image, not a table"),
    bad("paper.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF, not a table"),
    bad("rows.jsonl", pickle.dumps(OBJECTS), "a pickle of Python, not a table"),
    bad("rows.csv.bz2", bz2.compress(RAW), "packed by bzip2", data={"format": "csv"}),
    bad("noise.csv", bytes((i * 7919 >> 3) % 255 + 1 for i in range(5000)), "binary, no text"),
    good("plain.csv.gz", RAW),
    good("packed.csv", gz(RAW)),
    good("two.csv.gz", gz(RAW) + gz(b"mine is blue,post\n"), rows=[*ROWS, ("mine is blue", "")]),
    bad("cut.csv.gz", gz(RAW)[:-12], "gzip file is damaged or cut short"),
    bad("flipped.csv.gz", flipped(gz(RAW), -8 + len(gz(RAW))), "gzip file is damaged"),
    bad("after.csv.gz", gz(RAW) + b"more", "gzip file is damaged"),
    bad("empty.csv.gz", gz(b""), "The file is empty"),
    bad("twice.csv.gz", gz(gz(RAW)), "binary, no text"),
    bad("bomb.csv.gz", bomb(gz), "more than 200 times its size"),
    bad("cut.csv.xz", lzma.compress(RAW)[:-20], "xz file is damaged or cut short"),
    bad("flipped.csv.xz", flipped(lzma.compress(RAW), 40), "xz file is damaged"),
    bad("bomb.csv.xz", bomb(lambda raw: lzma.compress(raw, preset=0)), "more than 200 times its size"),
    bad("cut.csv.zst", pa.Codec("zstd").compress(RAW, asbytes=True)[:-10], "zstd file is damaged or cut short"),
    bad("bomb.csv.zst", bomb(lambda raw: pa.Codec("zstd").compress(raw, asbytes=True)), "more than 200 times its size"),
    good("rows.db", database, "query-unordered", source="sqlite:///{}#tickets"),
    bad("cut.db", lambda path: database(path, cut=4096), "database cannot be read", source="sqlite:///{}#tickets"),
    bad("text.db", TABLE, "database cannot be read", "not a database", source="sqlite:///{}#tickets"),
    bad("no-rows.db", lambda path: database(path, rows=[]), "gives no rows", source="sqlite:///{}#tickets"),
    bad("other.db", database, "no table 'orders'", "tickets", code=2, source="sqlite:///{}#orders"),
    bad("file.db", database, "a database of SQLite", "#TABLE", data={"format": "csv"}),
]

SPREADSHEETS = [
    good("computed.xlsx", sheet([*SHEET, ["mine is blue", _COMPUTED]]), rows=[*ROWS, ("mine is blue", "")]),
    good(
        "formulas.xlsx",
        sheet([*SHEET, [_FORMULA, "post"]]),
        "formula-without-value",
        "empty-text",
        read=7,
        dropped={"empty text": 1},
    ),
    good("blank-rows.xlsx", sheet([*SHEET[:4], [], [None, " "], *SHEET[4:]]), read=8, dropped={"blank row": 2}),
    good("hidden.xlsx", sheet(change=_hide_first, Old=[["text", "label"], ["old", "old"]], New=SHEET), "sheets-unread"),
    good(
        "dates.xlsx",
        sheet(
            [
                ["text", "label"],
                *(
                    [b'<c %s s="1"><v>460' + f"{i}</v></c>".encode(), "post" if i % 2 else "money"]
                    for i in range(10, 13)
                ),
            ]
        ),
        read=3,
        kept=("2025-12-19", "2025-12-20", "2025-12-21"),
    ),
    bad("merged.xlsx", sheet([*SHEET, ["mine is blue", None]]), "label-missing", "merged.xlsx row 8"),
    bad(
        "errors.xlsx",
        sheet([*SHEET, ["mine is blue", b'<c %s t="e"><v>#N/A</v></c>']]),
        "label-missing",
        "errors.xlsx row 8",
    ),
    bad("title.xlsx", sheet([["All tickets"], *SHEET]), "seems to be a title"),
    bad("twice.xlsx", sheet([["text", "text"], ["a", "b"]]), "twice.xlsx row 1", "a column twice"),
    bad("header.xlsx", sheet([["text", "label"]]), "a header and no rows"),
    bad("empty.xlsx", sheet([]), "holds no rows"),
    bad("cut.xlsx", sheet(change=lambda raw: raw[:-100]), "damaged or cut short"),
    bad(
        "flipped.xlsx",
        sheet(change=lambda raw: flipped(raw, raw.index(b"worksheets/s0.xml") + 20, count=30)),
        "damaged",
    ),
    bad("bomb.xlsx", sheet([["text", "label"], ["w" * (55 * MIB), "post"]]), "more than 200 times its size"),
    bad("table.xlsx", TABLE, "no spreadsheet"),
    bad("page.xls", "<html><table><tr><td>text</td></tr></table></html>", "no spreadsheet"),
    bad("locked.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "damaged or no spreadsheet"),
    bad("sheet.xlsx", sheet(), "no such sheet", code=2, data={"sheet": "Two"}),
]

_TAR = tarred({"a.csv": RAW[: RAW.index(b"\n", 60) + 1], "b.csv": RAW})
ARCHIVES = [
    good("rows.zip", zipped({"rows/a.csv": RAW, "__MACOSX/._a.csv": b"\0", "rows/README.md": b"#"}), "archive-skipped"),
    good("rows.tar.xz", lzma.compress(tarred({"a.jsonl": _LINES.encode()}))),
    good("splits.zip", zipped({"train.csv": RAW, "test.csv": RAW}), source="{}/train.csv"),
    bad("both.zip", zipped({"train.csv": RAW, "test.csv": RAW}), "several splits", "both.zip/test.csv", code=2),
    bad("ragged.zip", zipped({"a.csv": RAW, "b/c.csv": RAW + b"a,b,c\n"}), "ragged.zip/b/c.csv line 8", "3 fields"),
    bad("cut.zip", zipped({"a.csv": RAW})[:-30], "damaged or cut short"),
    bad("flipped.zip", flipped(zipped({"a.csv": RAW}), 60, count=4), "flipped.zip/a.csv", "damaged"),
    bad(
        "link.zip",
        zipped({"a.csv": RAW, "b.csv": b"/etc/passwd"}, links={"b.csv": stat.S_IFLNK | 0o777}),
        "link.zip/b.csv",
        "a symbolic link",
    ),
    bad(
        "device.zip",
        zipped({"a.csv": RAW, "b.csv": b""}, links={"b.csv": stat.S_IFBLK | 0o644}),
        "device.zip/b.csv",
        "a device",
    ),
    bad("dots.zip", zipped({"a.csv": RAW, "../../b.csv": RAW}), "dots.zip/../../b.csv", "leads out"),
    bad("root.zip", zipped({"a.csv": RAW, "/etc/b.csv": RAW}), "leads out"),
    bad("drive.zip", zipped({"a.csv": RAW, "C:/b.csv": RAW}), "drive.zip/C:/b.csv", "leads out"),
    bad(
        "nested.zip",
        zipped({"a.csv": RAW, "b.csv": zipped({"c.csv": RAW})}),
        "nested.zip/b.csv",
        "an archive in the archive",
    ),
    bad("locked.zip", _password(zipped({"a.csv": RAW})), "locked.zip/a.csv", "a password"),
    bad("bomb.zip", bomb(lambda raw: zipped({"a.csv": raw})), "more than 200 times its size"),
    bad("no-tables.zip", zipped({"a.jpg": b"\xff\xd8", "b.md": b"#"}), "holds no table", "a.jpg, b.md"),
    bad("empty.zip", zipped({}), "holds no table"),
    bad("empty-table.zip", zipped({"a.csv": RAW, "b.csv": b""}), "empty-table.zip/b.csv", "The file is empty"),
    bad("long.zip", stored, "long.zip/a.csv line 8", "longer than 64 MiB"),
    bad("accent.zip", zipped({"a.csv": RAW + b"caf\xe9,post\n"}), "accent.zip/a.csv line 8", "cannot be told"),
    bad("other.zip", zipped({"a.csv": RAW}), "no such file in the archive", code=2, source="{}/b.csv"),
    bad("cut.tar", _TAR[:1400], "damaged or cut short"),
    bad("no-end.tar", _TAR[:2048], "damaged or cut short"),
    bad("flipped.tar", flipped(_TAR, 1100), "more after the entry that ends at byte 1,024"),
    bad("two.tar", _TAR + _TAR, "more after the entry"),
    bad(
        "link.tar",
        tarred({"a.csv": RAW, "b.csv": (tarfile.SYMTYPE, "/etc/passwd")}),
        "link.tar/b.csv",
        "a symbolic link",
    ),
    bad("hard.tar", tarred({"a.csv": RAW, "b.csv": (tarfile.LNKTYPE, "a.csv")}), "hard.tar/b.csv", "a hard link"),
    bad("device.tar", tarred({"a.csv": RAW, "null": (tarfile.CHRTYPE, "")}), "device.tar/null", "a device"),
    bad("pipe.tar", tarred({"a.csv": RAW, "b.csv": (tarfile.FIFOTYPE, "")}), "pipe.tar/b.csv", "a pipe"),
    bad("dots.tar", tarred({"../a.csv": RAW}), "dots.tar/../a.csv", "leads out"),
    bad("sparse.tar", _sparse(), "sparse.tar/rows.csv"),
    bad("cut.tar.gz", gz(_TAR)[:-10], "gzip file is damaged or cut short"),
    bad("cut-inside.tar.gz", gz(_TAR[:1400]), "damaged or cut short"),
    bad("bomb.tgz", bomb(lambda raw: gz(tarred({"a.csv": raw}))), "more than 200 times its size"),
    bad("text.tar", TABLE, "damaged or cut short"),
    bad("docs.zip", zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"}), "holds no table"),
]

PLACES = [
    good("link.csv", lambda path: ((path.parent / "rows.csv").write_bytes(RAW), path.symlink_to("rows.csv"))),
    bad("missing.csv", lambda path: None, "no such file", code=2),
    bad("nowhere.csv", lambda path: path.symlink_to("gone.csv"), "no such file", code=2),
    bad("loop.csv", lambda path: path.symlink_to("loop.csv"), "no such file", code=2),
    bad("folder", folder, "b.csv line 8", "3 fields"),
    bad("no-tables", lambda path: (path.mkdir(), (path / "a.jpg").write_bytes(b"\xff\xd8")), "holds no table", code=2),
    bad("folder.csv", lambda path: path.mkdir(), "holds no table", code=2),
    bad("rows", RAW, "does not say its format", code=2),
    bad("rows.data", RAW, "does not say its format", code=2),
    bad("nothing.csv", lambda path: path.symlink_to("/dev/null"), "The file is empty"),
    bad("zeros.csv", lambda path: path.symlink_to("/dev/zero"), "zeros.csv line 1", "longer than 64 MiB"),
    bad("random.csv", lambda path: path.symlink_to("/dev/urandom"), "random.csv line 1", "binary, no text"),
    bad("pipe.jsonl", os.mkfifo, "pipe.jsonl line 7", "longer than 64 MiB"),
]

FILES: list[Damaged] = [*ENCODINGS, *TABLES, *LINES, *WHOLE, *BINARY, *SPREADSHEETS, *ARCHIVES, *PLACES]
