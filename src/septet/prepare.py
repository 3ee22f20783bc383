"""Stage 1, `septet prepare RECIPE`: from raw tables to clean, separate, audited splits.

The order, and what each stage may change:

1. *Read* every split that is given. Labels and texts stay as written.
2. *Sample* (`data.sample`): the rows that `datasets`' `shuffle(seed).select(range(N))` would draw of the split as read.
3. *Clean* the texts (`data.clean`), never the labels.
4. Drop rows without a label (a blocker unless lifted) and rows without text, in every split: they cannot be scored.
5. Drop *duplicates* (same text and label), settle *conflicts* (same text, other label), and take what a later split has too out
   of train and validation (`data.duplicates`, `data.conflicts`, `data.overlap`). A test split that was given loses nothing here.
6. *Cut* validation and test from train where they are not given (`data.split`).
7. *Audit* labels, balance and sizes; write the splits, the ledger and the findings; stop if there is a blocker.

The result is kept in `prepared/<hash>/` beside the runs. While recipe and raw files are unchanged, by size and time, it is
used again and neither a raw file nor the test split is opened. Left out here: near-duplicates, augmentation, balancing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from septet.data import audit, repeats, store
from septet.data.clean import Cleaning, clean_texts
from septet.data.draft import Draft, check_allowed
from septet.data.profile import describe
from septet.data.rows import row_ids
from septet.data.sample import draw
from septet.data.schema import Schema
from septet.data.sources import Source, content_stamp, find_sources
from septet.data.split import cut
from septet.data.store import Prepared
from septet.errors import RecipeError
from septet.progress import Listen, quiet
from septet.run import Run

FOLDER = "prepared"


def prepare(recipe: Any, run: Run, *, tables: Mapping[str, Any] | None = None, listen: Listen = quiet) -> Prepared:
    """Prepare the data of a recipe, or find them prepared, and write the run's `data.json`.

    Args:
        tables: split -> a table in memory (pandas, polars, pyarrow, `datasets.Dataset`, list of dicts) instead of files.

    Raises:
        UsageError: a file is missing, or the recipe names a column that is not there.
        DataError: a file cannot be read; names file and line.
        CheckError: a finding is a blocker; `data.json` is written before.
    """
    listen("stage", name="prepare")
    schema = Schema.of(recipe)
    if store.ROW in schema.columns:
        raise RecipeError(f"The column name {store.ROW!r} is Septet's own (the row id).", hint="rename the column")
    check_allowed(recipe.data.allow)
    sources = find_sources(recipe, tables)
    root = run.path.parent / FOLDER
    facts = [recipe.data.model_dump(mode="json"), list(schema.texts), schema.label, recipe.task.labels]
    key = store.fingerprint(facts, {source.split: source.address for source in sources})
    prepared = None if tables else store.find(root, key)
    if prepared is None:
        prepared = _build(recipe, schema, sources=sources, root=root, key=key, facts=facts, listen=listen)
    else:
        listen("note", text=f"data: unchanged, prepared before in {prepared.path}")
    told = (run.path / "data.json").exists()
    run.write_json("data.json", prepared.to_json(run))
    findings = prepared.findings
    if not told:
        listen("note", text=prepared.ledger.text())
        for finding in findings:
            listen("finding", finding=finding)
    findings.stop_on_blockers()
    return prepared


def _build(
    recipe: Any, schema: Schema, *, sources: list[Source], root: Any, key: str, facts: list[Any], listen: Listen
) -> Prepared:
    draft, raw = _read(recipe, schema, sources=sources, listen=listen)
    name = store.fingerprint(facts, [(entry["split"], entry["sha256"]) for entry in raw])
    found = store.existing(root, name, key=key, raw=raw)
    if found is not None:
        return found
    _refine(draft, recipe)
    labels = recipe.task.labels or sorted(draft.splits["train"].label_counts())
    manifest = {
        "key": key,
        "raw": raw,
        "labels": list(labels),
        "ledger": draft.ledger.to_json(),
        "findings": draft.report.to_json(),
        "profile": {split: describe(rows) for split, rows in draft.splits.items()},
    }
    return store.write(root, name, splits=draft.splits, schema=schema, facts=manifest)


def _read(recipe: Any, schema: Schema, *, sources: list[Source], listen: Listen) -> tuple[Draft, list[dict[str, Any]]]:
    """Return the splits as read, and the stamps of what was read."""
    draft = Draft({}, recipe.data.allow)
    raw = []
    for done, source in enumerate(sources):
        listen("progress", what=f"reading {source.split}", done=done, total=len(sources))
        table = source.load(recipe, schema)
        rows = schema.extract(table, without_group=source.split != "train")
        draft.splits[source.split] = rows
        draft.ledger[source.split].read = len(rows)
        raw += [store.raw_entry(source.split, stamp) for stamp in table.stamps or [content_stamp(source.split, rows)]]
    return draft, raw


def _refine(draft: Draft, recipe: Any) -> None:
    """Run the stages after reading, in the order of the module's docstring."""
    data = recipe.data
    _sample(draft, data.sample)
    cleaning = Cleaning.of(data.clean)
    for split, rows in draft.splits.items():
        rows.texts, draft.ledger[split].cleaned = clean_texts(rows.texts, cleaning)
    audit.drop_unusable(draft)
    audit.check_repeated_text(draft)
    repeats.drop_duplicates(draft, data.duplicates)
    repeats.settle_conflicts(draft, data.conflicts)
    repeats.check_groups(draft)
    repeats.separate_splits(draft, data.overlap)
    _cut(draft, data.split)
    audit.check_labels(draft, recipe.task.labels)
    audit.check_balance(draft)
    audit.check_sizes(draft)
    for split, rows in draft.splits.items():
        draft.ledger[split].kept = len(rows)
    draft.ledger.check()


def _sample(draft: Draft, sample: Any) -> None:
    for split, rows in list(draft.splits.items()):
        wanted = getattr(sample, split.split(".")[0], None)
        if wanted is not None:
            draft.keep(split, draw(len(rows), wanted, seed=sample.seed, split=split), reason="not sampled")


def _cut(draft: Draft, options: Any) -> None:
    """Cut the splits that are not given from train, and put the splits into their order."""
    shares = {}
    if "validation" not in draft.splits and options.validation:
        shares["validation"] = options.validation
    if not draft.tests and options.test:
        shares["test"] = options.test
    if shares and len(draft.splits["train"]):
        train = draft.splits["train"]
        indices = cut(train, row_ids(train), shares=shares, seed=options.seed, stratify=options.stratify)
        for split, found in indices.items():
            draft.splits[split] = train.take(found)
            if split != "train":
                draft.ledger.move("train", split, rows=len(found))
    order = ["train", "validation", *draft.tests]
    draft.splits = {split: draft.splits[split] for split in order if split in draft.splits}
    draft.ledger.accounts = {split: draft.ledger[split] for split in draft.splits}
