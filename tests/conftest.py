"""What every kind of test may use: tiny checkpoints, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT without dropout."""
    from tiny import model_folder

    return model_folder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def tiny_dropout_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same BERT with dropout 0.1 at every site."""
    from tiny import model_folder

    return model_folder(tmp_path_factory.mktemp("dropout-bert"), dropout=0.1)
