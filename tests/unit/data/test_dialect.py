"""The dialect of a CSV: the delimiter that the rows fit, quotes that are apostrophes, and what is told of both."""

from __future__ import annotations

import pytest

from septet.data import delimited
from septet.data.delimited import Dialect, detect
from septet.data.read import Reading, read
from septet.errors import DataError


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("text,label\nhi; there,x\n", Dialect()),
        ("text\nhi, there\n", Dialect()),
        ("text;label\nhi, there;x\n", Dialect(";")),
        ("name, first;label\nBo;x\nLi, Ann;y\n", Dialect(";")),
        ("id;price, EUR;label\n1;2,50;x\n2;3,10;y\n", Dialect(";")),
        ("a|b,c|d\n1|2,3|4\n", Dialect("|")),
        ("text\tlabel\nhi, there\tx\n", Dialect("\t")),
        ("text,label\n'hi, there',x\n'don''t',y\n", Dialect(",", "'")),
        ("'text';'label'\n'it''s';'x'\n", Dialect(";", "'")),
        ("text,label\n'tis the season,x\n'twas night,y\n", Dialect()),
        ("text,label\nthe 'best',x\n'quoted',y\n", Dialect()),
        ('text,label\n"hi, there",x\n', Dialect()),
        ("\n\ntext;label\na;x\n", Dialect(";")),
        ("text;label\n" + 'say "hi"; x\n' * 3, Dialect(";")),
        ("text,label\n" + "w" * 200_000 + ",x\n", Dialect()),
        ("text;label\n" + '"a;b\nc";x\n' * 20_000, Dialect(";")),
    ],
)
def test_the_dialect_is_the_one_that_the_rows_fit(text, dialect):
    assert detect(text) == dialect


def test_what_is_unusual_is_told_and_a_delimiter_that_was_given_is_not(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text;label\nhi, there;x\n")
    (found,) = read(path).findings
    assert (found.slug, found.level, found.evidence["delimiter"]) == ("delimiter-guessed", "note", ";")
    assert "a.csv: its fields are apart by semicolons." in found.message and 'data.delimiter: ";"' in found.fix
    assert not read(path, reading=Reading(delimiter=";")).findings
    (tmp_path / "b.tsv").write_text("text\tlabel\nhi\tx\n")
    assert not read(tmp_path / "b.tsv").findings
    path.write_text("text,label\n'hi, there',x\n")
    (found,) = read(path, reading=Reading(delimiter=",")).findings
    assert "quoted by apostrophes" in found.message and read(path).columns["text"] == ["hi, there"]


def test_a_text_without_end_is_an_open_quote(monkeypatch):
    monkeypatch.setattr(delimited, "LONGEST_LINE", 1000)
    with pytest.raises(DataError, match=r"a quote seems to be open[\s\S]*a\.csv line 3"):
        delimited.parse('text,label\na,x\n"' + "more\n" * 300, "a.csv")
