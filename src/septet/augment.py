"""Variants of training rows (`data.augment`): made once, kept beside the prepared data, and drawn anew in every epoch.

Variant k of a row follows from seed, row and k alone. The augmenters take turns in an order that is drawn for each row. A variant is left out, and counted, where it changes
nothing, repeats another, loses a protected stretch, or is the text of another row: of train, or of a split that is held out. Only train has variants; labels stay.

The folder `augmented-<hash>` of the prepared data holds them; its name is a hash of all they depend on, so that other recipes on the same data, a resume and every
rank find the same file. What an epoch shows is `engine/versions.py`'s; whether labels survive is asked by `teacher.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from septet import registry
from septet.augmenters import Augmenter, Given, Phrase
from septet.data.rows import row_id
from septet.data.store import Prepared, fingerprint
from septet.durable import write_atomic
from septet.engine.mixture import Mixture
from septet.engine.versions import Versions
from septet.errors import DataError
from septet.model.load import base_folder, resolve
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.tasks import Example
from septet.teacher import Agreement, agreement

FORMAT = 1
FILES = ("copies.parquet", "manifest.json")
WEIGHTS = (".safetensors", ".json", ".txt", ".model")
LOW = 0.9  # share of the variants that must keep their label
SHOWN = 10
ORDINAL = 1 << 32  # ids of variants are counted from here; equal rows are counted from 0


@dataclass(frozen=True, slots=True)
class Copy:
    """One variant: the place of its row in train, its number from 1, who made it, its texts, and its own id."""

    place: int
    number: int
    augmenter: str
    texts: tuple[str, ...]
    row: int


@dataclass(frozen=True, eq=False)
class Augmented:
    """The variants of a run's training rows, and what is known of them."""

    folder: Path
    facts: dict[str, Any]

    @property
    def sha256(self) -> str:
        return self.facts["sha256"]

    def copies(self) -> list[Copy]:
        """Return the variants in the order of their rows.

        Raises:
            DataError: their file is missing or is not the one that was written.
        """
        import pyarrow.parquet as pq

        file = self.folder / FILES[0]
        raw = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            raise DataError(
                "The variants of train are missing or damaged.",
                where=str(file),
                hint=f"remove the folder {self.folder}",
            )
        table = pq.ParquetFile(io.BytesIO(raw), pre_buffer=False).read(use_threads=False)
        columns = [table.column(name).to_pylist() for name in ("place", "number", "augmenter", "texts", "row")]
        return [Copy(p, n, who, tuple(texts), row) for p, n, who, texts, row in zip(*columns, strict=True)]

    def to_json(self) -> dict[str, Any]:
        return {"folder": self.folder.name, **self.facts}

    def book(self, facts: dict[str, Any]) -> None:
        """Add to a run's `data.json` what was made."""
        facts["augmented"] = self.to_json()
        facts["ledger"]["train"]["variants"] = self.facts["made"]
        facts["findings"] += self.findings().to_json()

    def findings(self) -> Report:
        """Return what was made, and whether labels survive it."""
        found, facts = Report(), self.facts
        told = _counts(facts["made"])
        left = f"; left out: {_counts(facts['left_out'])}" if facts["left_out"] else ""
        judged = None if facts["agreement"] is None else Agreement(**facts["agreement"])
        kept = f" {judged.told()}" if judged is not None else ""
        found.add(
            Finding(
                "rows-augmented",
                "note",
                f"train: {sum(facts['made'].values()):,} variants of {facts['varied']:,} of {facts['rows']:,} rows ({told}{left}).{kept}",
                "septet prepare RECIPE --show 5 shows rows beside their variants",
                {key: facts[key] for key in ("made", "left_out", "agreement", "examples")},
            )
        )
        if judged is not None and judged.high < LOW:
            worst = min(judged.by, key=lambda name: judged.by[name]["kept"])
            found.add(
                Finding(
                    "augmentation-changes-labels",
                    "warning",
                    f"Variants seem to change labels. {judged.told()} Least by {worst}: {judged.by[worst]['kept']:.1%}.",
                    f"less of it (data.augment.augmenters: {{{worst}: 0.05}}), other augmenters, or the words that labels hang on in data.augment.keep",
                    {"agreement": facts["agreement"]},
                )
            )
        return found


