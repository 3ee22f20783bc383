"""Pictures and recordings by one name, for tests of what they have in common; and a verb of the command line with what it says."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import album
import concert
from septet.cli import main

TRAIN = {"lr": 3e-3, "epochs": 2, "batch": 16, "precision": "fp32", "threads": 1, "device": "cpu"}


@dataclass(frozen=True)
class Medium:
    """One kind of file.

    Args:
        thing: what one is called; a folder of them is called by the plural.
        column: of the table, and the first word of transformers' task.
        write: writes a folder of them, so many of each label.
        model: writes a tiny checkpoint of a kind.
        make_recipe: writes a recipe.
    """

    thing: str
    column: str
    ending: str
    labels: tuple[str, ...]
    write: Callable[..., Path]
    model: Callable[..., Path]
    make_recipe: Callable[..., Path]

    @property
    def things(self) -> str:
        return f"{self.thing}s"

    def recipe(self, folder: Path, model: Any, **sections: Any) -> Path:
        """Write a recipe that trains on the folder of them beside it."""
        return self.make_recipe(folder, {"train": self.things}, model, **{"train": TRAIN, **sections})

    def finished(self, folder: Path, kind: str, count: int, **train: Any) -> Path:
        """Do the whole journey as a user does, into `folder/runs/a`; what was said is in `folder/told`."""
        self.write(folder / self.things, count)
        self.model(folder / kind, kind)
        source = self.recipe(folder, kind, train={**TRAIN, **train}, evaluate={"bootstrap": 200})
        code, told = said("run", str(source), "--run", str(folder / "runs" / "a"))
        (folder / "told").write_text(told)
        assert code == 0, told
        return folder


PICTURES = Medium("picture", "image", "png", tuple(album.COLOURS), album.album, album.model_folder, album.recipe)
RECORDINGS = Medium(
    "recording", "audio", "wav", tuple(concert.PITCHES), concert.concert, concert.model_folder, concert.recipe
)


def said(*args: str) -> tuple[int, str]:
    """Call the command line; return its exit code and all that it printed."""
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main(list(args))
    assert "Traceback" not in told.getvalue() and "Defect" not in told.getvalue(), told.getvalue()[-2000:]
    return int(ended.value.code or 0), told.getvalue()
