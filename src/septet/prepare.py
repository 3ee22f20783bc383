"""Stage 1, `septet prepare RECIPE`: from raw tables to clean, separate, audited splits.

The order, and what each stage may change:

1. *Read* every split that is given; of several annotations of a row (`data.annotations`) the label is the one that most gave. Labels and texts stay as written. Lines of JSON lines that cannot be read stop it, or are left out
   and counted where `data.allow` says so.
2. *Sample*: of a path `a.jsonl#500` so many rows; then (`data.sample`) the rows that `datasets`' `shuffle(seed).select(range(N))` would draw of the split as read.
   Then labels are *corrected* and rows dropped as a filled-in review sheet says (`data.corrections`).
3. *Clean* the texts (`data.clean`), and answers that are free text; of labels, at most variants get one spelling.
4. Drop rows without a label (a blocker unless lifted) or answer, rows without text, and rows the task cannot read, in every split:
   they cannot be scored. Then, of train and a given validation split, rows that are too short, too long or in another language, where `data.clean` says so.
5. Drop *duplicates* (same text and label), settle *conflicts* (same text, other label), and take what a later split has too out
   of train and validation (`data.duplicates`, `data.conflicts`, `data.overlap`). A test split that was given loses nothing here.
   So are rows that are in a benchmark (`data.against`).
6. Look for what *gives the label away*, and for *near duplicates*, within and between splits (`data.near`).
7. *Cut* validation and test from train where they are not given (`data.split`); by time, before what later splits have too is taken out.
8. *Doubt* labels that models of other rows do (`data.doubtful`), where asked.
9. *Audit* labels, balance and sizes; write the splits, the ledger and the findings; stop if there is a blocker.

Labels are looked at, and splits stratified, only where they are classes. Columns that the recipe leaves open are found by the task in
the first rows of train.

The result is kept in `prepared/<hash>/` beside the runs. While recipe and raw files are unchanged, by size and time, it is
used again and neither a raw file nor the test split is opened. Balancing (`mixing.py`) and variants
(`augment.py`) change no prepared row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from septet import appraise, doubt
from septet.augment import augment
from septet.data import alike, annotators, audit, chronology, expect, giveaway, repeats, store
from septet.data.ask import check_ignored, facts_of, locate, schema_of, task_of
from septet.data.benchmarks import Benchmark, look_for_benchmarks, read_benchmarks
from septet.data.cleaning.labels import settle_variants
from septet.data.cleaning.stage import clean, drop_by_language, drop_by_length
from septet.data.corrections import correct, ids_as_read
from septet.data.draft import Draft, check_allowed
from septet.data.ledger import Ledger
from septet.data.media import Media
from septet.data.profile import profile, survey
from septet.data.rows import row_ids
from septet.data.sample import draw, draw_labels, draw_path
from septet.data.schema import Schema
from septet.data.sheet import Line, check_free, read_sheet
from septet.data.sources import Source, benchmark_sources, content_stamp, find_sources, origins
from septet.data.split import cut
from septet.data.sql import hide
from septet.data.store import Prepared
from septet.data.unusable import book_left_out, book_unread, drop_unusable
from septet.data.watch import Watch
from septet.meaning import finder
from septet.mixing import book_labels
from septet.page.data import write as write_page
from septet.progress import Listen, quiet
from septet.recipe.data_blocks import Sample
from septet.report import Finding, Report
from septet.review import write_review
from septet.run import Run

FOLDER = "prepared"


def prepare(
    recipe: Any,
    run: Run,
    *,
    tables: Mapping[str, Any] | None = None,
    review: Path | None = None,
    listen: Listen = quiet,
) -> Prepared:
    """Prepare the data of a recipe, or find them prepared, and write the run's `data.json` and `data.html`.

    Args:
        review: where to write a sheet of doubtful rows; raw files are then read although the data are prepared.
        tables: split -> a table in memory (pandas, polars, pyarrow, `datasets.Dataset`, list of dicts) instead of files.

    Raises:
        UsageError: a file is missing, or the recipe names a column that is not there.
        DataError: a file cannot be read; names file and line.
        CheckError: a finding is a blocker; `data.json` is written before.
    """
    listen("stage", name="prepare")
    task, schema, sources = _begun(recipe, tables, reviewed=review is not None)
    root = run.path.parent / FOLDER
    key = _key(recipe, task, schema, sources)
    if review is not None:
        check_free(review)
    prepared = None if tables or review is not None else store.find(root, key)
    if prepared is None:
        raw = _read(recipe, task, schema, sources=sources, reviewed=review is not None, listen=listen)
        prepared = _build(recipe, raw, key=key, root=root, sheet=review, listen=listen)
    else:
        listen("note", text=f"data: unchanged, prepared before in {prepared.path}")
    told = (run.path / "data.json").exists()
    before = run.read_json("data.json") if told else {}
    facts = prepared.to_json(run)
    facts["ledger"] = book_labels(_weighed(facts["ledger"], recipe.data), recipe, prepared)
    facts["tokens"] = appraise.tokens(recipe, prepared, before.get("tokens"))
    facts["target"] = appraise.target(recipe, prepared, before.get("target"), listen=listen)
    facts["findings"] += (facts["target"] or {}).get("findings", [])
    augmented = None if prepared.findings.blockers else augment(recipe, prepared, listen=listen)
    if augmented is not None:
        augmented.book(facts)
    run.write_json("data.json", facts)
    write_page(run, recipe)
    findings = Report(map(Finding.from_json, facts["findings"]))
    if not told:
        if schema is None:
            listen("note", text=_located(prepared))
        listen("note", text=Ledger.from_json(facts["ledger"]).text())
        for finding in findings:
            listen("finding", finding=finding)
    findings.stop_on_blockers()
    return prepared


def rehearse(recipe: Any, *, tables: Mapping[str, Any] | None = None, listen: Listen = quiet) -> Draft:
    """Return what preparing would come to, with examples of what each step changes and drops; nothing is written.

    Raises:
        UsageError, DataError: as in `prepare`.
    """
    listen("stage", name="prepare (dry run)")
    task, schema, sources = _begun(recipe, tables, reviewed=False)
    raw = _read(recipe, task, schema, sources=sources, reviewed=False, listen=listen)
    raw.draft.watch = Watch()
    _refine(raw, recipe, sheet=None, listen=listen)
    return raw.draft


def _begun(recipe: Any, tables: Mapping[str, Any] | None, *, reviewed: bool) -> tuple[Any, Schema | None, list[Source]]:
    """Return the task, the columns where the recipe names them, and where the rows come from, once the recipe makes sense."""
    task = task_of(recipe)
    schema = schema_of(recipe, task)
    if schema is not None:
        check_ignored(schema, recipe, reviewed=reviewed)
    check_allowed(recipe.data.allow)
    expect.check_names(recipe.data)
    return task, schema, find_sources(recipe, tables)


@dataclass(frozen=True, slots=True)
class _Raw:
    """What was read: the draft, the task with its columns, those that it located, the key with all columns named, the files' stamps.

    `origins` says of each row read of a split by which of the recipe's paths it was found, `wanted` which of these ask for how many; `surveys` what the columns of each table hold;
    `corrections` what a review sheet says.
    """

    draft: Draft
    task: Any
    located: dict[str, str]
    key: str
    stamps: list[dict[str, Any]]
    origins: dict[str, np.ndarray]
    wanted: dict[str, Mapping[int, tuple[str, int]]]
    surveys: dict[str, Any]
    corrections: list[Line]
    benchmarks: list[Benchmark]


def _key(recipe: Any, task: Any, schema: Schema | None, sources: list[Source]) -> str:
    """Return the key under which prepared data are found without opening a raw file."""
    addresses = {source.split: source.address for source in sources}
    addresses |= {f"against {name}": source.address for name, source in benchmark_sources(recipe).items()}
    for name in ("corrections", "media"):
        if getattr(recipe.data, name) is not None:
            addresses[name] = [str(recipe.path(getattr(recipe.data, name)).resolve())]
    return store.fingerprint(facts_of(recipe, task, schema), addresses)


def _read(
    recipe: Any, task: Any, schema: Schema | None, *, sources: list[Source], reviewed: bool, listen: Listen
) -> _Raw:
    """Return the splits as read; train comes first, so that its first row can say which columns are meant."""
    splits, stamps, located, told, surveys, telling = {}, [], {}, {}, {}, []
    of: dict[str, np.ndarray] = {}
    votes: dict[str, Any] = {}
    seen: Media | None = None
    for done, source in enumerate(sources):
        listen("progress", what=f"reading {source.split}", done=done, total=len(sources))
        table = source.load(recipe, schema)
        if schema is None:
            used = (recipe.data.split.group, recipe.data.split.time, *(recipe.data.annotations or ()))
            task, located = locate(task, table, without=used)
            schema = Schema.of(recipe, task)
            check_ignored(schema, recipe, reviewed=reviewed)
        of[source.split] = origins(source, table)
        if recipe.data.annotations is not None:
            votes[source.split] = annotators.settle(table, recipe.data.annotations, schema)
        rows = splits[source.split] = schema.extract(table, without_group=source.split != "train")
        told[source.split] = replace(table, columns={})
        if table.media is not None:
            seen = table.media if seen is None else seen.with_(table.media)
        used = [*schema.columns, *(recipe.data.annotations or ())]
        surveys[source.split] = survey(table, used)
        if source.split == "train" and schema.classes:
            others = [column for column in used if column not in schema.members]
            telling = giveaway.telling_columns(table, rows.labels, others)
        stamps += [
            store.raw_entry(source.split, stamp) for stamp in table.stamps or [content_stamp(source.split, rows)]
        ]
    assert schema is not None
    draft = Draft(splits, schema, recipe.data.allow, media=seen)
    for split, rows in splits.items():
        draft.ledger[split].read = len(rows)
        book_unread(draft, split, told[split].unread)
        book_left_out(draft, split, told[split])
        if votes.get(split) is not None:
            annotators.tell(draft, split, votes[split])
    giveaway.tell_columns(draft, telling)
    corrections: list[Line] = []
    if recipe.data.corrections is not None:
        corrections, read = read_sheet(Path(recipe.path(recipe.data.corrections)))
        stamps += [store.raw_entry("corrections", stamp) for stamp in read]
    against, read = read_benchmarks(recipe, schema)
    stamps += [store.raw_entry("against", stamp) for stamp in read]
    wanted = {source.split: source.wanted for source in sources if source.wanted}
    return _Raw(
        draft, task, located, _key(recipe, task, schema, sources), stamps, of, wanted, surveys, corrections, against
    )


def _build(recipe: Any, raw: _Raw, *, key: str, root: Path, sheet: Path | None, listen: Listen) -> Prepared:
    """Return the prepared data of what was read: those that are there, or new ones; write the review sheet where one is asked for."""
    draft, schema = raw.draft, raw.draft.schema
    files = [(entry["split"], entry["sha256"]) for entry in raw.stamps]
    name = store.fingerprint(facts_of(recipe, raw.task, schema), files)
    # a recipe that names the columns, as the resolved one does, finds what one that left them open has made
    facts = {"keys": sorted({key, raw.key}), "raw": raw.stamps, "located": raw.located}
    found = store.existing(root, name, facts=facts)
    if found is not None and sheet is None:
        return found
    lines = _refine(raw, recipe, sheet=sheet, listen=listen)
    if found is not None:
        return found
    sources = _book_sources(draft, recipe.data.files("train"), raw.origins["train"])
    labels = _listed(recipe) or sorted(draft.splits["train"].label_counts()) if schema.classes else []
    facts |= {
        "labels": list(labels),
        "ledger": draft.ledger.to_json(),
        "findings": draft.report.to_json(),
        "profile": profile(draft.splits, schema, raw.surveys, draft.media),
        **({"lines": lines} if lines else {}),
    }
    written = {"splits": draft.splits, "schema": schema, "facts": facts, "sources": sources}
    return store.write(root, name, **written, media=draft.media)


def _book_sources(draft: Draft, paths: list[str], read: np.ndarray) -> list[int] | None:
    """Return the source of each row of train, and book what was read and kept of each; None where there are not several."""
    if len(paths) < 2:
        return None
    kept = read[draft.splits["train"].places]
    counts = zip(*(np.bincount(each, minlength=len(paths)).tolist() for each in (read, kept)), strict=True)
    draft.ledger["train"].sources = {
        hide(path): {"read": n, "kept": m} for path, (n, m) in zip(paths, counts, strict=True)
    }
    return kept.tolist()


def _weighed(ledger: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return the books with the weight of each source of train, where there are several or one has a weight."""
    train, weights = ledger["train"], {hide(path): weight for path, weight in data.weighed().items()}
    if len(weights) < 2 and not data.weights:
        return ledger
    whole = {"read": train["read"], "kept": train["kept"]}
    sources = {path: {**train["sources"].get(path, whole), "weight": weight} for path, weight in weights.items()}
    return {**ledger, "train": {**train, "sources": sources}}