def augment(recipe: Recipe, prepared: Prepared, *, listen: Listen = quiet) -> Augmented | None:
    """Return the variants of the prepared training rows, made now unless they are there; None where nothing is augmented.

    Raises:
        UsageError: an augmenter lacks the model it needs.
        ModelError: a model folder is unsafe or damaged.
    """
    options = recipe.data.augment
    if not options.on or not prepared.splits["train"]["rows"]:
        return None
    made = {name: registry.part("augmenter", name) for name in options.names}
    reads = any(part.reads_model for part in made.values())
    model = base_folder(recipe) if reads and recipe.model.architecture is None else None
    translators = tuple(_folder(recipe, name) for name in options.translators or ())
    folder = prepared.path / f"augmented-{_key(recipe, prepared, made, model, translators)}"
    found = _read(folder, options.share)
    if found is None:
        device = recipe.train.device if recipe.train.device in ("cpu", "cuda") else None
        makers = {
            name: part(Given(options.strength(name, part.strength), model, translators, device, listen))
            for name, part in made.items()
        }
        found = _make(recipe, prepared, makers, folder, listen)
    return found


def varied(
    augmented: Augmented | None, task: Any, processor: Any, rows: Sequence[Mapping[str, Any]], mixture: Mixture | None
) -> tuple[list[Example], Versions | Mixture | None, Finding | None]:
    """Return the examples of all variants, what an epoch shows with them, and what a user should know.

    Args:
        rows: of train, each of which gives one example.
        mixture: how often an epoch shows each row.
    """
    if augmented is None:
        return [], mixture, None
    copies = augmented.copies()
    texts = list(task.texts)
    changed = [{**rows[c.place], **dict(zip(texts, c.texts, strict=True)), "_row": c.row} for c in copies]
    owners = sorted({c.place for c in copies})
    originals = dict(zip(owners, task.encode([rows[place] for place in owners], processor), strict=True))
    kept: list[Example] = []
    places: list[int] = []
    for copy, (example,) in zip(copies, task.encode(changed, processor), strict=True):
        if list(example.inputs["input_ids"]) != list(originals[copy.place][0].inputs["input_ids"]):
            kept.append(example)
            places.append(copy.place)
    same = len(copies) - len(kept)
    note = None
    if same:
        note = Finding(
            "augmentation-without-effect",
            "warning" if same > 0.1 * len(copies) else "note",
            f"{same:,} of {len(copies):,} variants are the same tokens as their row for this model, and are not shown.",
            "a model that reads all letters as small ones sees no casing: leave that augmenter out"
            if same > 0.1 * len(copies)
            else "",
            {"variants": same},
        )
    if not kept:
        return [], mixture, note
    share = augmented.facts["share"]
    return kept, Versions([int(row["_row"]) for row in rows], places, share, mixture), note


