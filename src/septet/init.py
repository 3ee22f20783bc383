"""`septet init DATA`: look at the data and the machine, and write a starter recipe with a reason for each value.

The text and the label column are guessed where they are not given: the label has few different, short values; the text is
the longest column. What depends on the model or on measurements stays `auto` and is derived by `check` and `train`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.errors import UsageError
from septet.recipe.write import flow
from septet.registry import suggest

LABEL_NAMES = ("label", "labels", "class", "category", "target", "intent", "sentiment", "team", "topic", "y")
TEXT_NAMES = ("text", "body", "message", "sentence", "content", "review", "comment", "question", "description")
GROUP_NAMES = re.compile(
    r"(^|_)(customer|user|author|thread|session|document|doc|patient|account|conversation)(_|$|id$)", re.IGNORECASE
)
SPLIT_FILES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
FEW_ROWS, MANY_ROWS = 1_000, 100_000
IMBALANCE = 10
# weights, gradients and AdamW's two averages in fp32, beside the stored weights
BYTES_PER_STORED_BYTE = 4
MEMORY_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Column:
    """What is seen of a column: how many values differ, how long they are, how many are missing."""

    name: str
    counts: Counter[str]
    length: float
    missing: int

    @property
    def num_distinct(self) -> int:
        return len(self.counts)


def init(
    data: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    model: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> str:
    """Return a commented recipe for a data file or folder; write it to `out` if that is given.

    Args:
        text: the text column, or two for a pair; guessed when None.
        label: the label column; guessed when None.
        model: a folder, a hub id or `starter`.
        force: overwrite `out`.

    Raises:
        UsageError: no such data, no such column, no guess possible, or `out` exists.
    """
    from septet.data.read import read
    from septet.run import write_atomic

    target = None if out is None else Path(out)
    if target is not None and target.exists() and not force:
        raise UsageError(
            "The recipe would overwrite a file.", where=str(target), hint="another name: -o FILE; or --force"
        )
    splits = find_splits(Path(data))
    table = read(splits["train"])
    columns = {name: look(name, values) for name, values in table.columns.items()}
    texts = [text] if isinstance(text, str) else list(text or ())
    for name in [*texts, *([label] if label else [])]:
        if name not in columns:
            near = suggest(name, list(columns)) or f"the columns are {', '.join(columns)}"
            raise UsageError(f"There is no column {name!r}.", where=str(splits["train"]), hint=near)
    told_label, label_why = (
        (columns[label], _given("--label", columns[label]))
        if label
        else guess_label(columns, len(table), exclude=texts)
    )
    told_texts, text_why = (
        (texts, _given("--text", columns[texts[0]])) if texts else guess_text(columns, exclude=told_label.name)
    )
    recipe = _recipe(
        splits,
        target,
        len(table),
        columns=columns,
        texts=told_texts,
        text_why=text_why,
        label=told_label,
        label_why=label_why,
        model=model,
    )
    if target is not None:
        write_atomic(target, recipe.encode())
    return recipe


def find_splits(data: Path) -> dict[str, Path]:
    """Return the files of a folder by split, where their names tell; else the data as train."""
    if data.is_dir():
        found: dict[str, Path] = {}
        for split, stems in SPLIT_FILES.items():
            for path in sorted(data.iterdir()):
                if path.is_file() and re.split(r"[._-]", path.name.lower())[0] in stems:
                    found.setdefault(split, path)
        if "train" in found:
            return found
    return {"train": data}


def look(name: str, values: Iterable[Any]) -> Column:
    """Return what is seen of a column."""
    texts = [None if value is None else str(value) for value in values]
    present = [text for text in texts if text is not None and text.strip()]
    return Column(name, Counter(present), sum(map(len, present)) / max(1, len(present)), len(texts) - len(present))


def guess_label(columns: dict[str, Column], num_rows: int, *, exclude: Sequence[str] = ()) -> tuple[Column, str]:
    """Return the column that is most like a label, and why: few different, short values.

    Raises:
        UsageError: none is like a label.
    """
    most = max(2, min(1000, num_rows // 2))
    fit = [c for c in columns.values() if c.name not in exclude and 2 <= c.num_distinct <= most and c.length <= 60]
    named = [c for c in fit if c.name.lower() in LABEL_NAMES]
    if not fit:
        raise UsageError(
            "No column looks like a label (few different, short values).",
            hint=f"--label COL, one of {', '.join(columns)}",
        )
    best = min(named or fit, key=lambda c: (c.missing, c.num_distinct))
    return best, f"guessed: {best.num_distinct} different values in {num_rows:,} rows"


def guess_text(columns: dict[str, Column], *, exclude: str) -> tuple[list[str], str]:
    """Return the column that is most like text, and why: the longest.

    Raises:
        UsageError: there is no other column.
    """
    rest = [c for c in columns.values() if c.name != exclude]
    if not rest:
        raise UsageError(
            "There is only one column; a text and a label are needed.", hint=f"the columns are {', '.join(columns)}"
        )
    best = max(rest, key=lambda c: c.length + (10 if c.name.lower() in TEXT_NAMES else 0))
    return [best.name], f"guessed: the longest column, {best.length:.0f} characters on average"


def _given(option: str, column: Column) -> str:
    return f"given with {option}; {column.num_distinct:,} different values, {column.length:.0f} characters on average"


def _recipe(
    splits: dict[str, Path],
    target: Path | None,
    num_rows: int,
    *,
    columns: dict[str, Column],
    texts: list[str],
    text_why: str,
    label: Column,
    label_why: str,
    model: str | None,
) -> str:
    base = Path.cwd() if target is None else target.resolve().parent
    name = model or "starter"
    lines = [
        f"# A starter recipe for {splits['train'].name}: {num_rows:,} rows, {label.num_distinct} labels. What a key means: septet explain KEY"
    ]
    lines += ["data:", *_data(splits, base, num_rows, columns=columns, label=label)]
    lines += ["", "task:", f"  name: classify  # why: {label.name} has {label.num_distinct} different values"]
    lines += [
        f"  text: {flow(texts[0] if len(texts) == 1 else texts)}  # why: {text_why}",
        f"  label: {flow(label.name)}  # why: {label_why}",
    ]
    lines += [f"  class_weights: none  # why: {_balance(label)}"]
    lines += ["", f"model: {flow(name)}  # why: {_model_why(model)}", _method(name), "", "train:"]
    lines += [f"  {key}: auto  # why: {why}" for key, why in _train_whys(num_rows)]
    lines += [
        "",
        "# Everything else is derived when it is needed, and written with its reason to recipe.yaml of the run folder.",
    ]
    return "\n".join(lines) + "\n"


def _data(
    splits: dict[str, Path], base: Path, num_rows: int, *, columns: dict[str, Column], label: Column
) -> list[str]:
    lines = [
        f"  train: {flow(_relative(splits['train'], base))}  # why: {num_rows:,} rows, columns {', '.join(columns)}"
    ]
    lines += [
        f"  {split}: {flow(_relative(path, base))}  # why: found beside train"
        for split, path in splits.items()
        if split != "train"
    ]
    cut = [split for split in ("validation", "test") if split not in splits]
    share = 0.2 if num_rows < FEW_ROWS else 0.05 if num_rows > MANY_ROWS else 0.1
    reason = (
        "few rows, so more of them for a steady score"
        if num_rows < FEW_ROWS
        else "many rows, so a small share is enough"
        if num_rows > MANY_ROWS
        else "the usual share"
    )
    group = next(
        (
            c
            for c in columns.values()
            if GROUP_NAMES.search(c.name) and 1 < c.num_distinct < num_rows and c.name != label.name
        ),
        None,
    )
    if cut:
        lines += [
            "  split:",
            *(f"    {split}: {share}  # why: about {round(share * num_rows):,} rows; {reason}" for split in cut),
        ]
    if cut and group is not None:
        lines.append(
            f"    group: null  # why: {flow(group.name)} has {group.num_distinct:,} values in {num_rows:,} rows; name it here if its rows resemble each other"
        )
    return lines


def _relative(path: Path, base: Path) -> str:
    """Return a path as the recipe gives it: relative to the recipe where it lies below it or beside it."""
    shown = os.path.relpath(path.resolve(), base)
    return str(path.resolve()) if shown.startswith("../..") else shown


def _balance(label: Column) -> str:
    (common, most), (rare, least) = label.counts.most_common(1)[0], label.counts.most_common()[-1]
    if most >= IMBALANCE * least:
        return f"{rare!r} has {least:,} rows and {common!r} {most:,}; balanced, if the rare labels matter as much"
    return f"the labels are near enough in number ({least:,} to {most:,} rows)"


def _model_why(model: str | None) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if model is not None:
        return "given with --model"
    return (
        f"English, 22 million parameters, runs offline; the right size for {cores} cores"
        if not _has_gpu()
        else "English, runs offline; larger ones fit this GPU: a hub id"
    )


def _method(model: str) -> str:
    import psutil

    memory = psutil.virtual_memory().total
    stored = sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) if Path(model).is_dir() else 0
    if stored * BYTES_PER_STORED_BYTE > MEMORY_SHARE * memory:
        return f"method: lora  # why: training all of {stored / 2**30:.1f} GiB of weights takes about {stored * BYTES_PER_STORED_BYTE / 2**30:.0f} GiB; this machine has {memory / 2**30:.0f} GiB"
    return f"method: full  # why: the strongest, and this machine's {memory / 2**30:.0f} GiB are enough; lora and layers cost less"


def _train_whys(num_rows: int) -> list[tuple[str, str]]:
    return [
        ("epochs", f"derived from the method and {num_rows:,} rows; fix it after the first report"),
        ("lr", "derived from the method; fix it after the first report"),
        ("precision", "derived from a measurement of this machine"),
    ]


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()
