"""What every kind of test may use: tiny checkpoints, written once a session."""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crew import Crew

# before torch is imported: two workers of one thread each, and nothing reaches a hub
# and the user's own cache is neither read nor written
KEPT = tempfile.TemporaryDirectory(prefix="septet-cache-")
os.environ["SEPTET_CACHE"] = KEPT.name
# compiled code is slow to make: PyTorch's own place for it lasts from one test run to the next
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")))
for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false"), ("HF_HUB_OFFLINE", "1")):
    os.environ.setdefault(name, value)

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


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Processes that train together, forked from one that has imported everything."""
    from crew import Crew

    made = Crew()
    yield made
    made.close()