def _make(
    recipe: Recipe, prepared: Prepared, makers: Mapping[str, Augmenter], folder: Path, listen: Listen
) -> Augmented:
    rows, schema = prepared.rows("train"), prepared.schema
    columns = [column for column in schema.texts if schema.keys[column] == "task.text"] or list(schema.texts)
    texts = [tuple(str(row[column]) for column in columns) for row in rows]
    labels = [str(row[schema.label or ""]) for row in rows]
    listen("note", text=f"data: making {recipe.data.augment.copies} variants of each of {len(rows):,} rows")
    held_out = {
        tuple(str(row[column]) for column in columns)
        for split in prepared.splits
        if split != "train"
        for row in prepared.rows(split)
    }
    written = _written(recipe, [int(row["_row"]) for row in rows], texts, makers)
    copies, left_out = _sorted_out(written, texts, labels, held_out)
    judged = agreement(recipe, texts, labels, copies, listen=listen) if recipe.data.augment.check else None
    by_row = {c.place for c in copies}
    facts = {
        "rows": len(rows),
        "varied": len(by_row),
        "made": dict(Counter(c.augmenter for c in copies)),
        "left_out": dict(left_out.most_common()),
        "agreement": None if judged is None else judged.to_json(),
        "examples": [
            {
                "row": " | ".join(texts[c.place]),
                "variant": " | ".join(c.texts),
                "by": c.augmenter,
                "label": labels[c.place],
            }
            for c in copies[:: max(1, len(copies) // SHOWN)][:SHOWN]
        ],
    }
    _write(folder, copies, facts)
    return Augmented(folder, {**_read_facts(folder), "share": recipe.data.augment.share})


@dataclass(frozen=True, slots=True)
class _Draft:
    place: int
    number: int
    augmenter: str
    texts: tuple[str, ...]
    kept: bool


def _written(
    recipe: Recipe, ids: Sequence[int], texts: Sequence[tuple[str, ...]], makers: Mapping[str, Augmenter]
) -> list[_Draft]:
    """Return every variant as its augmenter wrote it, by rows."""
    options = recipe.data.augment
    keep = [re.compile(pattern) for pattern in options.keep]
    wanted: dict[str, list[tuple[int, int]]] = {name: [] for name in makers}
    for place, row in enumerate(ids):
        for number, name in enumerate(_turns(row, options.seed, options.copies, makers), 1):
            wanted[name].append((place, number))
    found = []
    for name, asked in wanted.items():
        rngs = [np.random.Generator(np.random.PCG64([options.seed, number, ids[place]])) for place, number in asked]
        phrases = [[Phrase.of(texts[place][i], keep) for place, _ in asked] for i in range(len(texts[0]))]
        new = [makers[name].augment(column, rngs) for column in phrases]
        for at, (place, number) in enumerate(asked):
            written = tuple(column[at] for column in new)
            survives = all(column[at].survives(text) for column, text in zip(phrases, written, strict=True))
            found.append(_Draft(place, number, name, written, survives))
    return sorted(found, key=lambda draft: (draft.place, draft.number))


def _turns(row: int, seed: int, copies: int, makers: Mapping[str, Augmenter]) -> list[str]:
    """Return who makes each variant of a row: all in turn, those that know one variant once."""
    names = list(makers)
    order = np.random.Generator(np.random.PCG64([seed, 0, row])).permutation(len(names))
    turns = [names[i] for i in order]
    again = [name for name in turns if not makers[name].once]
    while again and len(turns) < copies:
        turns += again
    return turns[:copies]


def _sorted_out(
    written: Sequence[_Draft], texts: Sequence[tuple[str, ...]], labels: Sequence[str], held_out: set[tuple[str, ...]]
) -> tuple[list[Copy], Counter[str]]:
    """Return the variants that are kept, and why how many others are not."""
    known = dict(zip(texts, labels, strict=True))
    left_out: Counter[str] = Counter()
    copies: list[Copy] = []
    seen: set[tuple[str, ...]] = set()
    last = -1
    for draft in written:
        if draft.place != last:
            last, seen = draft.place, set()
        reason = (
            "unchanged"
            if draft.texts == texts[draft.place] or not all(map(str.strip, draft.texts))
            else "a protected word is lost"
            if not draft.kept
            else "the text of a held-out row"
            if draft.texts in held_out
            else "the text of another row"
            if draft.texts in known
            else "repeated"
            if draft.texts in seen
            else ""
        )
        if reason:
            left_out[reason] += 1
            continue
        seen.add(draft.texts)
        row = row_id(draft.texts, labels[draft.place], ordinal=ORDINAL + draft.place)
        copies.append(Copy(draft.place, draft.number, draft.augmenter, draft.texts, row))
    return copies, left_out


def _key(
    recipe: Recipe, prepared: Prepared, made: Mapping[str, Any], model: Path | None, translators: Sequence[Path]
) -> str:
    """Return a hash of all that the variants depend on."""
    options = recipe.data.augment
    codes = {code.name: code.sha256 for code in registry.codes() if code.kind == "augmenter" and code.name in made}
    return fingerprint(
        "augmented",
        FORMAT,
        {split: facts["sha256"] for split, facts in prepared.splits.items()},
        {name: options.strength(name, part.strength) for name, part in made.items()},
        [options.copies, options.keep, options.seed, options.check],
        codes,
        None if model is None else _files(model),
        [_files(folder) for folder in translators],
    )


def _files(folder: Path) -> dict[str, str]:
    from septet.model.artifact import sha256

    return {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.suffix in WEIGHTS and p.is_file()}


def _folder(recipe: Recipe, name: str) -> Path:
    """Return the folder of a model that a recipe names: a path relative to its own, or a hub id."""
    path = recipe.path(name)
    return path if path.is_dir() else resolve(name)


def _read(folder: Path, share: float) -> Augmented | None:
    if not all((folder / name).is_file() for name in FILES):
        return None
    return Augmented(folder, {**_read_facts(folder), "share": share})


def _read_facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / FILES[1]).read_text())


def _write(folder: Path, copies: Sequence[Copy], facts: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "place": pa.array([c.place for c in copies], pa.int64()),
        "number": pa.array([c.number for c in copies], pa.int32()),
        "augmenter": pa.array([c.augmenter for c in copies], pa.string()),
        "texts": pa.array([list(c.texts) for c in copies], pa.list_(pa.string())),
        "row": pa.array([c.row for c in copies], pa.int64()),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    about = {"format": FORMAT, **facts, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write_atomic(temporary / FILES[0], buffer.getvalue())
        write_atomic(temporary / FILES[1], (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())
        # where another process was faster its variants, which are the same, stay
        if _read(folder, 1.0) is None:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
