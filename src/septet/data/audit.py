"""Audit: what the labels and the texts of the splits say before anything is trained.

Labels are compared as written, and only where they are classes. Each slug has a section in `docs/findings.md`. Repeated rows have
their own file, `repeats`, and so have rows that are of no use, `unusable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from septet.data.balance import remedy
from septet.data.draft import Draft, is_test, join_places, share
from septet.data.rows import Rows

FEW_TRAIN, FEW_SCORED = 50, 100  # below, one row moves a score by a point or more
RARE = 10  # rows of a label; below, neither learning nor a split says much about it
SKEWED, SLIGHTLY_SKEWED = 10.0, 3.0  # rows of the largest label for each row of the smallest
SHIFTED = 0.1  # total variation distance between two label distributions
REPEATED = 0.1  # share of the rows with one and the same text
LONG_FACTOR, LONG_CHARACTERS = 20, 5_000
_NAN, _BLANK_WORDS = "nan", ("null", "none", "na", "n/a", "<na>")
_SHOWN = 8


def check_repeated_text(draft: Draft) -> None:
    """Find a text so frequent that it is likely a placeholder; run before duplicates are dropped."""
    key = draft.schema.key
    for split, rows in list(draft.splits.items()):
        if len(rows) < 2:
            continue
        text, count = Counter(rows.texts).most_common(1)[0]
        if count == len(rows):
            draft.find(
                "constant-text",
                "blocker",
                message=f"{split}: every row has the same text.",
                fix=f"check {key}: is it the right column?",
                evidence={"split": split, "text": text[0][:120]},
            )
        elif count >= 5 and count >= REPEATED * len(rows):
            draft.find(
                "constant-text",
                "warning",
                message=f'{split}: {share(count, len(rows))} have the same text "{text[0][:60]}"; it may be a placeholder.',
                fix=f"check {key}, or remove the placeholder",
                evidence={"split": split, "rows": count, "text": text[0][:120]},
            )


def check_labels(draft: Draft, listed: Sequence[str] | None) -> None:
    """Check the labels of all splits against train and against `task.labels`; unseen ones leave validation and test."""
    _check_missing(draft)
    train = draft.splits["train"].label_counts()
    if len(train) == 1:
        label = next(iter(train))
        draft.find(
            "single-label",
            "blocker",
            message=f'train: every row has the label "{label}"; there is nothing to learn.',
            fix="check task.label: is it the right column?",
            evidence={"label": label, "rows": train[label]},
        )
    if listed is not None:
        _check_listed(draft, listed, train=train)
    known = set(train) | set(listed or ())
    for split, rows in list(draft.splits.items()):
        if split == "train":
            continue
        unseen = [i for i, label in enumerate(rows.labels) if label not in train]
        if not unseen or not train:
            continue
        counts = Counter(str(rows.labels[i]) for i in unseen)
        foreign = [i for i in unseen if rows.labels[i] not in known]
        draft.find(
            "label-unseen",
            "blocker" if foreign else "warning",
            message=f"{split}: {share(len(unseen), len(rows))} have a label that train does not have: {_counts(counts)}; {join_places(rows.some(unseen), len(unseen))}.",
            fix="add such rows to train, or correct the labels",
            evidence={"split": split, "labels": dict(counts), "rows": len(unseen), "places": rows.some(unseen)},
        )
        if foreign:
            draft.drop(split, foreign, reason="label not in train")


def check_balance(draft: Draft) -> None:
    """Report rare labels, imbalance, and label shares that differ between splits."""
    counts = draft.splits["train"].label_counts()
    if len(counts) < 2:
        return
    rows = sum(counts.values())
    if len(counts) > 20 and len(counts) > rows / 3:
        draft.find(
            "many-labels",
            "warning",
            message=f"train: {len(counts):,} labels in {rows:,} rows; this looks like an identifier or free text.",
            fix="check task.label: is it the right column?",
            evidence={"labels": len(counts), "rows": rows},
        )
        return
    rare = {label: count for label, count in counts.items() if count < RARE}
    if rare:
        level = "warning" if min(rare.values()) < 2 else "note"
        draft.find(
            "rare-labels",
            level,
            message=f"train: {_number(len(rare), 'label')} with fewer than {RARE} rows: {_counts(rare)}.",
            fix="collect more of them, or merge them into another label",
            evidence={"labels": rare},
        )
    most, least = next(iter(counts)), list(counts)[-1]
    ratio = counts[most] / counts[least]
    if ratio >= SLIGHTLY_SKEWED:
        setting, why = remedy(counts)
        draft.find(
            "class-imbalance",
            "warning" if ratio >= SKEWED else "note",
            message=f'train: "{most}" has {ratio:.1f} times the rows of "{least}" ({counts[most]:,} and {counts[least]:,}).',
            fix=f"read macro F1 beside accuracy; where rare labels matter as much, {setting} ({why})",
            evidence={"ratio": round(ratio, 2), "counts": counts, "remedy": setting},
        )
    for split in list(draft.splits)[1:]:
        _check_shift(draft, split, train=counts)


def check_sizes(draft: Draft) -> None:
    """Report splits with no rows or few, splits that are not there, and texts of unusual length.

    Neither few rows nor long ones are told of documents, which are cut into windows.
    """
    for split, rows in list(draft.splits.items()):
        if not len(rows):
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in draft.ledger[split].dropped.items())
            why = f" ({draft.ledger[split].read:,} read; dropped: {reasons})" if reasons else ""
            fix = "look at the other findings" if reasons else _more_rows(draft, split)
            draft.find("no-rows", "blocker", message=f"{split} has no rows{why}.", fix=fix, evidence={"split": split})
        elif not draft.schema.documents and len(rows) < (FEW_TRAIN if split == "train" else FEW_SCORED):
            level = "warning" if split == "train" else "note"
            share_of_one = f"one row is {100 / len(rows):.1f} points of accuracy, so " if draft.schema.classes else ""
            cost = (
                "a tuned model will hardly generalise"
                if split == "train"
                else f"{share_of_one}scores have wide intervals"
            )
            draft.find(
                "few-rows",
                level,
                message=f"{split} has {_number(len(rows), 'row')}; {cost}.",
                fix="collect more rows",
                evidence={"split": split, "rows": len(rows)},
            )
        if not (draft.schema.documents or draft.schema.media):
            _check_lengths(draft, split, rows=rows)
    if not len(draft.splits["train"]):
        return
    if "validation" not in draft.splits:
        draft.find(
            "no-validation",
            "warning",
            message="There is no validation split: the last checkpoint is kept, and early stopping cannot work.",
            fix="data.split.validation: 0.1, or data.validation: FILE",
        )
    if not draft.tests:
        draft.find(
            "no-test",
            "note",
            message="There is no test split: the scores are those of validation, which also chose the checkpoint.",
            fix="data.split.test: 0.1, or data.test: FILE",
        )


def _more_rows(draft: Draft, split: str) -> str:
    name = split.split(".")[0]
    if draft.schema.documents:
        return f"name more documents, cut them smaller (data.documents: paragraph), or give data.{name}"
    return f"add rows, or a larger data.split.{name}"


def _check_missing(draft: Draft) -> None:
    counts: Counter[str] = Counter()
    for rows in draft.splits.values():
        counts.update(rows.label_counts())
    for label, count in counts.items():
        word = label.strip().casefold()
        if word == _NAN or word in _BLANK_WORDS:
            level = "blocker" if word == _NAN else "note"
            places = [
                place
                for rows in draft.splits.values()
                for place in rows.some([i for i, found in enumerate(rows.labels) if found == label], 5)
            ]
            draft.find(
                "label-looks-missing",
                level,
                message=f'{_number(count, "row")} with the label "{label}", which is how tools write a missing value: {join_places(places[:10], count)}.',
                fix="label or remove these rows"
                if level == "blocker"
                else f'nothing, if "{label}" is a label of yours',
                evidence={"label": label, "rows": count, "places": places[:10]},
            )


def _check_listed(draft: Draft, listed: Sequence[str], *, train: dict[str, int]) -> None:
    foreign = {label: count for label, count in train.items() if label not in listed}
    if foreign:
        draft.find(
            "label-unknown",
            "blocker",
            message=f"train: labels that task.labels does not list: {_counts(foreign)}.",
            fix="add them to task.labels, or correct the rows",
            evidence={"labels": foreign},
        )
    unused = [label for label in listed if label not in train]
    if unused:
        draft.find(
            "label-without-rows",
            "warning",
            message=f"train has no row of {_quoted(unused)}, listed in task.labels; the model cannot learn them.",
            fix="add rows, or take them off task.labels",
            evidence={"labels": unused},
        )


def _check_shift(draft: Draft, split: str, *, train: dict[str, int]) -> None:
    counts = draft.splits[split].label_counts()
    total, rows = sum(train.values()), sum(counts.values())
    if rows < FEW_SCORED:
        return
    gaps = {label: counts.get(label, 0) / rows - train.get(label, 0) / total for label in {*train, *counts}}
    distance = sum(abs(gap) for gap in gaps.values()) / 2
    if distance < SHIFTED:
        return
    label = max(sorted(gaps), key=lambda name: abs(gaps[name]))
    percent = (
        f"{100 * train.get(label, 0) / total:.1f} % of train and {100 * counts.get(label, 0) / rows:.1f} % of {split}"
    )
    message = f'{split} has other label shares than train: {100 * distance:.0f} % of its rows would need another label to match; most for "{label}", {percent}.'
    fix = (
        "nothing, if new data look like test; otherwise cut the splits at random (data.split)"
        if is_test(split)
        else "nothing, if it is meant; the best checkpoint is chosen on these shares"
    )
    draft.find(
        "label-shift", "note", message=message, fix=fix, evidence={"split": split, "distance": round(distance, 4)}
    )


def _check_lengths(draft: Draft, split: str, *, rows: Rows) -> None:
    each = rows.lengths(labels=not draft.schema.classes)
    lengths = sorted(each)
    if not lengths or lengths[-1] < max(LONG_CHARACTERS, LONG_FACTOR * lengths[len(lengths) // 2]):
        return
    limit = max(LONG_CHARACTERS, LONG_FACTOR * lengths[len(lengths) // 2])
    long = [i for i, length in enumerate(each) if length >= limit]
    draft.find(
        "long-texts",
        "note",
        message=f"{split}: {share(len(long), len(rows))} have {limit:,} characters or more (the median is {lengths[len(lengths) // 2]:,}); they will be cut to the model's maximum: {join_places(rows.some(long), len(long))}.",
        fix="look at them; a quote that was never closed can swallow many rows",
        evidence={"split": split, "rows": len(long), "longest": lengths[-1], "places": rows.some(long)},
    )


def _counts(counts: dict[str, int]) -> str:
    shown = ", ".join(f'"{label}" ({count:,})' for label, count in list(counts.items())[:_SHOWN])
    return shown + (f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else "")


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(f'"{label}"' for label in labels[:_SHOWN]) + (
        f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
    )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
