"""Read YAML safely: plain data, YAML 1.2 scalars, a line number for every key.

`scan(text, name)` gives the value, the line of every path, and the `# why:` comments. Numbers and words mean what YAML 1.2
says: `1e-4` is a number; `NO`, `on` and `12:30` are text. Tags are refused (no objects are built), as are repeated
keys, several documents, and aliases that unfold into more than a recipe can hold. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from septet.errors import RecipeError, raise_all

MAX_CHARACTERS = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 30
MAX_DIGITS = 60

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_TABLES = (".csv", ".tsv", ".jsonl", ".json")
_WHY = re.compile(r"\s*:?\s+# why: (.*?)\s*$")


@dataclass(slots=True)
class Scanned:
    """What a YAML text holds: the value, the line of each path (from 1), and the whys in its comments."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)
    whys: dict[Path, str] = field(default_factory=dict)


def scan(text: str, name: str) -> Scanned:
    """Return the content of a YAML text.

    Args:
        name: what error messages call the text; usually a file name.

    Raises:
        RecipeError: the text is not YAML, or holds what a recipe must not.
    """
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(f"A recipe has at most {MAX_CHARACTERS:,} characters.", where=name, received=len(text))
    try:
        scanner = _Scanner(text, name)
        value = scanner.document()
    except yaml.YAMLError as error:
        raise _explain(error, text, name) from error
    raise_all(scanner.problems)
    return Scanned(value, scanner.lines, scanner.whys)


def scalar(text: str) -> Any:
    """Return what a plain (unquoted) scalar means by the core schema of YAML 1.2.

    Raises:
        ValueError: a whole number too long to be meant.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, 10) if _INT.fullmatch(text) else int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float(f"{match[1]}inf")
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    return text


@dataclass(slots=True)
class _Anchor:
    value: Any
    nodes: int


class _Scanner:
    """Builds plain values from the parser's events, counting nodes as aliases unfold."""

    def __init__(self, text: str, name: str):
        self.text_lines = text.split("\n")
        self.name = name
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self.lines: dict[Path, int] = {}
        self.whys: dict[Path, str] = {}
        self.anchors: dict[str, _Anchor | None] = {}
        self.problems: list[RecipeError] = []
        self.nodes = 0

    def document(self) -> Any:
        next(self.events)  # stream start
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self.node(next(self.events), ())
        next(self.events)  # document end
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise RecipeError("A recipe is one document.", where=self.at(event), hint="remove the line ---")
        return value

    def node(self, event: Any, path: Path) -> Any:
        self.count(1, event)
        if len(path) > MAX_DEPTH:
            raise RecipeError(f"A recipe nests at most {MAX_DEPTH} levels.", where=self.at(event))
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if event.tag is not None and not (
            isinstance(event, yaml.ScalarEvent) and event.tag == "!" and event.implicit[1]
        ):
            raise RecipeError(
                "A recipe holds plain data, no tags.", where=self.at(event), received=event.tag, hint="remove the tag"
            )
        if event.anchor is None:
            return self.content(event, path)
        before = self.nodes
        self.anchors[event.anchor] = None
        value = self.content(event, path)
        self.anchors[event.anchor] = _Anchor(value, self.nodes - before)
        return value

    def content(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path, event.flow_style)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path, event.flow_style)
        if event.style is not None or event.tag is not None:
            return event.value
        try:
            return scalar(event.value)
        except ValueError as error:
            raise RecipeError(
                f"A number in a recipe has at most {MAX_DIGITS} digits; this is {error}.",
                where=self.at(event),
                hint="put text into quotes",
            ) from error

    def alias(self, event: Any) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            inside = event.anchor in self.anchors
            raise RecipeError(
                f"The alias *{event.anchor} {'stands inside what it names' if inside else 'names nothing'}.",
                where=self.at(event),
                hint=f"define it before with &{event.anchor}, or put text into quotes",
            )
        self.count(anchor.nodes, event)
        return anchor.value

    def count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise RecipeError(f"A recipe holds at most {MAX_NODES:,} values, aliases unfolded.", where=self.at(event))

    def mapping(self, path: Path, one_line: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise RecipeError(
                    "A key is a single word.", where=self.at(event), hint="put text with special characters into quotes"
                )
            self.count(1, event)
            name, line = event.value, event.start_mark.line + 1
            here = (*path, name)
            self.why(here, event)
            after = next(self.events)
            if name in found:
                shown = ".".join(map(str, here))
                self.problems.append(
                    RecipeError(
                        f"{shown} is given twice, in line {self.lines[here]} and in line {line}.",
                        where=self.at(event),
                        hint="remove one of them",
                    )
                )
            self.lines[here] = line
            found[name] = self.node(after, here)
            if isinstance(after, yaml.ScalarEvent):
                self.why(here, after)
        if one_line:
            self.why(path, event)
        return found

    def sequence(self, path: Path, one_line: bool) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, len(found))
            self.lines[here] = event.start_mark.line + 1
            found.append(self.node(event, here))
        if one_line:
            self.why(path, event)
        return found

    def why(self, path: Path, event: Any) -> None:
        """Keep the `# why:` comment that follows an event on its line."""
        mark = event.end_mark
        if mark.line < len(self.text_lines) and (match := _WHY.match(self.text_lines[mark.line][mark.column :])):
            self.whys[path] = match[1]

    def at(self, event: Any) -> str:
        return f"{self.name} line {event.start_mark.line + 1}"


def _explain(error: yaml.YAMLError, text: str, name: str) -> RecipeError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position if isinstance(position, int) else 0) + 1
        return RecipeError(
            "A recipe holds no control characters.",
            where=f"{name} line {line}",
            hint="remove the character, or write it as an escape in quotes",
        )
    line = text.split("\n")[mark.line] if mark.line < text.count("\n") + 1 else ""
    problem = getattr(error, "problem", None) or "cannot be read"
    if name.lower().endswith(_TABLES):
        hint = f"that is a table; a recipe for it: septet init {name} -o recipe.yaml"
    elif "\t" in line[: mark.column + 1] and not line[: mark.column].strip():
        hint = "indent with spaces, not with tabs"
    elif (
        line.lstrip().startswith(("@", "`", "%"))
        or "cannot start any token" in problem
        or "mapping values are not allowed" in problem
    ):
        hint = 'put text with special characters into quotes: key: "a: b"'
    else:
        hint = "check brackets, quotes and indentation here and in the line above"
    return RecipeError(f"The recipe is not valid YAML: {problem}.", where=f"{name} line {mark.line + 1}", hint=hint)
