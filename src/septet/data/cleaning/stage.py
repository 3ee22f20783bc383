"""The stage *clean* of preparing data: label variants, then the texts of every split; then rows that are too short, too long, or in another language.

Texts are mended in every split. Rows leave train and a given validation split only: a test split that was given loses none, for the model will meet such
rows too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from septet.data.clean import Cleaning, clean_rows
from septet.data.cleaning.html import has_html
from septet.data.cleaning.labels import settle_variants
from septet.data.cleaning.language import Languages, english
from septet.data.cleaning.lines import repeated_lines
from septet.data.cleaning.personal import find
from septet.data.cleaning.values import texts_in
from septet.data.draft import Draft, is_test, join_places, share
from septet.data.rows import Rows
from septet.data.schema import Schema

TAGGED = 0.05  # share of the rows with HTML tags from which it is told
LOOKED_AT = 50_000  # rows of a split in which personal data and tags are looked for, evenly spread
MIXED, MIXED_ROWS, MIXED_SAMPLE, MIXED_SURE = (
    0.02,
    200,
    2_000,
    0.8,
)  # share that is told; rows from which it is looked for, and in how many; probability
LOOKED_AT_CHARACTERS = 20_000  # of each of their texts
GRAVE = ("card", "iban", "key")  # kinds that nobody writes into a text to be found by


def clean(draft: Draft, options: Any, *, listed: Sequence[str] | None) -> Cleaning:
    """Clean labels and texts, and book what changed.

    Args:
        options: the block `data.clean`.
        listed: the labels of `task.labels`.

    Returns:
        How texts were cleaned, with the lines that were found to return.
    """
    if draft.schema.classes:
        settle_variants(draft, options.labels, listed)
    cleaning = Cleaning.of(options, layout=draft.schema.layout, lines=_boilerplate(draft, options))
    for split, rows in draft.splits.items():
        told = None if draft.watch is None else draft.watch.of(split, rows)
        cleaned = clean_rows(rows, cleaning, classes=draft.schema.classes, tell=told)
        draft.ledger[split].cleaned |= cleaned
    if not options.html:
        _tell_html(draft)
    _tell_personal(draft, options.mask)
    return cleaning


def drop_by_length(draft: Draft, options: Any) -> None:
    """Drop rows whose texts together have fewer or more characters than is asked."""
    if options.min_length is None and options.max_length is None:
        return
    for split in [split for split in draft.splits if not is_test(split)]:
        lengths = _lengths(draft.splits[split], classes=draft.schema.classes)
        kept = [i for i, length in enumerate(lengths) if length >= (options.min_length or 0)]
        draft.keep(split, kept, reason="too short")
        most = options.max_length
        kept = [at for at, i in enumerate(kept) if most is None or lengths[i] <= most]
        draft.keep(split, kept, reason="too long")


def drop_by_language(draft: Draft, options: Any) -> None:
    """Drop rows in other languages than those asked for; where none are, tell whether train has several."""
    if options.language is None:
        _tell_mixed(draft)
        return
    model = Languages()
    for split, rows in list(draft.splits.items()):
        told = model.tell(_read(rows, draft.schema), options.language)
        others = np.flatnonzero(told.others)
        unsure = ~told.others & ~np.isin(told.codes, options.language)
        kept = is_test(split)
        if not len(others) and not unsure.any():
            continue
        counts = Counter(told.codes[others].tolist())
        fate = "" if not len(others) else " and stay, as in every test set" if kept else " and were dropped"
        message = (
            f"{split}: {share(len(others), len(rows))} are in another language than {', '.join(options.language)}{fate}"
        )
        if len(others):
            message += f": {_listed(counts)}; {join_places(rows.some(others.tolist()), len(others))}"
        if unsure.any():
            message += f"; of {int(unsure.sum()):,} more the language is unsure, and they stay"
        draft.find(
            "language-other",
            "warning" if len(others) > len(rows) / 2 and not kept else "note",
            message=f"{message}.",
            fix=f"data.clean.language: [{', '.join([*options.language, *list(counts)[:2]])}]   where they are meant"
            if len(others)
            else "",
            evidence={
                "split": split,
                "rows": len(others),
                "languages": dict(counts.most_common()),
                "unsure": int(unsure.sum()),
                "places": rows.some(others.tolist()),
            },
        )
        if not kept:
            draft.drop(split, others.tolist(), reason="language")


def _tell_mixed(draft: Draft) -> None:
    """Report shares of languages in a sample of train, where it surely has several; texts that are plainly English are not asked about."""
    rows = draft.splits["train"]
    if len(rows) < MIXED_ROWS:
        return
    sample = range(0, len(rows), max(1, len(rows) // MIXED_SAMPLE))
    texts = _read(rows.take(sample), draft.schema)
    open_ones = [i for i, text in enumerate(texts) if not english(text)]
    if len(open_ones) < MIXED * len(texts):
        return
    told = Languages().tell([texts[i] for i in open_ones])
    sure = told.sure >= MIXED_SURE
    counts = Counter(told.codes[sure].tolist())
    if len(open_ones) < len(texts):
        counts["en"] += len(texts) - len(open_ones)
    every = sum(counts.values())
    shares = {code: count / every for code, count in counts.most_common() if count >= max(3, MIXED * every)}
    if len(shares) < 2:
        return
    shown = ", ".join(f"{code} {100 * part:.0f} %" for code, part in shares.items())
    draft.find(
        "languages-mixed",
        "note",
        message=f"train is in several languages: {shown} (of {every:,} rows whose language is sure).",
        fix=f"nothing, if the model should learn all of them; data.clean.language: [{next(iter(shares))}]   keeps one",
        evidence={
            "split": "train",
            "shares": {code: round(part, 4) for code, part in shares.items()},
            "looked_at": len(texts),
        },
    )


def _read(rows: Rows, schema: Schema) -> list[str]:
    """Return what is read of each row, as one text: the answer may be meant in another language."""
    required = [place for place, column in enumerate(schema.texts) if column in schema.required]
    if schema.classes and len(required) == 1:
        return [texts[required[0]] for texts in rows.texts]
    return [" ".join(text for place in required for text in texts_in(texts[place])) for texts in rows.texts]


def _listed(counts: Counter[str]) -> str:
    shown = ", ".join(f"{code} {count:,}" for code, count in counts.most_common(5))
    return shown + (f" and {len(counts) - 5:,} languages more" if len(counts) > 5 else "")


def _lengths(rows: Rows, *, classes: bool) -> list[int]:
    """Return the characters of each row: of its texts, and of its answer where that is free text; not of what JSON adds."""
    if classes:
        return rows.lengths()
    every = zip(rows.texts, rows.labels, strict=True)
    return [sum(len(text) for value in (*texts, label or "") for text in texts_in(value)) for texts, label in every]


def _boilerplate(draft: Draft, options: Any) -> set[str]:
    """Return the lines that return in train, compared after what is done to a text before."""
    if options.boilerplate is None:
        return set()
    before = Cleaning("none", False, False, options.repair, options.html)
    rows = draft.splits["train"]
    plain = Rows(list(rows.texts), list(rows.labels), None, rows.places, rows.where)
    clean_rows(plain, before, classes=draft.schema.classes)
    answers = [] if draft.schema.classes else [label for label in plain.labels if label]
    every = (text for texts in plain.texts for value in texts for text in texts_in(value))
    return repeated_lines([*every, *(text for value in answers for text in texts_in(value))], options.boilerplate)


def _looked_at(rows: Rows) -> Sequence[int]:
    """Return the places of up to `LOOKED_AT` rows, evenly spread."""
    step = max(1, -(-len(rows) // LOOKED_AT))
    return range(0, len(rows), step)


def _tell_html(draft: Draft) -> None:
    rows = draft.splits["train"]
    looked_at = _looked_at(rows)
    found = [i for i in looked_at if any(has_html(text[:LOOKED_AT_CHARACTERS]) for text in rows.texts[i])]
    if len(found) < max(2, TAGGED * len(looked_at)):
        return
    draft.find(
        "html-in-text",
        "warning",
        message=f"train: {share(len(found), len(looked_at))} have HTML tags in their text: {join_places(rows.some(found), len(found))}.",
        fix="data.clean.html: true   takes them out, in training and in what is served; nothing, if tags are what is learned",
        evidence={"split": "train", "rows": len(found), "looked_at": len(looked_at), "places": rows.some(found)},
    )


def _tell_personal(draft: Draft, masked: Sequence[str]) -> None:
    for split, rows in draft.splits.items():
        looked_at = _looked_at(rows)
        counts: Counter[str] = Counter()
        found: dict[str, list[int]] = {}
        for i in looked_at:
            kinds: Counter[str] = Counter()
            for value in rows.texts[i] if draft.schema.classes else (*rows.texts[i], rows.labels[i] or ""):
                kinds.update(
                    {
                        kind: len(spans)
                        for kind, spans in find(value[:LOOKED_AT_CHARACTERS]).items()
                        if kind not in masked
                    }
                )
            counts.update(kinds)
            for kind in kinds:
                found.setdefault(kind, []).append(i)
        if not found:
            continue
        every = sorted({i for places in found.values() for i in places})
        # where they stand is told, never what they are: findings are shown and sent around
        told = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common())
        draft.find(
            "personal-data",
            "warning" if any(kind in GRAVE for kind in found) else "note",
            message=f"{split}: {share(len(every), len(looked_at))} hold personal data or secrets: {told}; {join_places(rows.some(every), len(every))}.",
            fix=f"data.clean.mask: [{', '.join([*masked, *sorted(found)])}]   replaces them, in training and in what is served",
            evidence={
                "split": split,
                "rows": len(every),
                "looked_at": len(looked_at),
                "kinds": dict(counts.most_common()),
                "places": rows.some(every),
            },
        )
