"""`septet prepare RECIPE --show N`: rows of train as training sees them, each token trained, read only, or cut off.

    shown = show(recipe, prepared, 3)
    print(shown.text())

Nothing is worked out a second time: the examples are those of `encode`, what is trained are the targets of the task's own `collate`, and
what was cut comes from the same row encoded without a limit of length. No weights are loaded and nothing is measured.

The rows: the first, the longest, and others evenly spread over the file; beside them the first row that is cut and the first of which
nothing can be learned, where there are such and none is among the others. They stand in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from os.path import commonprefix
from typing import Any, Literal

import click

from septet.data.store import Prepared
from septet.encode import Encoded, encode, learns_no_end
from septet.errors import SeptetError, UsageError
from septet.inputs.chat import UNSUPERVISED, Chat
from septet.model import load
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.tasks import Example, Row

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
_SIGNS = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: "␡", ord("\n"): "⏎\n"}
    | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
    | {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}
)


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
    """

    row: int
    place: int
    examples: list[list[Side]]
    label: str | None
    findings: list[Finding]

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
                painted = "".join(paint(stretch.text.translate(_SIGNS), stretch.state) for stretch in side.stretches)
                yield from (f"│ {line}" for line in painted.split("\n"))
        if len(self.examples) > MOST_EXAMPLES:
            yield f"  … and {len(self.examples) - MOST_EXAMPLES:,} more examples"
        if self.label is not None:
            yield f"  learned: {self.label.translate(_SIGNS)}"
        yield f"  {self._counted()}"
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


def show(recipe: Recipe, prepared: Prepared, num: int, *, listen: Listen = quiet) -> Shown:
    """Return rows of the prepared train split as training sees them.

    Args:
        num: rows; the first that is cut and the first with nothing to learn come to them.

    Raises:
        UsageError: `num` is below 1, or there is no such model folder.
        ModelError: the model folder is unsafe or damaged.
        DataError: no row of train holds anything to learn.
    """
    if num < 1:
        raise UsageError("The rows to show are a whole number from 1.", received=num)
    encoded = encode(recipe, prepared, load.base_folder(recipe), listen=listen)
    rows = prepared.rows("train")
    examples = _by_row(rows, encoded.train)
    cut = [sum(example.meta.get("truncated", 0) for example in each) for each in examples]
    sizes = [sum(example.size for example in each) + more for each, more in zip(examples, cut, strict=True)]
    places = choose(sizes, num, always=([tokens > 0 for tokens in cut], [not each for each in examples]))
    view = _View(encoded, encoded.task.learn(rows, max_length=None))
    findings = Report(encoded.findings.findings)
    findings.add(_unmarked(encoded))
    return Shown([view.row(rows[place], place, examples[place]) for place in places], len(rows), findings)


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
        if not any(kind[place] for place in chosen):
            chosen |= {place for place, is_one in enumerate(kind) if is_one and place == kind.index(True)}
    return sorted(chosen)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids of a side, and whether each is learned."""

    name: str
    ids: list[int]
    learned: list[bool]


@dataclass(frozen=True, slots=True)
class _View:
    """What rows are looked at with: the run's examples, and its task without a limit of length."""

    encoded: Encoded
    whole: Any

    def row(self, row: Row, place: int, examples: Sequence[Example]) -> ShownRow:
        """Return a row with its examples, none where it is left out of training."""
        task, processor = self.encoded.task, self.encoded.processor
        if examples:
            kept = [self._tokens(example) for example in examples]
            cut = any(example.meta.get("truncated") for example in examples)
            whole = [self._tokens(example) for example in self.whole.encode([row], processor)[0]] if cut else kept
            whole = whole if len(whole) == len(kept) else kept
        else:
            whole = [self._tokens(example) for example in self._left_out(row)]
            kept = [[_first(side, task.max_length) for side in sides] for sides in whole]
        shown = [
            [self._side(*pair) for pair in zip(*both, strict=True)] for both in zip(whole, kept, strict=True)
        ]
        label = self._label(examples[0]) if examples else None
        return ShownRow(int(row["_row"]), place + 1, shown, label, list(self._findings(row, examples, shown)))

    def _left_out(self, row: Row) -> list[Example]:
        """Return a row that is left out of training, as far as it can be encoded: whole, or what it asks."""
        try:
            return self.whole.encode([row], self.encoded.processor)[0] or self.whole.prompts(
                [row], self.encoded.processor
            )[0]
        except SeptetError:
            return []  # the template refuses it; the finding says so

    def _tokens(self, example: Example) -> list[_Tokens]:
        """Return what the model is given of an example, and what it is to predict: the tokens of each side."""
        task = self.encoded.task
        batch = task.collate([example], self.encoded.processor)
        ids = batch.inputs["input_ids"][0].tolist()
        read = [False] * len(ids)
        if batch.targets is None or task.answers_with != "texts":
            return [_Tokens("", ids, read)]
        goals = batch.targets[0].tolist()
        learned = [goal != UNSUPERVISED for goal in goals]
        if self.encoded.config.get("is_encoder_decoder"):
            return [_Tokens("source", ids, read), _Tokens("target", goals, learned)]
        if sum(learned) > int(next(iter(task.weights(batch).values()))[0]):
            learned[0] = False  # there is nothing before it that it could be predicted from
        # a token that is hidden from the model is shown as what is to stand there
        found = [goal if on else token for token, goal, on in zip(ids, goals, learned, strict=True)]
        return [_Tokens("", found, learned)]

    def _side(self, whole: _Tokens, kept: _Tokens) -> Side:
        places = _places(whole.ids, kept.ids)
        if places is None:  # a task that cuts otherwise than by leaving tokens out
            whole, places = kept, list(range(len(kept.ids)))
        states: list[State] = ["truncated"] * len(whole.ids)
        for place, learned in zip(places, kept.learned, strict=True):
            states[place] = "trained" if learned else "read"
        lost = sum(whole.learned) - sum(kept.learned)
        return Side(whole.name, _stretches(whole.ids, states, self.encoded.processor), states, lost)

    def _label(self, example: Example) -> str | None:
        """Return the label that an example is compared with."""
        task = self.encoded.task
        if task.answers_with == "texts" or example.target is None:
            return None
        names = next(iter(task.heads().values())).config.get("id2label", {})
        return str(names.get(example.target, example.target))

    def _findings(self, row: Row, examples: Sequence[Example], shown: Sequence[Sequence[Side]]) -> Iterator[Finding]:
        task, processor = self.encoded.task, self.encoded.processor
        if not examples:
            yield Finding("nothing-to-learn", "warning", f"left out of training. {task.refusal(row, processor)}")
            return
        lost = sum(side.lost for sides in shown for side in sides)
        if lost:
            most = lost + sum(side.states.count("trained") for sides in shown for side in sides)
            told = f"{lost:,} of {most:,} tokens to learn are beyond model.max_length={task.max_length}."
            yield Finding("answers-cut", "warning", told)
        if learns_no_end(task, processor, self.encoded.config):
            yield Finding("answer-never-ends", "warning", "no token is learned that ends an answer.")


