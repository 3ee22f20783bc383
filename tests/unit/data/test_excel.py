"""Spreadsheets: the text a user sees, the right sheet, true row numbers; what is odd is told."""

from __future__ import annotations

import sys
import zipfile

import pytest

import sheets
from septet.data import excel
from septet.data.read import Reading, read
from septet.errors import DataError, MissingExtraError, RecipeError
from septet.prepare import prepare
from septet.run import Run

HEADER = ["text", "label"]


def test_cells_are_the_text_a_user_sees(tmp_path):
    row = [
        "NA",
        "007",
        1,
        -2.5,
        0.30000000000000004,
        1e20,
        True,
        b'<c %s s="1"><v>46053</v></c>',
        b'<c %s s="2"><v>46053.604166666664</v></c>',
        b'<c %s s="3"><v>0.6041666666666666</v></c>',
        b'<c %s s="4"><v>1.25</v></c>',
        b"<c %s><f>1+1</f><v>2</v></c>",
        b'<c %s t="str"><f>"a"&amp;"b"</f><v>ab</v></c>',
        b'<c %s t="e"><f>NA()</f><v>#N/A</v></c>',
        None,
    ]
    names = [f"c{i}" for i in range(len(row))]
    table = read(sheets.xlsx(tmp_path / "a.xlsx", {"One": [names, row]}))
    (values,) = zip(*table.columns.values(), strict=True)
    shown = (
        "NA",
        "007",
        "1",
        "-2.5",
        "0.3",
        "1e+20",
        "TRUE",
        "2026-01-31",
        "2026-01-31 14:30:00",
        "14:30:00",
        "30:00:00",
    )
    assert values[:11] == shown
    assert values[11:13] == ("2", "ab")
    assert values[14] is None


def test_an_error_of_a_formula_is_no_value(tmp_path):
    path = sheets.xlsx(tmp_path / "a.xlsx", {"One": [HEADER, ["hi", b'<c %s t="e"><f>NA()</f><v>#N/A</v></c>']]})
    assert read(path).columns["label"] == [None]


@pytest.mark.parametrize(
    ("value", "shown"), [(3.0, "3"), (12345678901234567.0, "1.23456789012346e+16"), (False, "FALSE"), ("", None)]
)
def test_one_value(value, shown):
    assert excel.as_shown(value) == shown


def test_blank_rows_are_counted_and_row_numbers_are_those_of_the_sheet(tmp_path):
    rows = [[None], HEADER, ["hi", "x"], [None, None], ["  ", None], ["yo", "y"], [None]]
    table = read(sheets.xlsx(tmp_path / "a.xlsx", {"One": rows}))
    assert table.columns == {"text": ["hi", "yo"], "label": ["x", "y"]}
    assert [table.where(i).rsplit("a.xlsx", 1)[1] for i in (0, 1)] == [" row 3", " row 6"]
    assert table.left_out == {"blank row": 2}
    assert not table.findings


def test_old_and_open_formats(tmp_path):
    (tmp_path / "a.xls").write_bytes(sheets.OLD)
    table = read(tmp_path / "a.xls")
    assert table.columns == {"text": ["héllo", "yo"], "label": ["3", "4.5"], "when": ["2026-01-31", None]}
    assert table.left_out == {"blank row": 1}
    assert read(sheets.ods(tmp_path / "b.ods", "One", [HEADER, ["hi & <b>", "x"]])).rows() == [
        {"text": "hi & <b>", "label": "x"}
    ]


def test_the_content_tells_where_the_ending_does_not(tmp_path):
    path = sheets.xlsx(tmp_path / "a.xlsx", {"One": [HEADER, ["hi", "x"]]})
    assert read(path.rename(tmp_path / "export.csv")).columns == {"text": ["hi"], "label": ["x"]}


