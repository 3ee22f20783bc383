"""Finished runs that several files ask: one of pictures, one of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a ResNet on a folder of pictures."""
    from media import PICTURES

    return PICTURES.finished(tmp_path_factory.mktemp("pictures"), "resnet", 40)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of an AST, which hears spectrograms of one length."""
    from media import RECORDINGS

    return RECORDINGS.finished(tmp_path_factory.mktemp("sound"), "ast", 30, epochs=6)
