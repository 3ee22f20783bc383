"""Cleaning: what goes, what stays, and what is counted."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.data.clean import Cleaning, clean_text, clean_texts, clean_value

OFF = Cleaning("none", control=False, whitespace=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  two\t words\n\nhere ", "two words here"),
        ("non\u00a0breaking\u3000wide", "non breaking wide"),
        ("cafe\u0301", "caf\u00e9"),
        ("bell\x07 and \x1b[0m", "bell and [0m"),
        ("page\x0cbreak\x85line", "page break line"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
        ("\u202eevil\u202c", "evil"),
        ("👩\u200d👩\u200d👧 family", "👩\u200d👩\u200d👧 family"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("stray\u200d end \u200d", "stray end"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("ﬁne ①", "ﬁne ①"),
    ],
)
def test_default(before, after):
    assert clean_text(before, Cleaning()) == after


@given(st.text(st.sampled_from("ab \n\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\u200c\u200d\u200b\r"), max_size=30))
def test_separators_become_spaces_and_stray_joiners_go(text):
    spaced = text.translate(str.maketrans(dict.fromkeys("\x0b\x0c\x1c\x1d\x1e\x1f\x85", " "))).replace("\u200b", "")
    expected = re.sub(r"(?<!\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\S)", "", spaced)
    assert clean_text(text, Cleaning(whitespace=False)) == expected


def test_nfkc():
    assert clean_text("ﬁne ① ＡＢ", Cleaning("NFKC")) == "fine 1 AB"


def test_each_part_can_be_switched_off():
    text = "  cafe\u0301\x07  \u200b"
    assert clean_text(text, OFF) == text
    assert clean_text(text, Cleaning("NFC", control=False, whitespace=False)) == "  caf\u00e9\x07  \u200b"
    assert clean_text(text, Cleaning("none", control=True, whitespace=False)) == "  cafe\u0301  "


def test_rows_changed_are_counted_by_kind():
    texts, changed = clean_texts([("a  b", " c"), ("x", "y"), ("a\x07", "cafe\u0301 ")], Cleaning())
    assert texts == [("a b", "c"), ("x", "y"), ("a", "caf\u00e9")]
    assert changed == {"control": 1, "unicode": 1, "whitespace": 2}


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_cleaning_twice_changes_nothing_and_the_result_can_be_stored(text):
    once = clean_text(text, Cleaning())
    assert clean_text(once, Cleaning()) == once
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  plain  ", "plain"),
        ('[{"content":  " a  b"}]', '[{"content": "a b"}]'),
        ('[{"content":  "a b"}]', '[{"content":  "a b"}]'),
        ("[1, 2", "[1, 2"),
        ("[unclosed  text", "[unclosed text"),
        ('{"a": "\\ud83d"}', '{"a": "\ufffd"}'),
        (
            [{"content": " a", "n": 1, "none": None, "list": [" b"]}],
            [{"content": "a", "n": 1, "none": None, "list": ["b"]}],
        ),
        ({"a": " b"}, {"a": "b"}),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_texts_inside_lists_and_objects(before, after):
    assert clean_value(before, Cleaning()) == after


def test_white_space_is_decided_by_the_columns_where_it_is_left_open():
    from septet.recipe.data import Clean

    assert Cleaning.of(Clean()).whitespace is True
    assert Cleaning.of(Clean(), layout=True).whitespace is False
    assert Cleaning.of(Clean(whitespace=True), layout=True).whitespace is True
    assert Cleaning.of(Clean(whitespace=False)).whitespace is False
    assert Cleaning(whitespace=None).whitespace is True


def test_an_artifact_keeps_its_cleaning_and_an_older_one_gets_no_new_steps():
    old = Cleaning.from_json({"unicode": "NFKC", "control": True, "whitespace": False})
    assert old == Cleaning("NFKC", control=True, whitespace=False)
    new = Cleaning(repair=True, html=True, mask=["email"], lines={"b", "a"})
    assert Cleaning.from_json(json.loads(json.dumps(new.to_json()))) == new
