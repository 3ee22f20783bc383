"""A real server in a thread around a small predictor."""

from __future__ import annotations

import contextlib

import pytest
from fake_model import Client, FakePredictor

pytest.importorskip("uvicorn", reason="needs the serve extra")


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def serving(tmp_path, predictor):
    """Start servers around the fake predictor: `with serving(queue=2) as (server, client)`."""
    from septet.serve import Server
    from septet.server.service import Model
    from septet.server.settings import Settings

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "task.json").write_text("{}")
    notes: list[str] = []

    def listen(event, **facts):
        notes.append(facts["text"])

    @contextlib.contextmanager
    def start(load=None, **given):
        settings = Settings(**{"port": 0, "max_wait_ms": 1.0, **given})
        model = Model(predictor, "fake", "0123456789abcdef")
        with Server(folder, settings=settings, listen=listen, load=load or (lambda: model)) as server:
            client = Client(server.port)
            client.notes = notes
            yield server, client

    return start