def _by_row(rows: Sequence[Row], examples: Sequence[Example]) -> list[list[Example]]:
    """Return the examples of each row; they are in its order, and windows after the first have ids of their own."""
    places = {row["_row"]: place for place, row in enumerate(rows)}
    found: list[list[Example]] = [[] for _ in rows]
    place = 0
    for example in examples:
        place = places.get(example.row, place)
        found[place].append(example)
    return found


def _first(side: _Tokens, count: int | None) -> _Tokens:
    """Return the beginning of a side of which nothing is learned."""
    ids = side.ids[:count]
    return _Tokens(side.name, ids, [False] * len(ids))


def _places(whole: Sequence[int], kept: Sequence[int]) -> list[int] | None:
    """Return where the kept tokens stand in the whole: at its beginning, at its end, the others from the left; None if they do not."""
    head = _alike(whole, kept)
    tail = min(_alike(whole[::-1], kept[::-1]), len(kept) - head)
    places, end = list(range(head)), len(whole) - tail
    at = head
    for token in kept[head : len(kept) - tail]:
        at = next((place for place in range(at, end) if whole[place] == token), end) + 1
        if at > end:
            return None
        places.append(at - 1)
    return [*places, *range(end, len(whole))]


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _stretches(ids: Sequence[int], states: Sequence[State], processor: Any) -> list[Stretch]:
    """Return the text of tokens, cut where their state changes; a character that is split there belongs to the later stretch.

    The whole is decoded once and cut where it agrees with its own beginning: decoded alone, a stretch could lose its first space.
    """
    text = _decoded(ids, processor)
    found, told, end = [], 0, 0
    for state, run in groupby(states):
        end += len(list(run))
        upto = len(text) if end == len(ids) else max(told, len(commonprefix([_decoded(ids[:end], processor), text])))
        found.append(Stretch(text[told:upto], state))
        told = upto
    return [stretch for stretch in found if stretch.text]


def _decoded(ids: Sequence[int], processor: Any) -> str:
    return processor.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


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


def _marked(text: str, state: State) -> str:
    before, after = MARKS[state]
    return f"{before}{_OWN_MARK.sub(chr(92) * 2, text)}{after}"


def _coloured(text: str, state: State) -> str:
    """Return a text in the style of a state, line by line: a style that goes on over a line break fills the screen."""
    style = STYLES[state]
    return "\n".join(click.style(line, **style) if line and style else line for line in text.split("\n"))
