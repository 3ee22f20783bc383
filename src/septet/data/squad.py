"""SQuAD, versions 1.1 and 2: `{"data": [{"paragraphs": [{"context", "qas": [{"question", "answers"}]}]}]}`; a row is a question.

A row has `id`, `title`, `context`, `question`, `answer` (the first one; None where the question has none) and `answers`, all of them as
`{"text": […], "answer_start": […]}`, which is the hub's form. Plausible answers of version 2 are left out. An answer that does not stand where `answer_start` says is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from septet.errors import DataError
from septet.report import Finding

COLUMNS = ("id", "title", "context", "question", "answer", "answers")


def is_squad(value: Any) -> bool:
    """Whether JSON has the form of SQuAD."""
    data = value.get("data") if isinstance(value, dict) else None
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "paragraphs" in data[0]


def columns(value: Any, name: str) -> dict[str, list[Any]]:
    """Return the questions as columns.

    Raises:
        DataError: a part has another form, or there is no question; names article, paragraph and question.
    """
    rows = list(_rows(value, name))
    if not rows:
        raise DataError("The file has no questions.", where=name)
    return dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def misplaced(found: Mapping[str, Sequence[Any]], name: str) -> list[Finding]:
    """Return what is to be told of answers that do not stand where the file says: `answer_start` counts characters of the context."""
    wrong, every = [], 0
    for row, (context, answers) in enumerate(zip(found["context"], found["answers"], strict=True), 1):
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            every += start is not None
            if start is not None and not _stands(text, context, start):
                wrong.append(f"{name} row {row}")
    if not wrong:
        return []
    return [
        Finding(
            "answer-misplaced",
            "note",
            f"{name}: {len(wrong):,} of {every:,} answers do not stand at their answer_start in the context; the text of the answer is what is learned: {', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}.",
            "nothing, if no other program reads the places; else count them anew, in characters",
            {"file": name, "answers": len(wrong), "of": every, "places": wrong[:50]},
        )
    ]


def _stands(text: str, context: str, start: Any) -> bool:
    return type(start) is int and start >= 0 and context.startswith(text, start)


def _rows(value: Any, name: str) -> Iterator[tuple[Any, ...]]:
    for a, article in enumerate(value["data"], 1):
        for p, paragraph in enumerate(_list(article, "paragraphs", where=f"{name} article {a}"), 1):
            where = f"{name} article {a} paragraph {p}"
            context = _text(paragraph, "context", where=where)
            for q, asked in enumerate(_list(paragraph, "qas", where=where), 1):
                place = f"{where} question {q}"
                question = _text(asked, "question", where=place)
                answers = asked.get("answers") or []
                if not isinstance(answers, list):
                    raise DataError("'answers' must be a list.", where=place, received=answers)
                texts = [_text(each, "text", where=place) for each in answers]
                starts = [each.get("answer_start") for each in answers]
                found = {"text": texts, "answer_start": starts}
                yield asked.get("id"), article.get("title"), context, question, texts[0] if texts else None, found


def _list(value: Any, key: str, *, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"There is no list {key!r}, which SQuAD has.", where=where, received=value)
    return found


def _text(value: Any, key: str, *, where: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise DataError(f"There is no text {key!r}, which SQuAD has.", where=where, received=value)
    return found
