"""Rows of a database, SQLite or PostgreSQL: `sqlite:///shop.db#tickets`, `postgresql://reader:${PGPASSWORD}@host/shop#SELECT body, team FROM tickets`.

A source is SQLAlchemy's URL, `#`, and a table or one query (extra `sql`; PostgreSQL by pg8000 where the URL names no other driver). Where the
database has one table, `#…` can be left out. `${VAR}` is replaced when the database is opened, in a user name or a password by its quoted form. What
messages, ledgers and hashes hold of a source is its name, which has no password.

Nothing is written: a query begins with SELECT or WITH, SQLite's file is opened for reading, and PostgreSQL is asked for a transaction that can only
read. The rows are hashed in their order, and read anew each time they are prepared: a changed table is noticed, at the price of the query.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from septet.data.table import Part, Stamp, Table
from septet.errors import DataError, MissingExtraError, RecipeError, UsageError
from septet.recipe.environment import VARIABLE, expand
from septet.recipe.write import redact
from septet.registry import suggest
from septet.report import Finding

SCHEME = "sql:"  # of the stamp's path: such a source has no size and no time that tell whether it has changed
MAGIC = b"SQLite format 3\0"
CHUNK = 10_000  # rows fetched at a time
_ADDRESS = re.compile(r"(?:sqlite|postgres(?:ql)?)(?:\+\w+)?://", re.IGNORECASE)
_WHOLE = re.compile(r"\$\{[A-Za-z_]\w*\}(?:#|$)")  # `${DATABASE_URL}#tickets`
_QUERY = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(\w+)", re.DOTALL)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*""")
_UNSURE = ("\\", "$", "/*")  # what may quote in a way that is not looked at: then a semicolon anywhere is one too many
_NAME = re.compile(r'[\w$]+(?:\.[\w$]+)?|"[^"]+"(?:\."[^"]+")?')
_COLON = re.compile(r"(?<![:\\]):(?=\w)")
_SHOWN = 60  # characters of a query in messages


@dataclass(frozen=True, slots=True)
class Query:
    """One table or query of a database.

    Args:
        url: the database's address, with its password.
        text: a table's name, or a query; empty: the only table.
        name: what messages call it, without a password.
    """

    url: str
    text: str
    name: str

    @classmethod
    def of(cls, source: str, *, folder: Path | None = None) -> Query:
        """Return the query a text names.

        Args:
            folder: what a relative path of SQLite is relative to; None: the working directory.

        Raises:
            RecipeError: a variable is not set, or the query would do more than read.
        """
        address, _, text = source.partition("#")
        text = expand(text).strip().rstrip(";").rstrip()
        url = _anchored(_expanded(address), folder)
        _check_reads(text, source)
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        return cls(url, text, hide(url) + (f"#{shown}" if shown else ""))

    @property
    def address(self) -> str:
        """What names the source: in full, and without a password."""
        return f"{hide(self.url)}#{self.text}"


def is_database(source: object) -> bool:
    """Whether a path of a recipe or a command line is the address of a database."""
    return isinstance(source, str) and (
        _ADDRESS.match(source) is not None
        or (_WHOLE.match(source) is not None and _ADDRESS.match(expand(source.partition("#")[0])) is not None)
    )


def hide(source: str) -> str:
    """Return a source without its password."""
    return redact(source)


def title(source: str) -> str:
    """Return a word for a source that the name of a folder can hold: its table, or its database."""
    address, _, text = source.partition("#")
    text = text.strip()
    named = text if _NAME.fullmatch(text) else Path(hide(address).split("?")[0]).stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", named).strip("-") or "sql"


def read(query: Query, *, columns: Sequence[str] | None = None) -> Table:
    """Return the rows of a query.

    Args:
        columns: keep only these, where all are there; what is hashed is whole rows.

    Raises:
        MissingExtraError: SQLAlchemy or the driver is not installed.
        UsageError: there is no such file or table, or which table is meant is not said.
        DataError: the database cannot be reached, or the query fails.
    """
    try:
        import sqlalchemy
        import sqlalchemy.exc
    except ImportError:
        raise MissingExtraError("sqlalchemy", "sql", "Reading a database") from None
    with _connected(sqlalchemy, query) as connection:
        try:
            text, ordered = _statement(sqlalchemy, connection, query)
            found = connection.execution_options(yield_per=CHUNK).execute(sqlalchemy.text(_COLON.sub(r"\\:", text)))
            names = list(map(str, found.keys()))
            _check_columns(names, query)
            wanted = columns if columns is not None and set(columns) <= set(names) else names
            kept: dict[str, list[Any]] = {name: [] for name in wanted}
            digest, size = hashlib.sha256(), 0
            for rows in found.partitions():
                for name, values in zip(names, zip(*rows, strict=True), strict=True):
                    if name in kept:
                        kept[name] += values
                content = json.dumps([list(row) for row in rows], default=str, ensure_ascii=True).encode()
                digest.update(content)
                size += len(content)
        except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, UnicodeError) as error:
            raise _failed(error, query) from None
    table = Table(kept, [Part(query.name, 0)], [Stamp(f"{SCHEME}{query.address}", size, 0, digest.hexdigest())])
    if not len(table):
        raise DataError("The query gives no rows.", where=query.name)
    if not ordered:
        table.findings.append(_unordered(query))
    return table


