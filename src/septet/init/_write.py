"""A plan as the text of a recipe: each value with its reason, what is left open as `auto`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from septet.data import sql
from septet.init._columns import guess_time
from septet.init._plan import Plan
from septet.init._seen import Seen
from septet.recipe.write import flow

GROUP_NAMES = re.compile(
    r"(^|_)(customer|user|author|thread|session|document|doc|patient|account|conversation)(_|$|id$)", re.IGNORECASE
)
# weights, gradients and AdamW's two averages in fp32, beside the stored weights
BYTES_PER_STORED_BYTE = 4
MEMORY_SHARE = 0.6
SECRET_FROM = "PGPASSWORD"  # noqa: S105  (a name: the variable that a drafted recipe takes a password from)


def written(seen: Seen, plan: Plan, *, base: Path, model: str | None) -> str:
    """Return the recipe.

    Args:
        base: the folder that its paths are relative to.
        model: what was asked for; the plan's own when None.
    """
    lines = [f"# A starter recipe for {seen.name}: {plan.counted}. What a key means: septet explain KEY"]
    lines += [f"# {note}" for note in [*_reading(seen), *plan.notes]]
    lines += ["data:", *_data(seen, plan, base)]
    lines += ["", "task:", f"  name: {plan.task}  # why: {plan.why}", *plan.keys]
    name = model or plan.model
    lines += ["", f"model: {flow(name)}  # why: {_model_why(model, plan)}", _method(name), "", "train:"]
    lines += [f"  {key}: auto  # why: {why}" for key, why in _train_whys(plan)]
    lines += [
        "",
        "# Everything else is derived when it is needed, and written with its reason to recipe.yaml of the run folder.",
    ]
    return "\n".join(map(_printable, lines)) + "\n"


def _reading(seen: Seen) -> list[str]:
    """Return what the reader of the rows told, and where a password is expected."""
    train = seen.splits["train"]
    told = [f"{found.message} {found.fix}" for found in seen.table.findings]
    if isinstance(train, str) and ":***@" in sql.hide(train):
        told.append(f"The password of the database is read from the environment: export {SECRET_FROM}=…")
    return told


def _printable(line: str) -> str:
    """Return a line whose comment is text that YAML takes, whatever the columns are called."""
    value, mark, comment = line.partition("# ")
    return value + mark + "".join(each if each.isprintable() else " " for each in comment)


def _data(seen: Seen, plan: Plan, base: Path) -> list[str]:
    told = plan.counted if seen.plain else f"{len(seen.table):,} rows, columns {', '.join(seen.columns)}"
    lines = [f"  train: {flow(_relative(seen.splits['train'], base))}  # why: {told}"]
    lines += [
        f"  {split}: {flow(_relative(path, base))}  # why: found beside train"
        for split, path in seen.splits.items()
        if split != "train"
    ]
    lines += plan.data
    cut = [split for split in ("validation", "test") if split not in seen.splits]
    if not cut:
        return lines
    share, reason = plan.held
    rows = round(share * plan.rows)
    noun = ("document" if seen.plain else "row") + ("" if rows == 1 else "s")
    lines += ["  split:", *(f"    {split}: {share}  # why: about {rows:,} {noun}; {reason}" for split in cut)]
    group = next((c for c in seen.columns.values() if _groups(c.name, c.num_distinct, plan)), None)
    if group is not None:
        lines.append(
            f"    group: null  # why: {flow(group.name)} has {group.num_distinct:,} values in {plan.rows:,} rows; name it here if its rows resemble each other"
        )
    when = guess_time(column for column in seen.columns.values() if column.name not in plan.used)
    if when is not None:
        lines.append(
            f"    time: null  # why: {flow(when.name)} says when a row came to be; name it here if the model is to answer what is newer than what it learns"
        )
    return lines


def _groups(name: str, num_distinct: int, plan: Plan) -> bool:
    return GROUP_NAMES.search(name) is not None and 1 < num_distinct < plan.rows and name not in plan.used


def _relative(path: Path | str, base: Path) -> str:
    """Return a path as the recipe gives it: relative to the recipe where it lies below it or beside it; a database without its password."""
    if isinstance(path, str):
        return _database(path, base)
    shown = os.path.relpath(path.resolve(), base)
    return str(path.resolve()) if shown.startswith("../..") else shown


def _database(source: str, base: Path) -> str:
    address, mark, text = source.partition("#")
    if address.startswith("sqlite:///") and "${" not in address:
        return f"sqlite:///{_relative(Path(address.removeprefix('sqlite:///')).expanduser(), base)}{mark}{text}"
    return sql.hide(address).replace(":***@", f":${{{SECRET_FROM}}}@") + mark + text


def _model_why(model: str | None, plan: Plan) -> str:
    about = plan.about
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if model is not None:
        return "given with --model"
    if not plan.packaged:
        return f"{about}; fetched from the hub once, or a folder"
    return (
        f"English, {about}, runs offline; the right size for {cores} cores"
        if not _has_gpu()
        else f"English, {about}, runs offline; larger ones fit this GPU: a hub id"
    )


def _method(model: str) -> str:
    import psutil

    memory = psutil.virtual_memory().total
    stored = sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) if Path(model).is_dir() else 0
    if stored * BYTES_PER_STORED_BYTE > MEMORY_SHARE * memory:
        return f"method: lora  # why: training all of {stored / 2**30:.1f} GiB of weights takes about {stored * BYTES_PER_STORED_BYTE / 2**30:.0f} GiB; this machine has {memory / 2**30:.0f} GiB"
    return f"method: full  # why: the strongest, and this machine's {memory / 2**30:.0f} GiB are enough; lora and layers cost less"


def _train_whys(plan: Plan) -> list[tuple[str, str]]:
    rows = "documents" if plan.task == "pretrain" else "rows"
    return [
        ("epochs", f"derived from the method and {plan.rows:,} {rows}; fix it after the first report"),
        ("lr", "derived from the method; fix it after the first report"),
        ("precision", "derived from a measurement of this machine"),
    ]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()