def _refine(raw: _Raw, recipe: Any, *, sheet: Path | None, listen: Listen) -> list[str]:
    """Run the stages after reading, in the order of the module's docstring; return the repeated lines that were taken out."""
    data, draft, schema = recipe.data, raw.draft, raw.draft.schema
    ids = ids_as_read(draft) if sheet is not None or raw.corrections else {}
    _draw_paths(raw, seed=(data.sample or Sample()).seed)
    _sample(draft, data.sample)
    if data.corrections is not None:
        correct(draft, raw.corrections, ids, labels=_listed(recipe))
    annotators.drop_tied(draft)
    lines = _clean(draft, raw.task, data.clean, listed=_listed(recipe))
    repeats.drop_duplicates(draft, data.duplicates)
    if schema.classes:
        repeats.settle_conflicts(draft, data.conflicts)
    cut = chronology.cut_by_time(draft, data.split) if data.split.time is not None else []
    repeats.check_groups(draft)
    repeats.separate_splits(draft, data.overlap)
    look_for_benchmarks(draft, raw.benchmarks, data.contamination, threshold=data.near.threshold)
    if schema.classes and schema.prose:
        giveaway.look_for_marks(draft)
    alone = cut if data.overlap == "drop" else ()
    near = None
    if schema.prose:
        near = alike.look_alike(draft, data.near, cut=alone, by_meaning=finder(recipe, listen))
    near = _cut(draft, data.split, near)
    if data.doubtful.policy != "off" or sheet is not None:
        doubts = doubt.look(draft, recipe, alike=near, listen=listen)
        if sheet is not None:
            rows = write_review(sheet, draft, doubts, ids=ids, alike=near)
            then = f"; fill in `corrected` or `verdict`, then data.corrections: {sheet}" if rows else ""
            listen("note", text=f"data: {rows:,} rows to look at in {sheet}{then}")
        if data.doubtful.policy != "off":
            doubt.tell(draft, doubts, data.doubtful.policy)
    if schema.classes:
        audit.check_labels(draft, _listed(recipe))
        audit.check_balance(draft)
    audit.check_sizes(draft)
    for split, rows in draft.splits.items():
        draft.ledger[split].kept = len(rows)
    draft.ledger.check()
    expect.check_expected(draft, data.expect)
    return sorted(lines)


