"""`septet prepare RECIPE --dry-run`: what each step would change and drop, with examples, before anything is written.

A step that changes texts shows up to three before and after, the differences marked; one that drops rows shows three of these. The stages are those of
`prepare`, so that the counts are what its ledger would say.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import click

from septet.data.draft import Draft
from septet.data.watch import Change
from septet.prepare import rehearse
from septet.progress import Listen, quiet
from septet.show._shown import SIGNS

Piece = tuple[Literal["=", "-", "+"], str]

# of the steps that change rows; masked kinds stand where `mask` does
ORDER = ("labels", "surrogates", "repair", "html", "boilerplate", "unicode", "control", "masked", "whitespace")
CONTEXT = 24  # characters that are shown before and after a difference
WIDTH = 160  # characters of a shown row
_LONGEST = 4_000  # characters of a text between its first and last difference that are compared
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_SHOWN = {**SIGNS, ord("\n"): "⏎"}


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does to a split."""

    split: str
    name: str
    what: Literal["changed", "dropped"]
    rows: int
    examples: list[Change]

    def to_json(self) -> dict[str, Any]:
        examples = [
            {"place": each.place, "before": each.before}
            | ({} if each.after is None else {"after": each.after, "pieces": list(pieces(each.before, each.after))})
            for each in self.examples
        ]
        return {"split": self.split, "step": self.name, "what": self.what, "rows": self.rows, "examples": examples}


@dataclass(frozen=True, slots=True)
class Preview:
    """What preparing would come to."""

    draft: Draft
    steps: list[Step]

    @property
    def exit_code(self) -> int:
        return 3 if self.draft.report.blockers else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": [step.to_json() for step in self.steps],
            "ledger": self.draft.ledger.to_json(),
            "findings": self.draft.report.to_json(),
        }

    def text(self) -> str:
        return "\n".join(self._lines(colour=False))

    def coloured(self) -> str:
        """Return the text with the colours of a terminal."""
        return "\n".join(self._lines(colour=True))

    def _lines(self, *, colour: bool) -> Iterator[str]:
        yield self.draft.ledger.text()
        split = None
        for step in self.steps:
            if step.split != split:
                split = step.split
                yield f"\n{split}"
            rows = f"{step.rows:,} row{'' if step.rows == 1 else 's'}"
            yield f"  {step.name:<15} {rows} {'would change' if step.what == 'changed' else 'would be dropped'}"
            for each in step.examples:
                shown = _cut(each.before, WIDTH) if each.after is None else _marked(each.before, each.after, colour)
                yield f"    {each.place}: {shown}"
        yield "\nnothing was written"


def preview(recipe: Any, *, tables: Mapping[str, Any] | None = None, listen: Listen = quiet) -> Preview:
    """Return what each step of preparing would change and drop."""
    draft = rehearse(recipe, tables=tables, listen=listen)
    for finding in draft.report:
        listen("finding", finding=finding)
    return Preview(draft, list(_steps(draft)))


def _steps(draft: Draft) -> Iterator[Step]:
    assert draft.watch is not None
    for split, account in draft.ledger.accounts.items():
        changes, drops = draft.watch.changes.get(split, {}), draft.watch.drops.get(split, {})
        for name in sorted(account.cleaned, key=lambda name: ORDER.index(name.split()[0])):
            yield Step(split, name, "changed", account.cleaned[name], changes.get(name, []))
        for reason, rows in account.dropped.items():
            yield Step(split, reason, "dropped", rows, drops.get(reason, []))


def pieces(before: str, after: str) -> Iterator[Piece]:
    """Yield how one text becomes the other, word by word: what stays, what goes, what comes."""
    start = _shared(before, after)
    end = _shared(before[start:][::-1], after[start:][::-1])
    # whole words differ: half a word is hard to read
    while start and (before[start - 1].isalnum() or after[start - 1].isalnum()):
        start -= 1
    while end and (before[len(before) - end].isalnum() or after[len(after) - end].isalnum()):
        end -= 1
    one, other = before[start : len(before) - end], after[start : len(after) - end]
    if start:
        yield "=", before[:start]
    if max(len(one), len(other)) > _LONGEST:
        yield from ((kind, text) for kind, text in (("-", one), ("+", other)) if text)  # type: ignore[misc]
    else:
        ours, theirs = _WORDS.findall(one), _WORDS.findall(other)
        for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
            if kind == "equal":
                yield "=", "".join(ours[a:b])
                continue
            if a < b:
                yield "-", "".join(ours[a:b])
            if c < d:
                yield "+", "".join(theirs[c:d])
    if end:
        yield "=", before[len(before) - end :]


def _shared(one: str, other: str) -> int:
    """Return how many first characters two texts share."""
    most = min(len(one), len(other))
    return next((i for i in range(most) if one[i] != other[i]), most)


def _marked(before: str, after: str, colour: bool) -> str:
    every = list(pieces(before, after))
    shown = []
    for place, (kind, text) in enumerate(every):
        if kind == "=":
            shown.append(_near(text, first=place == 0, last=place == len(every) - 1))
            continue
        text = _cut(text, WIDTH)
        if colour:
            shown.append(
                click.style(text, fg="red" if kind == "-" else "green", strikethrough=kind == "-", bold=kind == "+")
            )
        else:
            shown.append(f"[-{text}-]" if kind == "-" else f"{{+{text}+}}")
    return "".join(shown)


def _near(text: str, *, first: bool, last: bool) -> str:
    """Return of a text that stays what stands beside a difference."""
    if len(text) > (CONTEXT if first or last else 2 * CONTEXT):
        head, tail = "" if first else text[:CONTEXT], "" if last else text[-CONTEXT:]
        text = f"{head}…{tail}"
    return text.translate(_SHOWN)


def _cut(text: str, most: int) -> str:
    return (text if len(text) <= most else f"{text[: most - 1]}…").translate(_SHOWN)
