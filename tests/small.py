"""Runs of `septet.train` on a tiny model, small enough for the tests of faults and parity."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from septet.recipe import Recipe
from septet.run import Run
from tiny import model_folder, rows


def recipe(
    folder: Path,
    *,
    dropout: float = 0.1,
    count: int = 60,
    method: Any = "full",
    task: dict[str, Any] | None = None,
    **train: Any,
) -> dict[str, Any]:
    """Write a tiny model and its data into a folder, and return a recipe on them: 24 updates, checkpoints every other one."""
    import json

    model = folder / "base"
    if not model.exists():
        model_folder(model, dropout=dropout)
        for name, seed, number in (("train", 0, count), ("validation", 1, 12)):
            lines = [json.dumps({"text": r["text"], "label": r["label"]}) for r in rows(number, seed, longest=8)]
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "data": {"train": str(folder / "train.jsonl"), "validation": str(folder / "validation.jsonl")},
        "task": task or {"name": "classify", "text": "text", "label": "label"},
        "model": {"name": str(model), "attention": "eager", "max_length": 32},
        "method": method,
        "train": {
            "epochs": 3,
            "batch": 8,
            "token_budget": 64,
            "lr": 2e-3,
            "save_every": 2,
            "eval_every": 6,
            "precision": "fp32",
            "threads": 1,
            "device": "cpu",
            "metric": "log_loss",
            **train,
        },
    }


def of(what: str, folder: Path, **train: Any) -> dict[str, Any]:
    """Return a small run: `classify`, `head` (with its frozen part computed once), or a decoder by its architecture."""
    import json

    import languages

    source = recipe(folder, method="head" if what == "head" else "full")
    if what not in ("classify", "head"):
        rows = [
            {"question": f"Where is parcel {i}?", "reply": f"Parcel {i} is {'late' if i % 3 else 'here'}."}
            for i in range(60)
        ]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        languages.folder(folder / what, what)
        source["data"] = {"train": str(folder / "rows.jsonl")}
        source["task"] = {"name": "generate", "prompt": "question", "answer": "reply", "decode": {"max_new_tokens": 4}}
        source["model"] = {"name": str(folder / what)}
        source["train"].pop("metric")
    source["model"].pop("attention", None)
    source["train"] |= {"epochs": 1, "token_budget": 256, **train}
    return source


def quiet_recipe() -> dict[str, Any]:
    """Return what `train` needs to be the same on every machine."""
    return {"precision": "fp32", "threads": 1, "device": "cpu", "token_budget": 512}


def begin(source: dict[str, Any], folder: Path) -> tuple[Recipe, Run]:
    """Return the recipe and its run folder, as the command line would make them."""
    loaded = Recipe.load(source)
    run = Run(folder).create()
    run.write_text("recipe.given.yaml", loaded.given)
    return loaded, run


def steps(run: Path) -> list[dict[str, Any]]:
    """Return the records of `steps.jsonl` without their times."""
    return [{k: v for k, v in r.items() if k != "seconds"} for r in Run(run).records("steps.jsonl")]


def no_cleaning() -> Any:
    """Return a cleaning that changes nothing."""
    from septet.data.clean import Cleaning

    return Cleaning("none", control=False, whitespace=False)


@contextlib.contextmanager
def stopped_after(update: int) -> Iterator[None]:
    """Within, a training is interrupted once this update is recorded; it is an error if none is."""
    import pytest

    from septet.course import Course

    record = Course._record

    def stop(course: Course, step: Any) -> None:
        record(course, step)
        if step.step == update:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Course, "_record", stop)
        yield
