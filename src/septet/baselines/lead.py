"""The first sentences of the prompt as the answer: as many as the training answers have (their median).

A sentence ends at a line break, at `.`, `!`, `?` or `…` before white space or the end, and at `。`, `！` or `？` wherever it stands, since no
blank follows it; closing quotes and brackets belong to it. Abbreviations are not known: "Dr. Lee" is two sentences, in prompts
and answers alike.
"""

from __future__ import annotations

import re
import statistics
from typing import Any, ClassVar

from septet.baselines import Kind, Options

_CLOSING = r"[\"'”’»」』）)\]]*"
_END = re.compile(rf"[.!?…]+{_CLOSING}(?=\s|\Z)|[。！？]+{_CLOSING}|[\n\r\u2028\u2029]")


class Lead:
    """What quoting the beginning gives: the usual floor of summaries."""

    answers: ClassVar[Kind] = "texts"

    def __init__(self, options: Options):
        self.facts: dict[str, Any] = {}

    def fit(self, prompts: list[str], references: list[str]) -> Lead:
        """Count the sentences of the answers: the median, the lower one of two, at least 1."""
        self.sentences = max(1, statistics.median_low(len(sentence_ends(text)) for text in references))
        self.facts = {"sentences": self.sentences}
        return self

    def write(self, prompts: list[str]) -> list[str]:
        """Return each prompt up to the end of its nth sentence; all of it where it has fewer."""
        return [self._lead(prompt) for prompt in prompts]

    def _lead(self, prompt: str) -> str:
        ends = sentence_ends(prompt)[: self.sentences]
        return prompt[: ends[-1]].strip() if ends else ""


def sentence_ends(text: str) -> list[int]:
    """Return where each sentence ends; one without end punctuation ends with the text, and white space alone is none."""
    ends, start = [], 0
    for stop in [*(match.end() for match in _END.finditer(text)), len(text)]:
        if text[start:stop].strip():
            ends.append(stop)
            start = stop
    return ends
