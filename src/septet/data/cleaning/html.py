"""HTML in texts: tags, comments, scripts and styles go, entities become characters.

Only elements that HTML has count as tags, so that `a < b`, `List<String>`, `<name>` and `<EMAIL>` stay. What begins a block (`<p>`, `<br>`, `<li>` …)
becomes a new line, any other tag nothing; cells of a table are kept apart by a tab. A text without a tag or an entity is not touched. Runs in time linear in the text, whatever it holds.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

_BLOCK_NAMES = (
    "address article aside blockquote body br center dd details dialog dir div dl dt fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header "
    "hgroup hr html legend li main menu nav ol optgroup option p pre section summary table tbody tfoot thead title tr ul"
)
_INLINE_NAMES = (
    "a abbr acronym applet area audio b base basefont bdi bdo big button canvas caption cite code col colgroup data datalist del dfn em embed font frame i iframe "
    "img input ins kbd label link map mark meta meter noframes noscript object output param picture progress q rp rt ruby s samp select small source span strike "
    "strong sub sup svg td template textarea th time track tt u var video wbr"
)
_BLOCKS, _INLINE = _BLOCK_NAMES.split(), _INLINE_NAMES.split()
_HIDDEN = ("script", "style")
_CELLS = ("td", "th")
_LONGEST = 4_000  # characters of an attribute; what is longer is no tag

_NAMES = "|".join(sorted([*_BLOCKS, *_INLINE, *_HIDDEN], key=len, reverse=True))
_ATTRIBUTES = rf"(?:[^<>\"']|\"[^\"<]{{0,{_LONGEST}}}+\"|'[^'<]{{0,{_LONGEST}}}+'){{0,{_LONGEST}}}+"
_TAG = re.compile(
    rf"<!--|<!doctype\b[^<>]{{0,{_LONGEST}}}+>|<(/?)({_NAMES})(?=[\s/>])(?:{_ATTRIBUTES})>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_BLANKS = re.compile(r"[ \t]*\n[ \t]*(?:\n[ \t]*)+")


def has_html(text: str) -> bool:
    """Whether the text holds a tag or a comment of HTML, also one that is escaped (`&lt;br&gt;`)."""
    return ("<" in text and _TAG.search(text) is not None) or (
        "&lt;" in text and _TAG.search(_ENTITY.sub(_character, text)) is not None
    )


def strip_html(text: str) -> str:
    """Return the text that a reader of the page would see.

    Where all tags are escaped, as in many feeds, they are tags; where some are not, the escaped ones are meant to be read.
    """
    tags = "<" in text and _TAG.search(text) is not None
    if tags:
        text = _without_tags(text)
    if "&" in text:
        text = _ENTITY.sub(_character, text)
        if not tags and "<" in text and _TAG.search(text) is not None:
            return strip_html(text)
    return text


def _character(entity: re.Match[str]) -> str:
    """Return what an entity stands for; itself where HTML has none of that name."""
    known = entity[0][1] == "#" or entity[0][1:] in html5
    return html.unescape(entity[0]) if known else entity[0]


def _without_tags(text: str) -> str:
    parts: list[str] = []
    done = 0
    missing: set[str] = set()  # ends that the rest of the text does not have: looked for once
    while (match := _TAG.search(text, done)) is not None:
        parts.append(text[done : match.start()])
        done = match.end()
        name = (match[2] or "").lower()
        if match[0] == "<!--":
            done = _end(text, "-->", done, missing)
        elif name in _HIDDEN and not match[1]:
            done = _end(text, f"</{name}", done, missing)
            parts.append("\n")
        elif name in _CELLS and not match[1]:
            parts.append("\t")
        elif name in _BLOCKS:
            parts.append("\n")
    parts.append(text[done:])
    return _BLANKS.sub("\n\n", "".join(parts)).strip()


def _end(text: str, mark: str, start: int, missing: set[str]) -> int:
    """Return where a comment, a script or a style ends; its start where it never does."""
    if mark in missing:
        return start
    found = text.find(mark, start)
    if found < 0 and mark != "-->":
        found = text.find(mark.upper(), start)
    if found < 0:
        missing.add(mark)
        return start
    return found + len(mark) if mark == "-->" else found
