"""What a run was begun with, and what has changed since: a resume names every difference, and refuses unless it is told to go on.

`begun.json` is written when training begins: versions, what the processor can do, accelerators, the sha256 of raw files, of prepared
rows, of the model folder's files and of `--code` files, and what updates are computed by. The recipe is compared key by key with the run's resolved one. A resume in
which nothing has changed is silent. Left out: paths and times, which change no bytes, and the packages that only read or write files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from septet import registry
from septet.data.store import Prepared
from septet.errors import RunError
from septet.recipe import Recipe
from septet.recipe.write import redact
from septet.report import Finding
from septet.run import Run

NAME = "begun.json"
GIVEN = "recipe.given.yaml"
_OVERRIDE = "# on the command line: "  # as a recipe's `given` keeps them
VERSIONS = ("septet", "torch", "transformers", "peft", "numpy", "tokenizers")
MODEL_FILES = (".safetensors", ".json", ".txt", ".model", ".jinja")
AUTO = "auto"

WILL = "the result will differ"
MAY = "the result may differ in its last bits"
STAYS = "the weights stay the same"

# what a key of the recipe changes: the longest prefix counts, the result where none is here
_KEYS = {
    "data.folder": None,  # the files themselves are compared
    "train.shard": None,  # as the number of processes: the same up to rounding
    "train.token_budget": MAY,
    "train.micro_batch": MAY,
    "train.threads": MAY,
    "train.device": MAY,
    "train.compile": MAY,
    "train.kernels": MAY,
    "train.activation_checkpointing": STAYS,
    "train.save_every": STAYS,
    "train.keep": STAYS,
    "train.max_time": "the run may stop elsewhere",
    "evaluate": STAYS,
    "deploy": STAYS,
    "serve": STAYS,
    "monitor": STAYS,
    "run": STAYS,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was when the run began; `effect` says what follows."""

    what: str
    then: str
    now: str
    effect: str

    def __str__(self) -> str:
        return f"{self.what}: {self.then} then, {self.now} now; {self.effect}"


def recipe_differences(given: Recipe, run: Run, tables: Collection[str] = ()) -> list[Difference]:
    """Compare the recipe that a resume is given with the one the run was begun with, key by key.

    Args:
        tables: names of the splits that come as tables from Python.
    """
    text = (run.path / GIVEN).read_text()
    if text == given.given:
        return []
    overrides = [line.removeprefix(_OVERRIDE) for line in text.splitlines() if line.startswith(_OVERRIDE)]
    before = _leaves(Recipe.load(run.path / GIVEN, overrides, in_memory=tuple(tables)))
    # a key that was left open may now be given as it was derived
    resolved = run.path / "recipe.yaml"
    derived = _leaves(Recipe.load(resolved, in_memory=tuple(tables))) if resolved.exists() else {}
    now = _leaves(given)
    found = []
    for path in dict.fromkeys([*before, *now]):
        effect, then = _effect(path), before.get(path)
        if effect is None or now.get(path) in (then, derived.get(path) if then is None else then):
            continue
        found.append(Difference(path, _shown(then), _shown(now.get(path)), effect))
    return found


