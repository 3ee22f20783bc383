"""One process to fork from, and one unbroken run, for all tests of faults."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from lives import Zygote, run_unbroken

import small


@pytest.fixture(scope="session")
def zygote():
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="session")
def memory():
    """A folder where syncing files costs nothing."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def unbroken(zygote, memory):
    """The run that nothing happens to: its folder, its recipe, and its number of file operations."""
    folder = memory / "classify"
    folder.mkdir()
    recipe = small.recipe(folder, epochs=2)
    count = run_unbroken(zygote, folder, recipe)
    assert len(small.steps(folder / "unbroken")) == 14
    return folder, recipe, count
