"""Arrays of NumPy as tables: columns, names, missing values, and what is refused before it costs anything."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from septet.data.read import Reading, read
from septet.errors import DataError


def npy(array: np.ndarray, **how: object) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **how)  # type: ignore[arg-type]
    return out.getvalue()


def test_an_array_of_two_dimensions_is_a_column_for_each_place(tmp_path):
    x = np.array([[1.5, 2.0], [np.nan, 4.25]])
    for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        save(tmp_path / name, X=x, y=np.array([0, 1], np.uint8))
        assert read(tmp_path / name).columns == {"X0": [1.5, None], "X1": [2.0, 4.25], "y": [0, 1]}
    assert read(tmp_path / "a.npz").where(1) == f"{tmp_path / 'a.npz'} row 2"


def test_one_array_is_called_as_its_file(tmp_path):
    np.save(tmp_path / "points.npy", np.arange(6).reshape(2, 3))
    assert read(tmp_path / "points.npy").columns == {"points0": [0, 3], "points1": [1, 4], "points2": [2, 5]}
    np.save(tmp_path / "side.npy", np.asfortranarray(np.arange(6).reshape(2, 3)))
    assert read(tmp_path / "side.npy").columns["side2"] == [2, 5]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_fields_are_columns_in_every_version_of_the_format(tmp_path, version):
    rows = np.array([("a", 1, (1.0, 2.0)), ("é", 2, (3.0, np.nan))], [("word", "U3"), ("n", "i4"), ("at", "f4", 2)])
    (tmp_path / "rows.npy").write_bytes(npy(rows, version=version))
    assert read(tmp_path / "rows.npy").columns == {"word": ["a", "é"], "n": [1, 2], "at0": [1, 3], "at1": [2, None]}


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (np.array([0.1, 1 / 3], np.float32), [0.1, 0.33333334]),
        (np.array([0.1], np.float16), [0.1]),
        (np.array([1.5], ">f8"), [1.5]),
        (np.array([True, False]), [True, False]),
        (np.array(["NA", "b"]), ["NA", "b"]),
        (np.array(["caf\u00e9".encode()]), ["café"]),
        (np.array(["2026-11-29", "NaT"], "datetime64[D]"), ["2026-11-29", None]),
    ],
)
def test_values_are_what_the_array_holds_in_short_exact_form(tmp_path, array, values):
    np.save(tmp_path / "x.npy", array)
    assert read(tmp_path / "x.npy").columns == {"x": values}


def test_content_and_format_tell_it_and_archives_hold_it(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 1)), y=np.zeros(2))
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.bin").write_bytes(raw)
    assert len(read(tmp_path / "a.bin")) == len(read(tmp_path / "a.npz", reading=Reading("numpy"))) == 2
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("one.npz", raw)
        file.writestr("two.npz", raw)
    table = read(tmp_path / "all.zip")
    assert len(table) == 4 and table.where(2).endswith("all.zip/two.npz row 1")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"X": np.ones((3, 2)), "y": np.ones(2)}, r"different lengths[\s\S]*X: 3, y: 2"),
        ({"X": np.ones((2, 2, 2))}, r"one or two dimensions[\s\S]*2x2x2[\s\S]*X\.npy"),
        ({"X": np.float64(1)}, r"single value[\s\S]*X\.npy"),
        ({"X": np.ones((2, 2)), "X0": np.ones(2)}, "Two arrays give a column 'X0'"),
        ({"X": np.ones((0, 2))}, "no rows"),
        ({"X": np.ones(2, complex)}, "a kind that is not read[\\s\\S]*complex128"),
        ({"X": np.zeros((1, 10_001), np.uint8)}, "at most 10,000 columns"),
        ({"X": np.zeros(2, "V4")}, "a kind that is not read"),
        ({"X": np.array([b"\xff"])}, "bytes that are not text"),
        ({"X": np.zeros((2, 2), [("a", "i4")])}, "with fields has one dimension"),
        ({"X": np.zeros(2, [("a", "i4", (2, 2))])}, "field 'a' has several dimensions"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path, members, words):
    np.savez(tmp_path / "a.npz", **members)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path / "a.npz")
    assert "a.npz" in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "x.npy", np.array([Trap()], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", y=np.array(["a", Trap()], object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match="holds Python objects"):
            read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("(99999999999999,)", "799,999,999,999,992 bytes of values are promised, and there are 16"),
        ("(1,)", "goes on behind its end"),
        ("(-2,)", "its shape is"),
        ("(True,)", "its shape is"),
        ("print(2)", "damaged or cut short"),
        ("2", "damaged or cut short"),
    ],
)
def test_a_header_is_believed_where_the_values_are_there(tmp_path, header, words):
    raw = npy(np.ones(2))
    changed = raw.replace(b"(2,), }" + b" " * 20, f"{header}, }}".encode().ljust(27))
    assert changed != raw and len(changed) == len(raw)
    (tmp_path / "a.npy").write_bytes(changed)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "a.npy")
