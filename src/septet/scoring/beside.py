"""The plain run beside one with a remedy: what balancing, class weights, focal loss or augmentation changed, label by label.

A plain run is a finished, evaluated one in the same folder, on the same prepared data, whose recipe differs in the remedies alone and has none.
Its scores are read as they stand; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from septet.errors import SeptetError
from septet.metrics import BY_CLASS, split_name
from septet.recipe import Recipe
from septet.run import Run
from septet.scoring import TUNED

REMEDIES = ("data.balance", "data.augment", "task.class_weights", "task.loss", "task.gamma")
SECTIONS = ("data", "task", "model", "method", "optimizer", "train")
# derived from how many rows an epoch shows, or without effect on what is learned
FOLLOWS = (
    "data.folder",
    "train.batch",
    "train.epochs",
    "train.token_budget",
    "train.threads",
    "train.compile",
    "train.activation_checkpointing",
    "train.cache_frozen",
    "train.keep",
    "train.save_every",
)


def plain_run(run: Run, recipe: Recipe, primary: str) -> dict[str, Any] | None:
    """Return the newest plain run beside this one and its scores; None where there is none, or this one is plain.

    Args:
        recipe: the resolved one of the run.
        primary: the metric shown beside accuracy and those by label.
    """
    ours, data = _leaves(recipe), run.read_json("data.json")
    if not _remedies(ours):
        return None
    found = [
        (each.path.joinpath("evaluation.json").stat().st_mtime_ns, each)
        for each in _finished(run)
        if each.read_json("data.json").get("hash") == data["hash"] and _alike(each, ours)
    ]
    if not found:
        return None
    newest = max(found, key=lambda item: item[0])[1]
    theirs = _leaves(Recipe.load(newest.path / "recipe.yaml"))
    return {
        "run": f"../{newest.path.name}",
        "changed": [key for key in REMEDIES if _under(ours, key) != _under(theirs, key)],
        "rows": newest.read_json("costs.json")["rows"],
        "scores": list(_scores(newest, primary)),
    }


def _finished(run: Run) -> Iterator[Run]:
    for folder in sorted(run.path.resolve().parent.iterdir()):
        files = [folder / name for name in ("DONE", "evaluation.json", "data.json", "recipe.yaml", "costs.json")]
        if folder != run.path.resolve() and all(file.is_file() for file in files):
            yield Run(folder)


def _alike(run: Run, ours: Mapping[str, Any]) -> bool:
    try:
        theirs = _leaves(Recipe.load(run.path / "recipe.yaml"))
    except SeptetError:
        return False  # of another version
    left_out = (*REMEDIES, *FOLLOWS)
    same = ({k: v for k, v in each.items() if not k.startswith(left_out)} for each in (ours, theirs))
    return not _remedies(theirs) and next(same) == next(same)


def _remedies(leaves: Mapping[str, Any]) -> bool:
    """Whether a recipe has any remedy."""
    none = {"data.balance.sampling": "none", "task.class_weights": "none", "task.loss": "cross-entropy"}
    usual = all(leaves.get(key, value) == value for key, value in none.items())
    return not usual or any(leaves.get(key) is not None for key in ("data.balance.cap", "data.augment.augmenters"))


def _scores(run: Run, primary: str) -> Iterator[dict[str, Any]]:
    for line in run.records("scores.jsonl"):
        base, label = split_name(line["metric"])
        if line["who"] == TUNED and (
            line["metric"] in (primary, "accuracy", "f1", "recall") or (label and base in BY_CLASS)
        ):
            yield line


def _leaves(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value and path != "task.class_weights":
            for name, inner in value.items():
                walk(inner, f"{path}.{name}")
        else:
            found[path] = value

    values = recipe.to_dict()
    for section in SECTIONS:
        walk(values[section], section)
    return found


def _under(leaves: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {path: value for path, value in leaves.items() if path == key or path.startswith(f"{key}.")}