def test_several_sheets(tmp_path):
    pages = {"Empty": [], "Tickets": [HEADER, ["hi", "x"]], "Old": [HEADER, ["yo", "y"], ["yo", "z"]]}
    path = sheets.xlsx(tmp_path / "a.xlsx", pages)
    table = read(path)
    assert table.columns["text"] == ["hi"]
    (found,) = table.findings
    assert (found.slug, found.level, found.evidence["others"]) == ("sheets-unread", "warning", ["Old"])
    chosen = read(path, reading=Reading(sheet="Old"))
    assert chosen.columns["label"] == ["y", "z"] and not chosen.findings
    assert chosen.where(0).endswith("a.xlsx [Old] row 2")
    with pytest.raises(RecipeError, match="did you mean Tickets"):
        read(path, reading=Reading(sheet="Tickts"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["text", "text"], ["a", "b"]], ["row 1", "twice: text"]),
        ([HEADER], ["header and no rows"]),
        ([], ["holds no rows"]),
        ([["Tickets of 2026"], HEADER, ["a", "b"]], ["title", "row 2"]),
    ],
)
def test_a_sheet_that_is_no_table_is_named(tmp_path, rows, words):
    with pytest.raises(DataError) as caught:
        read(sheets.xlsx(tmp_path / "a.xlsx", {"One": rows}))
    assert all(word in str(caught.value) for word in ["a.xlsx", *words])


def test_a_first_sheet_of_notes_names_the_next_one(tmp_path):
    path = sheets.xlsx(tmp_path / "a.xlsx", {"Notes": [["about these"]], "Tickets": [HEADER, ["hi", "x"]]})
    with pytest.raises(DataError, match=r"\[Notes\]\n  try: data.sheet: Tickets"):
        read(path)


def test_damaged_files_and_bombs_are_refused(tmp_path):
    whole = sheets.xlsx(tmp_path / "a.xlsx", {"One": [HEADER, ["hi", "x"]]}).read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"noise" * 300)
    for name in ("cut.xlsx", "noise.xls"):
        with pytest.raises(DataError, match="damaged"):
            read(tmp_path / name, reading=Reading("excel"))
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/workbook.xml", b" " * 60_000_000)
    with pytest.raises(DataError, match="200 times"):
        read(tmp_path / "bomb.xlsx")


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = sheets.xlsx(tmp_path / "a.xlsx", {"One": [HEADER, ["hi", "x"]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'septet\[excel\]'"):
        read(path)


def test_prepare_books_blank_rows_and_tells_of_other_sheets(tmp_path, recipe, rows):
    cells = [[row["text"], row["label"]] for row in rows(30)]
    path = sheets.xlsx(
        tmp_path / "a.xlsx", {"One": [HEADER, *cells[:20], [None], *cells[20:]], "Two": [HEADER, ["a", "b"]]}
    )
    found = prepare(recipe({"train": str(path)}), Run(tmp_path / "runs" / "a"))
    books = found.manifest["ledger"]["train"]
    assert (books["read"], books["dropped"]) == (31, {"blank row": 1})
    assert "sheets-unread" in {finding.slug for finding in found.findings}
    chosen = prepare(recipe({"train": str(path), "sheet": "One"}), Run(tmp_path / "runs" / "b"))
    assert "sheets-unread" not in {finding.slug for finding in chosen.findings}
    assert chosen.path != found.path


def test_a_sheet_that_nothing_reads_is_an_error(tmp_path, recipe):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    with pytest.raises(RecipeError, match=r"data\.sheet would be ignored"):
        prepare(recipe({"train": str(tmp_path / "a.csv"), "sheet": "One"}), Run(tmp_path / "runs" / "a"))


def test_formulas_of_opendocument_that_nothing_has_computed_are_counted(tmp_path):
    bare = b'<table:table-cell table:formula="of:=IF(1>0;&quot;a&quot;;2)"/>'
    typed = b'<table:table-cell table:formula="of:=A1" office:value-type="float"></table:table-cell>'
    computed = b'<table:table-cell table:formula="of:=1+1" office:value-type="float" office:value="2"><text:p>2</text:p></table:table-cell>'
    said = b'<table:table-cell table:formula="of:=A1" office:value-type="string" office:string-value="x"/>'
    wide = b'<table:table-cell table:number-columns-repeated="30"/>'
    rows = [["text", "label"], ["a", bare], [typed, "b"], [computed, said], ["c", "d", wide, bare]]
    table = read(sheets.ods(tmp_path / "a.ods", "One & more", rows))
    (found,) = [each for each in table.findings if each.slug == "formula-without-value"]
    assert found.evidence["cells"] == ["B2", "A3", "AG5"]
    assert table.columns["text"][:3] == ["a", None, "2"] and table.columns["label"][2] == "x"
    assert not read(sheets.ods(tmp_path / "b.ods", "One", [["text"], [computed]])).findings
