"""Databases: SQLite, and a real PostgreSQL server. Nothing is written, nothing secret is kept, a changed row is noticed."""

from __future__ import annotations

import json
import sqlite3
import sys
from urllib.parse import quote

import pytest

import database
from septet.data import sql
from septet.data.read import read
from septet.errors import DataError, MissingExtraError, RecipeError, UsageError
from septet.prepare import prepare
from septet.run import Run

SECRET = quote(database.PASSWORD, safe="")


@pytest.fixture(scope="module")
def server():
    with database.postgres() as place:
        database.execute(
            place,
            "CREATE TABLE tickets (id int PRIMARY KEY, body text, team text, price numeric, opened timestamp, extra jsonb)",
            "CREATE TABLE other (id int)",
            "CREATE TABLE counted (id serial)",
            many=(
                "INSERT INTO tickets VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    (
                        i,
                        f"text number {i}" if i else "10% of %s: 12:30",
                        "ab"[i % 2],
                        i + 0.5,
                        "2026-01-31 14:30:00",
                        '{"a": [1]}',
                    )
                    for i in range(29, -1, -1)
                ],
            ),
        )
        yield place


@pytest.fixture
def postgres(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", database.PASSWORD)
    return f"postgresql://{database.USER}:${{PGPASSWORD}}@{server}"


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT, team TEXT, price REAL)")
        connection.executemany(
            "INSERT INTO tickets VALUES (?, ?, ?, ?)",
            [(i, f"text number {i}" if i else "10% of %s: 12:30", "ab"[i % 2], i + 0.5) for i in range(30)],
        )
    connection.close()
    return path


def test_a_table_of_sqlite(shop):
    table = read(f"sqlite:///{shop}#tickets")
    assert table.columns["body"][:2] == ["10% of %s: 12:30", "text number 1"] and len(table) == 30
    assert table.where(4).endswith("shop.db#tickets row 5")
    assert not table.findings
    assert read(f"sqlite:///{shop}").columns == table.columns  # its only table


@pytest.mark.parametrize(
    "query",
    [
        "SELECT body FROM tickets WHERE body LIKE '10%' ORDER BY id",
        "WITH a AS (SELECT * FROM tickets) SELECT body FROM a WHERE id % 30 = 0 AND body LIKE '%12:30' ORDER BY id;",
        "-- the first\n/* of all */ (SELECT body FROM tickets WHERE id = 0)",
    ],
)
def test_a_query_is_passed_on_as_it_is(shop, postgres, query):
    places = [postgres] if "(SELECT body" in query and query[0] == "-" else [f"sqlite:///{shop}", postgres]
    for place in places:
        assert read(f"{place}#{query}").columns == {"body": ["10% of %s: 12:30"]}


def test_a_table_of_postgresql_with_its_types(postgres):
    table = read(f"{postgres}#tickets")
    assert table.columns["id"] == list(range(30))  # in the order of the key, not of the inserts
    row = table.rows()[1]
    assert (str(row["price"]), str(row["opened"]), row["extra"]) == ("1.5", "2026-01-31 14:30:00", {"a": [1]})
    assert not table.findings
    (found,) = read(f"{postgres}#SELECT body::text AS b FROM tickets").findings
    assert found.slug == "query-unordered"
    assert read(f"{postgres}#public.tickets").columns["id"] == table.columns["id"]


def test_many_rows_come_in_parts(postgres, monkeypatch):
    monkeypatch.setattr(sql, "CHUNK", 100)
    table = read(
        f"{postgres}#SELECT n AS a, -n AS b FROM generate_series(1, 950) AS n ORDER BY n", columns={"b": "task.text"}
    )
    assert table.columns == {"b": [-n for n in range(1, 951)]}


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM tickets",
        "DROP TABLE tickets",
        "  update tickets set body = ''",
        "PRAGMA query_only = 0",
        "ATTACH 'x' AS y",
        "-- SELECT\nDELETE FROM tickets",
    ],
)
def test_what_is_no_query_is_refused(shop, query):
    with pytest.raises(RecipeError, match="must begin with SELECT or WITH"):
        read(f"sqlite:///{shop}#{query}")


def test_nothing_is_written_whatever_a_query_says(shop, postgres, caplog):
    for query in (
        "WITH gone AS (DELETE FROM tickets RETURNING *) SELECT * FROM gone",
        "SELECT * INTO copied FROM tickets",
        "SELECT nextval(pg_get_serial_sequence('counted', 'id'))",
        "SELECT lo_create(7)",
    ):
        with pytest.raises(DataError):
            read(f"{postgres}#{query}")
    for query in (
        "SELECT 1; DELETE FROM tickets",
        "SELECT 1; COMMIT; DELETE FROM tickets",
        "SELECT '\\'; COMMIT; DELETE FROM tickets --'",
        "SELECT /* /* */ ' */ 1; COMMIT; DELETE FROM tickets --'",
        "SELECT 1 AS a$x$ ; COMMIT; DELETE FROM tickets -- $x$",
    ):
        for place in (postgres, f"sqlite:///{shop}"):
            with pytest.raises(RecipeError, match="one query"):
                read(f"{place}#{query}")
    assert read(f"sqlite:///{shop}#SELECT ';' AS a -- ; b\n ORDER BY 1;").columns == {"a": [";"]}
    assert len(read(f"{postgres}#tickets")) == len(read(f"sqlite:///{shop}#tickets")) == 30
    assert not caplog.records