def _expanded(address: str) -> str:
    """Return an address with its variables replaced, quoted where they are part of the user's name or password."""
    if _ADDRESS.match(address) is None:
        return expand(address)
    scheme, mark, rest = address.partition("://")
    user, at, host = rest.rpartition("@")
    user = VARIABLE.sub(lambda match: quote(expand(match[0]), safe=""), user)
    return f"{scheme}{mark}{user}{at}{expand(host)}"


def _anchored(url: str, folder: Path | None) -> str:
    """Return the address with SQLite's file as an absolute path, and PostgreSQL's driver named."""
    scheme, _, rest = url.partition("://")
    if not scheme.lower().startswith("sqlite"):
        return f"postgresql+pg8000://{rest}" if "+" not in scheme else f"{scheme.lower()}://{rest}"
    path = Path(unquote(rest.removeprefix("/").partition("?")[0])).expanduser()
    return f"sqlite:///{((folder or Path.cwd()) / path).resolve()}"


def _check_reads(text: str, source: str) -> None:
    if not text or _NAME.fullmatch(text):
        return
    word = _QUERY.match(text)
    if word is None or word[1].upper() not in ("SELECT", "WITH"):
        raise RecipeError(
            "A source reads a database: its query must begin with SELECT or WITH.",
            where=hide(source),
            received=text[:80],
            hint="#TABLE, or #SELECT text, label FROM table",
        )
    if ";" in _QUOTED.sub(" ", text) or (";" in text and any(mark in text for mark in _UNSURE)):
        raise RecipeError(
            "A source is one query; this may be several (there is a semicolon in it).",
            where=hide(source),
            received=text[:80],
            hint="one query without ;   (or a view of the database)",
        )


@contextmanager
def _connected(sqlalchemy: Any, query: Query) -> Iterator[Any]:
    """Open the database so that nothing can be written."""
    lite = query.url.startswith("sqlite")
    pool = logging.getLogger(
        "sqlalchemy.pool"
    )  # it would print the traceback of a cursor that cannot be closed, beside the error told here
    level = pool.level
    pool.setLevel(logging.CRITICAL)
    try:
        if lite:
            engine = sqlalchemy.create_engine(
                "sqlite://", creator=lambda: _lite(query.url), poolclass=sqlalchemy.pool.NullPool
            )
        else:
            engine = sqlalchemy.create_engine(query.url, poolclass=sqlalchemy.pool.NullPool)
        options = {} if lite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with closing(engine.connect().execution_options(**options)) as connection:
            yield connection
    except ModuleNotFoundError as error:
        if error.name == "pg8000":
            raise MissingExtraError("pg8000", "sql", "Reading PostgreSQL") from None
        raise UsageError(
            f"The driver of this address is not installed: {error.name}.",
            where=query.name,
            hint="postgresql://… takes the driver of pip install 'septet[sql]'",
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError, TypeError, ValueError) as error:
        raise _failed(error, query) from None
    finally:
        pool.setLevel(level)


def _lite(url: str) -> sqlite3.Connection:
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        from septet.data.files import find_files

        find_files(path)  # says what is missing, and what is near
        raise UsageError("This is no file of SQLite.", where=str(path))
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)


def _statement(sqlalchemy: Any, connection: Any, query: Query) -> tuple[str, bool]:
    """Return the query, and whether it says the order of its rows; a table's is that of its primary key."""
    if query.text and not _NAME.fullmatch(query.text):
        return query.text, re.search(r"\border\s+by\b", query.text, re.IGNORECASE) is not None
    inspector = sqlalchemy.inspect(connection)
    known = [*inspector.get_table_names(), *inspector.get_view_names()]
    schema, _, name = query.text.rpartition(".")
    schema, name = schema.strip('"') or None, name.strip('"')
    if not name:
        if len(known) != 1:
            what = "The database has several tables" if known else "The database has no table"
            raise UsageError(
                f"{what}; say which is meant: #TABLE, or #SELECT ….",
                where=query.name,
                hint=f"its tables: {', '.join(sorted(known)[:20])}" if known else None,
            )
        name = known[0]
    elif schema is None and name not in known:
        raise UsageError(
            f"There is no table {name!r}.",
            where=query.name,
            hint=suggest(name, known) or f"its tables: {', '.join(sorted(known)[:20])}",
        )
    quoted = connection.dialect.identifier_preparer.quote_identifier
    keys = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"] if name in known or schema else []
    order = f" ORDER BY {', '.join(map(quoted, keys))}" if keys else ""
    table = ".".join(quoted(part) for part in (schema, name) if part)
    return f"SELECT * FROM {table}{order}", bool(keys)  # noqa: S608  (the names are quoted)


def _check_columns(names: list[str], query: Query) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"The query names a column twice: {', '.join(twice)}.", where=query.name, hint="SELECT a.id AS a_id, …"
        )


def _failed(error: Exception, query: Query) -> DataError:
    """Return what a driver says, without a password."""
    told: Any = getattr(error, "orig", None) or error
    first = told.args[0] if getattr(told, "args", None) else told
    text = str(first.get("M", first)) if isinstance(first, dict) else str(first)
    password = re.search(r"://[^/@\s]*?:([^/@\s]+)@", query.url)
    for secret in {password[1], unquote(password[1])} if password else ():
        text = text.replace(secret, "***")
    reason = redact(" ".join(text.split()))[:200] or type(told).__name__
    return DataError(f"The database cannot be read: {reason}", where=query.name)


def _unordered(query: Query) -> Finding:
    return Finding(
        "query-unordered",
        "note",
        f"{query.name}: the query does not say the order of its rows; another order counts as other data, and is cut into other splits.",
        "end the query with ORDER BY a column that is different in every row",
        {"source": query.name},
    )
