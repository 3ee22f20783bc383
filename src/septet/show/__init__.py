"""`septet prepare RECIPE --show N`: rows of train as training sees them, each token trained, read only, or cut off.

    shown = show(recipe, prepared, 3)
    print(shown.text())

Nothing is worked out a second time: the examples are those of `encode`, what is trained are the targets of the task's own `collate`, and
what was cut comes from the same row encoded without a limit of length. No weights are loaded and nothing is measured.

Where train is augmented, each row's variants stand beneath it.

The rows: the first, the longest, and others evenly spread over the file; beside them the first row that is cut and the first of which
nothing can be learned, where there are such and none is among the others. They stand in the order of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from septet import registry
from septet.augment import augment
from septet.data.store import Prepared
from septet.encode import Encoded, encode, folder_of
from septet.inputs import require_texts
from septet.inputs.chat import Chat
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.show._rows import Reader
from septet.show._shown import Shown
from septet.tasks import Example, Row

__all__ = ["Shown", "choose", "show"]


def show(recipe: Recipe, prepared: Prepared, num: int, *, listen: Listen = quiet) -> Shown:
    """Return rows of the prepared train split as training sees them.

    Args:
        num: rows, from 1; the first that is cut and the first with nothing to learn come to them.

    Raises:
        UsageError: there is no such model folder.
        ModelError: the model folder is unsafe or damaged.
        DataError: no row of train holds anything to learn, or its texts are too few for a vocabulary.
    """
    require_texts(registry.part("task", recipe.task.name)(recipe.task), "septet show")
    encoded = encode(recipe, prepared, folder_of(recipe, prepared, listen=listen), listen=listen)
    rows = prepared.rows("train")
    examples = _by_row(rows, encoded.originals)
    cut = [sum(example.meta.get("truncated", 0) for example in each) for each in examples]
    sizes = [sum(example.size for example in each) + more for each, more in zip(examples, cut, strict=True)]
    places = choose(sizes, num, always=([tokens > 0 for tokens in cut], [not each for each in examples]))
    reader = Reader(encoded, encoded.task.learn(rows, max_length=None))
    findings = Report(encoded.findings.findings)
    findings.add(_unmarked(encoded))
    variants = _variants(recipe, prepared, listen)
    shown = [reader.row(rows[place], place, examples[place]) for place in places]
    shown = [replace(row, variants=variants.get(place, [])) for row, place in zip(shown, places, strict=True)]
    return Shown(shown, len(rows), findings)


def choose(sizes: Sequence[int], num: int, *, always: Sequence[Sequence[bool]] = ()) -> list[int]:
    """Return the places of rows to show: the first, the longest, others evenly spread, and one of each kind that is always shown.

    Args:
        sizes: tokens of each row; 0 where nothing can be learned.
        num: rows, before those of `always`.
        always: for each kind, whether a row is of it; the first one is added where no other row of the kind is chosen.
    """
    longest = max(range(len(sizes)), key=sizes.__getitem__)
    chosen = set([0, longest][:num])
    others = [place for place in range(len(sizes)) if place not in chosen]
    missing = min(num, len(sizes)) - len(chosen)
    chosen |= {others[(2 * i + 1) * len(others) // (2 * missing)] for i in range(missing)}
    for kind in always:
        first = next((place for place, is_one in enumerate(kind) if is_one), None)
        if first is not None and not any(kind[place] for place in chosen):
            chosen.add(first)
    return sorted(chosen)


def _by_row(rows: Sequence[Row], examples: Sequence[Example]) -> list[list[Example]]:
    """Return the examples of each row; they are in its order, and windows after the first have ids of their own."""
    places = {row["_row"]: place for place, row in enumerate(rows)}
    found: list[list[Example]] = [[] for _ in rows]
    place = 0
    for example in examples:
        place = places.get(example.row, place)
        found[place].append(example)
    return found


def _variants(recipe: Recipe, prepared: Prepared, listen: Listen) -> dict[int, list[tuple[str, str]]]:
    """Return of each row of train, by its place, who made each of its variants, and the text."""
    augmented = augment(recipe, prepared, listen=listen)
    found: dict[int, list[tuple[str, str]]] = {}
    for copy in [] if augmented is None else augmented.copies():
        found.setdefault(copy.place, []).append((copy.augmenter, " | ".join(copy.texts)))
    return found


def _unmarked(encoded: Encoded) -> Finding | None:
    from septet.inputs._templates import Template

    if not isinstance(encoded.task.input, Chat) or encoded.config.get("is_encoder_decoder"):
        return None
    if Template.of(encoded.processor).blocks_answers:
        return None
    return Finding(
        "template-unmarked",
        "note",
        "The chat template does not mark answers ({% generation %}): they are found by comparing each prompt with the text that goes on from it.",
        "look at the rows shown; where they are wrong, name a template",
    )