def test_what_is_not_there_is_named(shop, postgres, tmp_path):
    with pytest.raises(UsageError, match="did you mean tickets"):
        read(f"sqlite:///{shop}#ticket")
    with pytest.raises(UsageError, match="shop.db"):
        read(f"sqlite:///{tmp_path}/shup.db#tickets")
    with pytest.raises(UsageError, match="several tables.*\n.*\n.*counted, other, tickets"):
        read(postgres)
    with pytest.raises(DataError, match="no such column: absent"):
        read(f"sqlite:///{shop}#SELECT absent FROM tickets")
    with pytest.raises(DataError, match="twice: body"):
        read(f"sqlite:///{shop}#SELECT body, team AS body FROM tickets")
    with pytest.raises(DataError, match="no rows"):
        read(f"sqlite:///{shop}#SELECT * FROM tickets WHERE id > 99")
    with pytest.raises(DataError, match="database of SQLite"):
        read(shop.rename(tmp_path / "shop.csv"))
    (tmp_path / "no.db").write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(DataError, match="cannot be read"):
        read(f"sqlite:///{tmp_path}/no.db#tickets")


def test_no_message_holds_a_password(postgres, server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wr/ong@1")
    for address in (
        postgres,
        f"postgresql://{database.USER}:wr%2Fong%401@{server}",
        f"postgresql://{database.USER}:wr%2Fong%401@127.0.0.1:1/x",
    ):
        with pytest.raises(DataError) as caught:
            read(f"{address}#tickets")
        assert "wr/ong" not in str(caught.value) and "wr%2Fong" not in str(caught.value)
        assert database.USER in str(caught.value)


def test_a_whole_address_in_a_variable(server, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"postgres://{database.USER}:{SECRET}@{server}")
    assert len(read("${DATABASE_URL}#tickets")) == 30
    assert not sql.is_database("${OTHER}/a.csv") and not sql.is_database("a.csv#500")


def test_the_extra_is_named_where_it_is_missing(shop, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'septet\[sql\]'"):
        read(f"sqlite:///{shop}#tickets")


def test_prepare_notices_a_changed_row_and_keeps_no_password(server, tmp_path, recipe):
    database.execute(
        server, "CREATE TABLE IF NOT EXISTS news AS SELECT * FROM tickets", "ALTER TABLE news ADD PRIMARY KEY (id)"
    )
    source = f"postgresql://{database.USER}:{SECRET}@{server}#news"
    made = recipe(
        {
            "train": [
                source,
                f"postgresql://{database.USER}:{SECRET}@{server}#SELECT body, team FROM tickets WHERE id < 0 OR id = 0",
            ],
            "duplicates": "keep",
        },
        text="body",
        label="team",
    )
    first = prepare(made, Run(tmp_path / "runs" / "a"))
    assert prepare(made, Run(tmp_path / "runs" / "b")).path == first.path
    database.execute(server, "UPDATE news SET body = 'another text' WHERE id = 7")
    assert prepare(made, Run(tmp_path / "runs" / "c")).path != first.path
    kept = [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert len(kept) > 6
    assert not any(
        secret.encode() in raw
        for raw in [*kept, made.to_yaml().encode(), made.given.encode()]
        for secret in (SECRET, database.PASSWORD)
    )
    names = json.loads((tmp_path / "runs" / "a" / "data.json").read_text())["ledger"]["train"]["sources"]
    assert [each["read"] for each in names.values()] == [30, 1]


def test_the_same_database_with_another_password_is_the_same_data(server, tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("FIRST", database.PASSWORD)
    paths = set()
    for word in ("${FIRST}", SECRET):
        made = recipe({"train": f"postgresql://{database.USER}:{word}@{server}#tickets"}, text="body", label="team")
        paths.add(prepare(made, Run(tmp_path / "runs" / word[-3:].strip("}"))).manifest["raw"][0]["sha256"])
    assert len(paths) == 1


def test_a_relative_file_is_beside_the_recipe(shop, tmp_path, recipe, monkeypatch):
    monkeypatch.chdir("/")
    made = recipe({"folder": str(tmp_path), "train": "sqlite:///shop.db#tickets"}, text="body", label="team")
    assert prepare(made, Run(tmp_path / "runs" / "a")).ledger["train"].read == 30


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("postgresql://u:secret@h/shop#tickets", "tickets"),
        ("postgresql://u:secret@h/shop#SELECT a FROM b", "shop"),
        ("sqlite:///data/shop.db", "shop"),
        ("${DATABASE_URL}#SELECT 1", "DATABASE_URL"),
    ],
)
def test_a_run_is_named_after_the_table_or_the_database(source, word):
    assert sql.title(source) == word