def _clean(draft: Draft, task: Any, options: Any, *, listed: Sequence[str] | None) -> Collection[str]:
    """Clean labels and texts, and drop rows that are of no use; return the repeated lines that were taken out."""
    if draft.schema.media:
        settle_variants(draft, options.labels, listed)
        drop_unusable(draft, task)
        return ()
    lines = clean(draft, options, listed=listed).lines
    drop_unusable(draft, task)
    drop_by_length(draft, options)
    drop_by_language(draft, options)
    audit.check_repeated_text(draft)
    return lines


def _listed(recipe: Any) -> list[str] | None:
    """Return the labels a recipe lists, where its task lets it."""
    return getattr(recipe.task, "labels", None)


def _draw_paths(raw: _Raw, *, seed: int) -> None:
    """Draw the rows of paths that ask for some, `a.jsonl#500`; those of the others stay."""
    for split, wanted in raw.wanted.items():
        kept: list[int] = []
        for source in range(int(raw.origins[split].max()) + 1):
            there = np.flatnonzero(raw.origins[split] == source).tolist()
            path, rows = wanted.get(source, ("", None))
            drawn = there if rows is None else [there[i] for i in draw_path(len(there), rows, seed=seed, path=path)]
            kept += drawn
        raw.draft.keep(split, kept, reason="not sampled")


