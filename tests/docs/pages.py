"""The hand-written and generated pages, and the code blocks in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
)
_BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(septet [^`]+)`")


def name(path: Path) -> str:
    """Return a page's path from the root, for the names of tests."""
    return str(path.relative_to(ROOT))


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """Yield the code blocks of a page in these languages."""
    for language, text in _BLOCK.findall(path.read_text()):
        if language in languages:
            yield text


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the arguments of every `septet …` command of a page: lines of shell blocks, and code in sentences."""
    lines = [line for text in blocks(path, "sh", "console", "bash") for line in _joined(text).split("\n")]
    for line in lines:
        for part in re.split(r"&&|\|\||;|\|", line.removeprefix("$ ").split(" #")[0]):
            found = re.match(r"\s*(?:[A-Z_]+=\S+\s+)*septet\s+(.*?)\s*(?:&|>.*)?$", part)
            if found:
                yield shlex.split(found[1])
    prose = _BLOCK.sub("", path.read_text())
    for found in _INLINE.findall(prose):
        yield shlex.split(found.split("|")[0].replace("…", "X"))[1:]


def _joined(text: str) -> str:
    return text.replace("\\\n", " ")
