"""A recipe of `pretrain`: plain text, or a column of texts that are learned as they stand."""

from __future__ import annotations

from septet.errors import UsageError
from septet.init._columns import DOCUMENT_CHARACTERS, guess_document
from septet.init._plan import Plan
from septet.init._seen import CUTS, Seen, quoted
from septet.recipe.write import flow

ENOUGH_DOCUMENTS = 20  # for a validation and a test of several
MUCH_TEXT = 10_000_000  # characters
ABOUT = "9 million parameters"
SCRATCH = "The model learns on from what it knows; from scratch: model: {architecture: llama, vocabulary: {kind: bpe, size: 8000}, layers: 4, hidden: 256, heads: 4}"


def plan(seen: Seen, *, text: str | None = None) -> Plan:
    """Return the recipe's part.

    Args:
        text: the column; found when None.

    Raises:
        UsageError: no column is like a text.
    """
    if seen.plain:
        return _of_plain_text(seen)
    column = seen.columns[text] if text else guess_document(seen.columns)
    if column is None:
        raise UsageError("No column looks like a text to learn.", hint=f"--text COL, one of {', '.join(seen.columns)}")
    rows, characters = len(seen.table), round(column.length * (len(seen.table) - column.missing))
    long = f"{column.length:,.0f} characters on average"
    told = f"given with --text; {column.described}" if text else f"found: texts of {long}"
    why = f"{column.name} holds texts of {long}, which can be learned as they stand"
    return Plan(
        task="pretrain",
        why=why,
        counted=f"{rows:,} texts, {characters:,} characters",
        keys=[f"  text: {flow(column.name)}  # why: {told}", _objective()],
        asked=f"--task pretrain --text {quoted([column.name])}",
        model="starter-lm",
        about=ABOUT,
        rows=rows,
        held=_held(rows, characters),
        used={column.name},
        notes=[SCRATCH],
    )


def is_document(seen: Seen) -> bool:
    """Whether the column that is most like a text holds texts long enough to be learned as they stand."""
    column = guess_document(seen.columns)
    return column is not None and column.prose >= 0.5 and column.length >= DOCUMENT_CHARACTERS


def _of_plain_text(seen: Seen) -> Plan:
    cut, count, why = _cut(seen)
    characters = sum(map(len, seen.table.columns["text"]))
    files = len(seen.table.parts)
    data = [f"  documents: {cut or 'auto'}  # why: {why}"]
    if seen.unnamed:
        data.insert(0, "  format: text  # why: the name of the file does not say it; what is in it is plain text")
    return Plan(
        task="pretrain",
        why="plain text is learned as it stands",
        counted=f"plain text, {_number(files, 'file')}, {_number(count, 'document')}, {characters:,} characters",
        keys=[_objective()],
        asked="--task pretrain",
        model="starter-lm",
        about=ABOUT,
        rows=count,
        held=_held(count, characters),
        data=data,
        notes=[SCRATCH],
    )


def _cut(seen: Seen) -> tuple[str | None, int, str]:
    """Return what a document is: the largest piece of which there are enough to hold some out."""
    whole = seen.documents(None)
    if whole >= ENOUGH_DOCUMENTS:
        return None, whole, f"{whole:,} documents: the pages of a file between form feeds, or the whole file"
    counts = {cut: seen.documents(cut) for cut in CUTS}
    most = max(counts, key=counts.__getitem__)
    cut = next((name for name, count in counts.items() if count >= ENOUGH_DOCUMENTS), most)
    told = f"cut larger there is {whole}" if whole == 1 else f"cut larger there are {whole}"
    why = f"{counts[cut]:,} of them; {told}, too few to hold some out. Texts of their own for data.validation and data.test let documents stay whole"
    return cut, counts[cut], why


def _held(count: int, characters: int) -> tuple[float, str]:
    if count < 3:
        return 0.0, "there is too little to hold any out; give data.validation"
    if count < ENOUGH_DOCUMENTS:
        return 0.2, "few documents, so more of them for a steady score"
    if characters > MUCH_TEXT:
        return 0.02, "much text, so a small share is enough"
    return 0.1, "the usual share"


def _objective() -> str:
    return "  objective: auto  # why: derived from the model: the next token with a decoder, hidden tokens with BERT's kind, spans with T5's"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