def _sample(draft: Draft, sample: Any) -> None:
    if sample is not None and sample.labels is not None:
        kept = draw_labels(draft.splits["train"].labels, sample.labels, seed=sample.seed)
        draft.keep("train", kept, reason="not sampled")
    for split, rows in list(draft.splits.items()):
        wanted = getattr(sample, split.split(".")[0], None)
        if sample is not None and wanted is not None:
            draft.keep(split, draw(len(rows), wanted, seed=sample.seed, split=split), reason="not sampled")


def _cut(draft: Draft, options: Any, near: Sequence[int] | None) -> Sequence[int] | None:
    """Cut the splits that are not given from train, and put the splits into their order.

    Args:
        near: for each row of train, one that must be in the same split; None where none must.

    Returns:
        The same of the rows that are left in train.
    """
    shares = {}
    if "validation" not in draft.splits and options.validation:
        shares["validation"] = options.validation
    if not draft.tests and options.test:
        shares["test"] = options.test
    if shares and len(draft.splits["train"]):
        train = draft.splits["train"]
        dealt = train if draft.schema.classes else replace(train, labels=[None] * len(train))
        indices = cut(dealt, row_ids(train), shares=shares, seed=options.seed, stratify=options.stratify, alike=near)
        for split, found in indices.items():
            draft.splits[split] = train.take(found)
            if split != "train":
                draft.ledger.move("train", split, rows=len(found))
        if near is not None:
            places = {old: new for new, old in enumerate(indices["train"])}
            near = [places[near[old]] for old in indices["train"]]
    order = ["train", "validation", *draft.tests]
    draft.splits = {split: draft.splits[split] for split in order if split in draft.splits}
    draft.ledger.accounts = {split: draft.ledger[split] for split in draft.splits}
    return near


def _located(prepared: Prepared) -> str:
    found = prepared.located.items()
    shown = [f"{name} ({key})" for key, each in found for name in (each if isinstance(each, list) else [each])]
    names = " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
    return f"data: found the column{'s' if len(shown) > 1 else ''} {names} in the data"
