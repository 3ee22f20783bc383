"""Rows as they are shown: stretches of text by what training does with their tokens, as plain text, in colours, or as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from septet.report import Finding, Report

State = Literal["trained", "read", "truncated"]
Paint = Callable[[str, State], str]

# of a row that gives many (a long document, a long conversation), so many are printed
MOST_EXAMPLES = 3
# colour is never the only sign
STYLES: dict[State, dict[str, Any]] = {
    "trained": {"fg": "black", "bg": "green", "bold": True, "underline": True},
    "read": {},
    "truncated": {"fg": "red", "strikethrough": True},
}
MARKS: dict[State, tuple[str, str]] = {"trained": ("[[", "]]"), "read": ("", ""), "truncated": ("~~", "~~")}
_OWN_MARK = re.compile(r"(?=\[\[|\]\]|~~)")
# what would steer a terminal or turn the line around, as a sign of its own
SIGNS = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: "␡"}
    | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
    | {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}
)
_SHOWN = {**SIGNS, ord("\n"): "⏎\n"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A text of consecutive tokens that training treats alike."""

    text: str
    state: State


@dataclass(frozen=True, slots=True)
class Side:
    """The tokens of an example, or of one of the two sides a model with an encoder takes.

    Args:
        name: `source` or `target`; empty where there is one side.
        stretches: its text.
        states: one a token.
        lost: tokens that would be trained, were they not cut off.
    """

    name: str
    stretches: list[Stretch]
    states: list[State]
    lost: int


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of train.

    Args:
        row: its id.
        place: in the prepared train split, from 1.
        examples: the sides of each.
        label: what is trained, where it is no text.
        findings: what is wrong with this row.
        variants: who made each variant of the row, and its text (`data.augment`).
    """

    row: int
    place: int
    examples: list[list[Side]]
    label: str | None
    findings: list[Finding]
    variants: list[tuple[str, str]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Return the tokens of the row by state, and `lost`: those cut off that would be trained."""
        sides = [side for sides in self.examples for side in sides]
        states = [state for side in sides for state in side.states]
        counted = {state: states.count(state) for state in MARKS}
        return {"total": len(states), **counted, "lost": sum(side.lost for side in sides)}

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "place": self.place,
            "tokens": list(self._runs()),
            "label": self.label,
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
            **({"variants": [{"by": by, "text": text} for by, text in self.variants]} if self.variants else {}),
        }

    def lines(self, total: int, paint: Paint) -> Iterator[str]:
        """Yield the row as text."""
        yield f"row {self.place:,} of {total:,} in train, id {self.row}"
        for number, sides in enumerate(self.examples[:MOST_EXAMPLES], 1):
            if len(self.examples) > 1:
                yield f"  example {number} of {len(self.examples):,}"
            for side in sides:
                if side.name:
                    yield f"  {side.name}"
                painted = "".join(paint(stretch.text.translate(_SHOWN), stretch.state) for stretch in side.stretches)
                yield from (f"│ {line}" for line in painted.removesuffix("\n").split("\n"))
        if len(self.examples) > MOST_EXAMPLES:
            yield f"  … and {len(self.examples) - MOST_EXAMPLES:,} more examples"
        if self.label is not None:
            yield f"  learned: {self.label.translate(_SHOWN)}"
        yield f"  {self._counted()}"
        for by, text in self.variants:
            yield f"  {by}: {text.translate(_SHOWN).removesuffix(chr(10))}"
        for finding in self.findings:
            yield f"  ! {finding.slug}: {finding.message}"

    def _runs(self) -> Iterator[dict[str, Any]]:
        for number, sides in enumerate(self.examples, 1):
            example = {"example": number} if len(self.examples) > 1 else {}
            for side in sides:
                where = {**example, **({"side": side.name} if side.name else {})}
                yield from ({"text": part.text, "state": part.state, **where} for part in side.stretches)

    def _counted(self) -> str:
        counts = self.counts
        lost = f" ({counts['lost']:,} of them would be trained)" if counts["lost"] else ""
        parts = f"{counts['trained']:,} trained, {counts['read']:,} read only, {counts['truncated']:,} cut off"
        return f"{counts['total']:,} tokens: {parts}{lost}"


@dataclass(frozen=True, slots=True)
class Shown:
    """Rows of train as training sees them.

    Args:
        rows: in the order of the file.
        total: rows of train.
        findings: of all rows.
    """

    rows: list[ShownRow]
    total: int
    findings: Report

    def to_json(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]

    def text(self) -> str:
        """Return the rows with marks around what is trained and what is cut off."""
        own = "a mark of the row's own text has a \\ before it"
        legend = f"[[…]] trained   ~~…~~ cut off at model.max_length   all else is read only   ⏎ line break   {own}"
        return self._text(legend, _marked)

    def coloured(self) -> str:
        """Return the rows in the colours of a terminal."""
        trained, cut = _coloured("trained", "trained"), _coloured("cut off at model.max_length", "truncated")
        return self._text(f"{trained}   {cut}   all else is read only   ⏎ line break", _coloured)

    def _text(self, legend: str, paint: Paint) -> str:
        return "\n\n".join([legend, *("\n".join(row.lines(self.total, paint)) for row in self.rows)])


def _marked(text: str, state: State) -> str:
    before, after = MARKS[state]
    return before + _OWN_MARK.sub(r"\\", text) + after


def _coloured(text: str, state: State) -> str:
    """Return a text in the style of a state, line by line: a style that goes on over a line break fills the screen."""
    style = STYLES[state]
    return "\n".join(click.style(line, **style) if line and style else line for line in text.split("\n"))
