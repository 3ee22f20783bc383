"""Chat templates: how the turns of a conversation become one text, and which part of it an assistant says.

`template_of` gives the Jinja source for what a recipe asks: a named template (`_named.py`), a `*.jinja` file, the source itself, or the
tokenizer's own. `Template` renders it with the function behind transformers' `apply_chat_template`, in its immutable sandbox, so
a saved tokenizer renders the same text wherever it is loaded. A template comes from a stranger: its size is bounded and it reads
no other file. How long it runs is not bounded; name a template for a model you do not trust.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from septet.errors import DataError, ModelError, UsageError
from septet.inputs._named import NAMED, fitted

Message = Mapping[str, Any]
Span = tuple[int, int]

# the longest templates of known models have some 20,000 characters
MAX_SOURCE = 200_000
# a text that holds the day of its rendering is another one tomorrow; Llama's templates name this day where they know no other
DAY = date(2024, 7, 26)

_HINT = f"name a template: {', '.join(NAMED)}, or a *.jinja file"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_CLOCK = "strftime_now"
_PROBE: tuple[Message, ...] = (
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
)
# transformers keeps the places of `{% generation %}` blocks in the compiled template, which all threads share
_RENDERING = threading.Lock()


@dataclass(frozen=True)
class Template:
    """A Jinja source with the special tokens it may write.

    Args:
        source: the Jinja text.
        tokens: `bos_token`, `eos_token` and their like, as the tokenizer names them.
        marks: the texts that the tokenizer reads as special tokens.
    """

    source: str
    tokens: Mapping[str, Any]
    marks: tuple[str, ...] = ()

    @classmethod
    def of(cls, processor: Any, source: str | None = None) -> Template:
        """Return the template that a tokenizer carries, or another source with the tokenizer's special tokens.

        Raises:
            ModelError: it carries none, or one that cannot be used.
        """
        source = _own(processor) if source is None else source
        if source is None:
            raise ModelError("The tokenizer has no chat template.", hint=_HINT)
        _inspect(source, "the tokenizer's chat template")
        marks = tuple(token.content for token in processor.added_tokens_decoder.values() if token.special)
        return cls(source, dict(processor.special_tokens_map), marks)

    def render(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """Return the text of a conversation.

        Args:
            messages: role and content of each turn.
            answer: end where the assistant is to speak.

        Raises:
            DataError: the template refuses this conversation.
            ModelError: the template cannot be read, or does what the sandbox forbids.
        """
        return self._rendered(messages, answer)[0]

    def answers(self, messages: Sequence[Message], *, answer: bool = False) -> tuple[str, list[Span | None]]:
        """Return the text, and the (start, end) characters of each assistant's turn with the mark that ends it.

        A start is where the prompt for that answer ends. None is an answer that the template shows otherwise than it was
        asked for, as those that leave the thoughts out of earlier answers do.

        Raises:
            DataError: the template refuses this conversation.
            ModelError: the template cannot be read, or does what the sandbox forbids.
        """
        text, blocks = self._rendered(messages, answer, tracked=self.blocks_answers)
        places = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if places and len(blocks) == len(places) and self._asked(messages[: places[-1]]) == text[: blocks[-1][0]]:
            return text, [self._closed(block, text) for block in blocks]
        return text, [self._compared(messages, place, text) for place in places]

    def check(self) -> None:
        """Render a question and its answer.

        Raises:
            ModelError: the template fails, or its prompt is no beginning of what it renders with the answer.
        """
        try:
            _, spans = self.answers(_PROBE[:2])
        except DataError as error:
            raise ModelError(
                f"The chat template fails on a question and its answer: {_one_line(error.__cause__ or error)}",
                hint=_HINT,
            ) from error
        if None in spans:
            raise ModelError(
                "The chat template does not tell answers from prompts: a prompt is no beginning of the text with the answer.",
                hint=_HINT,
            )

    @cached_property
    def blocks_answers(self) -> bool:
        """Whether each answer of a plain conversation stands in a `{% generation %}` block that begins where its prompt ends."""
        if _GENERATION.search(self.source) is None:
            return False
        text, blocks = self._probe
        answers = [(i, message) for i, message in enumerate(_PROBE) if message["role"] == "assistant"]
        return len(blocks) == len(answers) and all(
            self._asked(_PROBE[:i]) == text[:start] and message["content"] in text[start:end]
            for (i, message), (start, end) in zip(answers, blocks, strict=True)
        )

    @cached_property
    def closing(self) -> str | None:
        """The special token right after a `{% generation %}` block that does not hold its own end, or None."""
        text, blocks = self._probe
        if not blocks:
            return None
        start, end = blocks[-1]
        if text[start:end].rstrip().endswith(self.marks):
            return None
        return next((mark for mark in self.marks if text.startswith(mark, end)), None)

    @cached_property
    def _probe(self) -> tuple[str, list[Span]]:
        try:
            return self._rendered(_PROBE, False, tracked=True)
        except DataError:
            return "", []

    def _rendered(self, messages: Sequence[Message], answer: bool, *, tracked: bool = False) -> tuple[str, list[Span]]:
        """Return the text and the (start, end) characters of each `{% generation %}` block, where they are tracked."""
        from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            with _RENDERING:
                rendered: Any = render_jinja_template(
                    conversations=[list(messages)],  # pyright: ignore[reportArgumentType]
                    chat_template=self.source,
                    return_assistant_tokens_mask=tracked,
                    add_generation_prompt=answer,
                    **dict[str, Any](self.tokens),
                )
        except (SecurityError, TemplateSyntaxError) as error:
            raise ModelError(f"The chat template cannot be used: {_one_line(error)}", hint=_HINT) from error
        except (RecursionError, MemoryError) as error:
            raise ModelError(f"The chat template cannot be used: {type(error).__name__}", hint=_HINT) from error
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise DataError(f"The chat template refuses this conversation: {_one_line(error)}") from error
        (text,), spans = rendered
        return text, list(spans[0]) if spans else []

    def _asked(self, messages: Sequence[Message]) -> str | None:
        """Return the prompt for an answer, or None where the template refuses it."""
        try:
            return self.render(messages, answer=True)
        except DataError:
            return None

    def _compared(self, messages: Sequence[Message], place: int, text: str) -> Span | None:
        """Return where the answer at `place` stands, found by rendering up to it with and without it.

        White space after the mark that ends the turn is left out.
        """
        prompt = self._asked(messages[:place])
        try:
            said = self.render(messages[: place + 1])
        except DataError:
            return None
        if prompt is None or not (said.startswith(prompt) and text.startswith(said)):
            return None
        body = said[len(prompt) :]
        bare = body.rstrip()
        marked = not bare.endswith(str(messages[place]["content"]).rstrip())
        return len(prompt), len(prompt) + len(bare if marked else body)

    def _closed(self, span: Span, text: str) -> Span:
        """Return a block with the token that closes the answer, where the template leaves it outside."""
        start, end = span
        return (start, end + len(self.closing)) if self.closing and text.startswith(self.closing, end) else span


def template_of(wanted: str | None, processor: Any, base: Path | None = None) -> tuple[str, str]:
    """Return the Jinja source of a template, and where it comes from.

    Args:
        wanted: a name of `NAMED`, a `*.jinja` file, the source itself, or None for the tokenizer's own (`plain` where
            it has none). A named template writes BOS only for a tokenizer that begins texts with it, and closes turns
            with EOS where the tokenizer does not know the mark of the format as one token. A template that asks for the day is told `DAY`.
        processor: the tokenizer.
        base: the folder that a file is relative to.

    Raises:
        UsageError: there is no such template or file.
        ModelError: the source is no Jinja template, is too long, or reads other files.
    """
    own = _own(processor) if wanted is None else None
    if own is not None:
        source, origin = own, "the tokenizer's own"
    elif wanted is None:
        source, origin = fitted("plain", processor), "plain, since the tokenizer has none"
    elif wanted in NAMED:
        source, origin = fitted(wanted, processor), wanted
    elif "{%" in wanted or "{{" in wanted:
        source, origin = wanted, "given as text"
    elif wanted.endswith(".jinja"):
        source, origin = _read(wanted, base), wanted
    else:
        close = difflib.get_close_matches(wanted, NAMED, n=1)
        raise UsageError(
            f"There is no chat template of this name; there are {', '.join(NAMED)}.",
            received=wanted,
            hint=close[0] if close else "a name, or a Jinja file: template: chat.jinja",
        )
    _inspect(source, origin)
    return _of_one_day(source), origin


def _own(processor: Any) -> str | None:
    own = getattr(processor, "chat_template", None)
    own = own.get("default") if isinstance(own, dict) else own
    if own is not None and not isinstance(own, str):
        raise ModelError("The tokenizer's chat template is no text.", received=own, hint=_HINT)
    return own


def _read(file: str, base: Path | None) -> str:
    path = (base or Path()) / Path(file).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UsageError("The chat template is no file.", where=str(path), hint=f"or {_HINT}")
        with path.open(encoding="utf-8") as stream:
            return stream.read(MAX_SOURCE + 1)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The chat template cannot be read: {_one_line(error)}", where=str(path), hint=f"or {_HINT}"
        ) from error


def _inspect(source: str, origin: str) -> None:
    """Refuse a source that is too long, no Jinja, or that names other files.

    Raises:
        ModelError: with the line, where there is one.
    """
    if len(source) > MAX_SOURCE:
        raise ModelError(
            f"The chat template has more than {MAX_SOURCE:,} characters.",
            where=origin,
            received=source[:40],
            hint=_HINT,
        )
    problem, line, _ = _read_jinja(source)
    if problem:
        raise ModelError(problem, where=f"{origin}, line {line}", hint=_HINT)


def _of_one_day(source: str) -> str:
    """Return a source whose clock, where it looks at one, stands still."""
    _, _, formats = _read_jinja(source)
    if formats is None:
        return source
    told = json.dumps({form: DAY.strftime(form) for form in formats})
    return f"{{%- macro {_CLOCK}(format) -%}}{{{{- {told}.get(format, '{DAY.isoformat()}') -}}}}{{%- endmacro %}}\n{source}"


@lru_cache(maxsize=64)
def _read_jinja(source: str) -> tuple[str, int, tuple[str, ...] | None]:
    """Return what is wrong with a source and in which line, and the day's formats it asks for (None: it looks at no clock)."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateSyntaxError
    from jinja2.meta import find_undeclared_variables
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        tree = _parser().parse(source)
        for kinds, deed in (
            ((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends), "reads another file"),
            (nodes.Pow, "raises numbers to powers, which can take forever"),
        ):
            found = next(tree.find_all(kinds), None)
            if found is not None:
                return f"The chat template {deed}.", found.lineno, None
        render_jinja_template(conversations=[], chat_template=source)  # compiles, and renders nothing
    except TemplateSyntaxError as error:
        return f"The chat template is no Jinja template: {_one_line(error)}", error.lineno, None
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        return f"The chat template is beyond what Jinja can read: {_one_line(error)}", 1, None
    if _CLOCK not in find_undeclared_variables(tree):
        return "", 0, None
    calls = [
        call for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name) and call.node.name == _CLOCK
    ]
    formats = {arg.value for call in calls for arg in call.args if isinstance(arg, nodes.Const)}
    return "", 0, tuple(sorted(form for form in formats if isinstance(form, str) and form.isprintable()))


@lru_cache(maxsize=1)
def _parser() -> Any:
    """Return an environment that reads the tags of chat templates; it renders nothing."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
