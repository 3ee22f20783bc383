"""The ledger balances, always."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from septet.data.ledger import Account, Ledger, record_truncation
from septet.errors import CheckError, DataError, SeptetError
from septet.prepare import prepare
from septet.run import Run

TEXT = st.sampled_from(["", " ", "a", "b", "c  c", "c c", "d", "e\u200b", "e", *(f"text {i}" for i in range(12))])
ROW = st.fixed_dictionaries({"text": st.none() | TEXT, "label": st.sampled_from(["x", "y", "z", "", "X", None])})
TABLE = st.lists(ROW, min_size=1, max_size=40)


def test_lost_rows_are_an_error():
    ledger = Ledger({"train": Account(read=10, kept=8, dropped={"duplicate": 1})})
    with pytest.raises(SeptetError, match="does not balance for train"):
        ledger.check()
    ledger.drop("train", "empty text", rows=1)
    ledger.check()


def test_moved_rows_are_kept_where_they_go():
    ledger = Ledger({"train": Account(read=10, kept=8)})
    ledger.move("train", "validation", rows=2)
    with pytest.raises(SeptetError, match="validation"):
        ledger.check()
    ledger["validation"].kept = 2
    ledger.check()
    assert Ledger.from_json(ledger.to_json()).to_json() == ledger.to_json()


def test_the_table_shows_figures_and_reasons():
    text = Ledger({"train": Account(read=1200, kept=1100, dropped={"duplicate": 100})}).text()
    assert text.splitlines()[1].split() == ["train", "1,200", "0", "0", "100", "1,100", "dropped:", "duplicate", "100"]


def test_the_table_tells_what_cleaning_someone_decided_on():
    account = Account(read=9, kept=9, cleaned={"html": 1200, "masked email": 3, "whitespace": 7})
    assert "   cleaned: html 1,200, masked email 3" in Ledger({"train": account}).text()
    assert "cleaned" not in Ledger({"train": Account(read=9, kept=9, cleaned={"whitespace": 7, "control": 1})}).text()


@given(
    TABLE,
    st.none() | TABLE,
    st.none() | TABLE,
    st.sampled_from(["drop", "keep"]),
    st.sampled_from(["warn", "drop", "keep"]),
    st.sampled_from(["drop", "stop", "keep"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_books_balance_on_any_tables(tmp_path, recipe, train, validation, test, duplicates, conflicts, overlap):
    tables = {"train": train, "validation": validation, "test": test}
    tables = {split: table for split, table in tables.items() if table is not None}
    data = dict.fromkeys(tables, "<memory>") | {"duplicates": duplicates, "conflicts": conflicts, "overlap": overlap}
    run = Run(tmp_path / "runs" / "one")
    with contextlib.suppress(
        CheckError
    ):  # a blocker stops the run after data.json is written; the books must balance all the same
        prepare(recipe(data), run, tables=tables)
    found = run.read_json("data.json")
    for split, account in found["ledger"].items():
        assert account["read"] == len(tables.get(split, []))
        assert account["read"] + account["received"] == account["kept"] + sum(account["dropped"].values()) + sum(
            account["moved"].values()
        )
        assert account["kept"] == found["splits"][split]["rows"]
    assert sum(a["read"] for a in found["ledger"].values()) == sum(
        a["kept"] + sum(a["dropped"].values()) for a in found["ledger"].values()
    )


def test_truncation_is_written_into_data_json(prepared, rows, tmp_path):
    prepared({"train": rows(60)})
    run = Run(tmp_path / "runs" / "one")
    assert run.read_json("data.json")["ledger"]["train"]["truncated_tokens"] is None
    record_truncation(run, "train", rows=3, tokens=120)
    ledger = run.read_json("data.json")["ledger"]
    assert (ledger["train"]["truncated_rows"], ledger["train"]["truncated_tokens"]) == (3, 120)
    assert "truncated 3 (120 tokens)" in Ledger.from_json(ledger).text()
    with pytest.raises(DataError, match="dev"):
        record_truncation(run, "dev", rows=1, tokens=1)
