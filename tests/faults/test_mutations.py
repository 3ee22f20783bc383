"""Damaged checkpoint files: never loaded, named, and the checkpoint before them is used.

Neither safetensors nor torch notices a flipped bit. 20 mutations of each file here, 1,000 with `SEPTET_FAULTS=full`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from saving import save, save_best
from septet.engine.state import TrainState, load_best, load_latest

MUTATIONS = 1000 if os.environ.get("SEPTET_FAULTS") == "full" else 20
PAGE = 4096


def values(step: int) -> dict[str, torch.Tensor]:
    return {"a": torch.arange(5000.0) + step, "b": torch.full((700,), step / 7)}


def saved(folder: Path, step: int, rows: int = 1) -> None:
    best = {"step": 5, "metric": "f1", "value": 0.5}
    save(folder, TrainState(step=step, rows=rows, best=best), values(step + rows), values(-step - rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("mutations")
    saved(place, 5)
    save_best(place, values(6), {"step": 4, "metric": "f1", "value": 0.4})
    save_best(place, values(5), {"step": 5, "metric": "f1", "value": 0.5})
    saved(place, 10)
    return place


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """What lay under the same names once: whole files, only not those of this save."""
    place = tmp_path_factory.mktemp("earlier")
    saved(place, 10, rows=2)
    save_best(place, values(9), {"step": 5, "metric": "f1", "value": 0.9})
    return place


def flip(raw, draw, others):
    place = draw.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ 1 << draw.randrange(8)]) + raw[place + 1 :]


def zero(raw, draw, others):
    place = draw.randrange(0, len(raw), PAGE)
    return raw[:place] + bytes(len(raw[place : place + PAGE])) + raw[place + PAGE :]


def truncate(raw, draw, others):
    return raw[: draw.randrange(len(raw))]


def lengthen(raw, draw, others):
    return raw + draw.randbytes(draw.randrange(1, 100))


def swap(raw, draw, others):
    return draw.choice(others)


def delete(raw, draw, others):
    return None


KINDS = (flip, zero, truncate, lengthen, swap, delete)


def mutations(path: Path, others: list[bytes]):
    """Yield the name of each mutation while the file has it; flips come most often, then the others in turn."""
    raw, draw = path.read_bytes(), random.Random(str(path.relative_to(path.parent.parent)))
    count = 0
    while count < MUTATIONS:
        kind = flip if count % 2 else KINDS[count // 2 % len(KINDS)]
        new = kind(raw, draw, others)
        if new == raw:  # a page of zeros made zero
            continue
        path.unlink()
        if new is not None:
            path.write_bytes(new)
        yield kind.__name__
        path.write_bytes(raw)
        count += 1


def others(path: Path, folder: Path, earlier: Path) -> list[bytes]:
    """The other files of the folder, those of the other checkpoint, and those that once had these names."""
    raw = path.read_bytes()
    found = [p.read_bytes() for place in (folder, earlier) for p in sorted(place.glob("*/*"))]
    return [content for content in found if content != raw]


@pytest.mark.parametrize("name", ["masters.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_no_damaged_checkpoint_is_loaded(folder, earlier, name):
    path, seen = folder / "step-000010" / name, set()
    for kind in mutations(path, others(path, folder, earlier)):
        found = load_latest(folder)
        assert found.state.step == 5, kind
        assert all(torch.equal(found.masters[n], v) for n, v in values(6).items())
        (told,) = found.passed_over
        # a file that does not fit its manifest is named; a manifest that does not is too
        assert told.startswith("step-000010: "), told
        assert name in told or (name == "manifest.json" and "was saved as" in told) or "has " in told, told
        seen.add(kind)
    assert seen == {kind.__name__ for kind in KINDS}
    assert load_latest(folder).state.step == 10, "the last mutation is undone"


@pytest.mark.parametrize("name", ["masters.safetensors", "state.json", "manifest.json"])
def test_no_damaged_best_weights_are_loaded(folder, earlier, name):
    path = folder / "best-000005" / name
    for kind in mutations(path, others(path, folder, earlier)):
        assert load_best(folder, 5) is None, kind
    assert torch.equal(load_best(folder, 5)["a"], values(5)["a"])
