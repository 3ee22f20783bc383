"""A recipe of `classify`: the label has few different, short values; the text is the longest column."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from septet.data.cleaning.labels import variants
from septet.errors import UsageError
from septet.init._columns import Column, guess_label, guess_members, guess_text, guess_texts, is_text, names_files
from septet.init._plan import Plan, usual_share
from septet.init._seen import Seen, quoted
from septet.recipe.model import FILES
from septet.recipe.write import flow

IMBALANCE = 10
MOST_LISTED = 40  # columns


def plan(
    seen: Seen,
    *,
    texts: Sequence[str] = (),
    label: str | None = None,
    exclude: Collection[str] = (),
    told: str = "given with --{}",
) -> Plan:
    """Return the recipe's part.

    Args:
        texts: the text column, or two for a pair; guessed where there is none.
        label: the label column; guessed when None.
        exclude: columns that are no label.
        told: why these texts and this label, with `{}` for the key.

    Raises:
        UsageError: no guess is possible.
    """
    columns, rows = seen.columns, len(seen.table)
    found = _label(seen, label, exclude={*texts, *exclude})
    pair = None if texts else guess_texts(columns, exclude=found.name)
    text = columns[(pair or texts)[0]] if pair or texts else guess_text(columns, exclude=found.name)
    if text is None:
        what = "There is only one column; a text and a label are needed."
        raise UsageError(what, hint=f"the columns are {', '.join(columns)}")
    if not texts and (kind := names_files(text)) is not None:
        return _of_files(seen, kind, text, found)
    label_why = f"guessed: {found.num_distinct} different values in {rows:,} rows"
    if label:
        label_why = f"{told.replace('{}', 'label')}; {found.described}"
    members = [] if texts or pair or is_text(text) else guess_members(columns, exclude=found.name)
    if len(members) > 1:
        return _of_columns(seen, members, found, why=label_why)
    given = list(pair or texts) or [text.name]
    text_why = f"{told.replace('{}', 'text')}; {text.described}"
    if pair:
        text_why = "guessed: their names are those of a pair"
    elif not texts:
        text_why = f"guessed: the longest column, {text.length:.0f} characters on average"
    return Plan(
        task="classify",
        why=f"{found.name} has {found.num_distinct} different values",
        counted=f"{rows:,} rows, {found.num_distinct} labels",
        keys=[
            f"  text: {flow(given[0] if len(given) == 1 else given)}  # why: {text_why}",
            f"  label: {flow(found.name)}  # why: {label_why}",
            f"  class_weights: none  # why: {_balance(found)}",
        ],
        asked=f"--task classify --label {quoted([found.name])}",
        model="starter",
        about="22 million parameters",
        rows=rows,
        held=usual_share(rows),
        used={*given, found.name},
    )


def _label(seen: Seen, name: str | None, *, exclude: Collection[str]) -> Column:
    """Return the column of the label.

    Raises:
        UsageError: none is like one, or it holds none.
    """
    columns = seen.columns
    found = columns[name] if name else guess_label(columns, len(seen.table), exclude=exclude)
    if found is None:
        raise UsageError(
            "No column looks like a label (few different, short values).",
            hint=f"--label COL, one of {', '.join(columns)}",
        )
    if not found.counts:
        what = f"The column {found.name!r} holds no label."
        raise UsageError(what, where=seen.table.name, hint="another: --label COL")
    return found


def _of_columns(seen: Seen, members: Sequence[str], label: Column, *, why: str) -> Plan:
    rows = len(seen.table)
    others = [name for name in seen.columns if name not in (*members, label.name)]
    left = f"; left out: {', '.join(others)}" if others else ""
    listed = flow(list(members)) if len(members) <= MOST_LISTED or others else "all"
    return Plan(
        task="classify",
        why=f"{label.name} has {label.num_distinct} different values",
        counted=f"{rows:,} rows, {label.num_distinct} labels",
        keys=[
            f"  columns: {listed}  # why: guessed: no column holds a text, and {len(members)} hold numbers and categories{left}",
            f"  label: {flow(label.name)}  # why: {why}",
            f"  class_weights: none  # why: {_balance(label)}",
        ],
        asked=f"--task classify --label {quoted([label.name])}",
        model="starter",
        about="22 million parameters",
        rows=rows,
        held=usual_share(rows),
        used={*members, label.name},
        notes=[
            "For numbers alone a gradient-boosted tree, such as scikit-learn's HistGradientBoostingClassifier, is usually the better tool"
        ],
    )


# kind of file -> a checkpoint, how large it is, and what to write without a hub
_CHECKPOINTS = {
    "picture": (
        "microsoft/resnet-18",
        "11 million parameters, the right size for a few cores",
        "task.size: 64, model: {architecture: resnet, config: {layer_type: basic}}",
    ),
    "recording": (
        "ntu-spml/distilhubert",
        "24 million parameters, the right size for a few cores; it has heard speech, for other sounds an AST of AudioSet knows more",
        "model: {architecture: audio-spectrogram-transformer, layers: 4, hidden: 128, heads: 4}",
    ),
}


def _of_files(seen: Seen, kind: str, column: Column, label: Column) -> Plan:
    rows = len(seen.table)
    model, about, scratch = _CHECKPOINTS[kind]
    return Plan(
        task="classify",
        why=f"{column.name} holds {kind}s, and {label.name} has {label.num_distinct} different values",
        counted=f"{rows:,} {kind}s, {label.num_distinct} labels",
        keys=[
            f"  {FILES[kind]}: {flow(column.name)}  # why: its values are paths of {kind}s",
            f"  label: {flow(label.name)}  # why: {label.num_distinct} different values in {rows:,} rows",
            f"  class_weights: none  # why: {_balance(label)}",
        ],
        asked=f"--task classify --label {quoted([label.name])}",
        model=model,
        about=about,
        packaged=False,
        rows=rows,
        held=usual_share(rows),
        used={column.name, label.name},
        notes=[f"Without a hub, from scratch: {scratch}"],
    )


def _balance(label: Column) -> str:
    spellings = variants({each: num for each, num in label.counts.items() if each.strip()}, None)
    if spellings:
        return f"{' and '.join(map(repr, spellings[0][:2]))} seem to be one label; data.clean.labels: merge gives it one spelling"
    (common, most), (rare, least) = label.counts.most_common(1)[0], label.counts.most_common()[-1]
    if most >= IMBALANCE * least:
        rows = "row" if least == 1 else "rows"
        return f"{rare!r} has {least:,} {rows} and {common!r} {most:,}; balanced, if the rare labels matter as much"
    return f"the labels are near enough in number ({least:,} to {most:,} rows)"