def facts(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Return what a run is begun with, as `begun.json` records it.

    Args:
        folder: of the model and the tokenizer.
    """
    from septet.engine.machine import machine
    from septet.model.artifact import sha256

    here = machine(prepared.path)
    files = sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES and path.is_file())
    return {
        "versions": {"python": here["python"], **{name: here["versions"].get(name) for name in VERSIONS}},
        "instructions": " ".join(here["cpu"]["flags"]),
        "accelerators": ", ".join(found["name"] for found in here["accelerators"]) or "none",
        "raw": {_raw_name(entry): entry["sha256"] for entry in prepared.manifest["raw"]},
        "rows": {split: entry["sha256"] for split, entry in prepared.splits.items()},
        "model": {path.name: sha256(path) for path in files},
        "code": {f"{code.kind} {code.name}": code.sha256 for code in registry.codes()},
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Compare what `facts` returned when the run began with what it returns now."""
    found = [_one(name, then["versions"].get(name), value, MAY) for name, value in now["versions"].items()]
    found.append(_one("instruction sets of the processor", then["instructions"], now["instructions"], MAY))
    found.append(_one("accelerators", then["accelerators"], now["accelerators"], MAY))
    for what, told in (
        ("raw", "data file"),
        ("rows", "prepared rows of"),
        ("model", "model file"),
        ("code", "--code file,"),
    ):
        old, new = then[what], now[what]
        found += [_one(f"{told} {name}", old.get(name), new.get(name), WILL) for name in dict.fromkeys([*old, *new])]
    return [difference for difference in found if difference is not None]


def settle(run: Run, now: dict[str, Any], changed: Sequence[Difference] = (), *, force: bool = False) -> None:
    """Record what a run begins with; at a resume compare it first.

    Args:
        changed: differences of the recipe, found before.
        force: go on in spite of differences, and record them.

    Raises:
        RunError: something has changed; every difference is named.
    """
    now = {**now, "rows": {**now["rows"], **_variants(run)}}
    if not run.started:
        run.write_json(NAME, {**now, "forced": []})
        return
    begun = run.read_json(NAME) if (run.path / NAME).exists() else None
    found = [*changed, *(differences(begun, now) if begun is not None else [])]
    if not found:
        return
    _force(run, begun or {}, now, found, force=force)


def settle_computing(run: Run, now: Mapping[str, Any], *, force: bool = False) -> None:
    """Record what a run's updates are computed by (`hasten.computed_by`); at a resume compare it first.

    Another number of processes is no difference: a run may go on with other processes, which changes its rounding anyway.

    Args:
        force: go on in spite of differences, and record them.

    Raises:
        RunError: updates would be computed by something else; every difference is named.
    """
    begun: dict[str, Any] = run.read_json(NAME) if (run.path / NAME).exists() else {"forced": []}
    then = begun.get("computed") if run.started else None
    if then is None or then["processes"] != now["processes"]:
        run.write_json(NAME, {**begun, "computed": dict(now)})
        return
    found = [_one(what, then.get(what), now.get(what), MAY) for what in dict.fromkeys([*then, *now])]
    if changed := [difference for difference in found if difference is not None]:
        _force(run, begun, {"computed": dict(now)}, changed, force=force)


def _force(
    run: Run, begun: Mapping[str, Any], now: Mapping[str, Any], found: Sequence[Difference], *, force: bool
) -> None:
    """Record differences that are passed over, or refuse."""
    if not force:
        refuse(run, found)
    told = [asdict(each) for each in found]
    run.write_json(NAME, {**begun, **now, "forced": [*begun.get("forced", []), *told]})
    run.event("forced", differences=told)


def refuse(run: Run, found: Sequence[Difference]) -> NoReturn:
    """Name every difference.

    Raises:
        RunError: always.
    """
    raise RunError(
        "\n".join([f"{_things(len(found))} changed since this run was begun.", *(f"  {each}" for each in found)]),
        where=str(run.path),
        hint="put back what was, or go on all the same: --force",
    )


def finding(run: Run) -> Finding | None:
    """Return what was changed between the parts of this run, if anything was."""
    forced = run.read_json(NAME)["forced"] if (run.path / NAME).exists() else []
    if not forced:
        return None
    shown = "; ".join(str(Difference(**each)) for each in forced)
    return Finding(
        "resumed-changed",
        "warning",
        f"The run was resumed although things had changed, so it is a mixture: {shown}.",
        "a run from its start, to know what the change does",
        {"differences": forced},
    )


def _variants(run: Run) -> dict[str, str]:
    """Return the hash of the variants of training rows (`data.augment`), where there are any."""
    made = run.read_json("data.json").get("augmented") if (run.path / "data.json").exists() else None
    return {} if made is None else {"variants of train": made["sha256"]}


def _effect(path: str) -> str | None:
    known = [prefix for prefix in _KEYS if path == prefix or path.startswith(f"{prefix}.")]
    return _KEYS[max(known, key=len)] if known else WILL


def _leaves(recipe: Recipe) -> dict[str, Any]:
    """Return every value by its dotted path, as it may be shown."""

    def walk(values: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(values, dict) and values:
            for name, value in values.items():
                yield from walk(value, f"{path}.{name}" if path else str(name))
        else:
            yield path, redact(values) if isinstance(values, str) else values

    return dict(walk(recipe.to_dict(), ""))


def _one(what: str, then: Any, now: Any, effect: str) -> Difference | None:
    return None if then == now else Difference(what, _shown(then, "none"), _shown(now, "none"), effect)


def _raw_name(entry: Mapping[str, Any]) -> str:
    return f"{Path(entry['path']).name} ({entry['split']})"


def _shown(value: Any, absent: str = AUTO) -> str:
    if value is None:
        return absent
    text = str(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return f"sha256 {text[:12]}…"
    return text if len(text) <= 120 else text[:117] + "…"


def _things(count: int) -> str:
    return "One thing has" if count == 1 else f"{count} things have"
