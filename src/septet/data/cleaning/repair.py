"""Text that was read in a wrong encoding (mojibake), mended by ftfy: `cafÃ©` becomes `café`.

ASCII text, and text in which no sequence of characters can be bytes of UTF-8 read in another encoding, is not touched, and costs a tenth of asking ftfy. Nothing
else of ftfy is used: quotes, ligatures, entities and line ends stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

# bytes of UTF-8: those that begin a character, those that go on with it, and those that begin one whose second byte may be
# a no-break space, which people and programs turn into a space
_FIRST, _NEXT = range(0xC0, 0xF5), range(0x80, 0xC0)
_BEFORE_SPACE = (0xC2, 0xC3, 0xC5, 0xCE, 0xD0, 0xD9, *range(0xE0, 0xE4), 0xF0)


def repair(text: str) -> str:
    """Return the text as it was meant, where that can be told."""
    if text.isascii():
        return text
    likely, mend = _ftfy()
    return mend(text) if likely(text) else text


@cache
def _ftfy() -> tuple[Callable[[str], bool], Callable[[str], str]]:
    """Return a test that is true of every text that ftfy would change, and ftfy's cure; the import is left to the first text that is not ASCII."""
    from ftfy import TextFixerConfig, fix_text
    from ftfy.badness import is_bad
    from ftfy.chardata import CHARMAP_ENCODINGS, UTF8_DETECTOR_RE

    names = (
        "unescape_html",
        "remove_terminal_escapes",
        "fix_c1_controls",
        "fix_latin_ligatures",
        "fix_character_width",
        "uncurl_quotes",
        "fix_line_breaks",
        "fix_surrogates",
        "remove_control_chars",
        "explain",
    )
    settings: dict[str, Any] = dict.fromkeys(names, False)
    config = TextFixerConfig(normalization=None, **settings)
    first, after = _characters(CHARMAP_ENCODINGS, _FIRST), _characters(CHARMAP_ENCODINGS, _NEXT)
    spaced = _characters((name for name in CHARMAP_ENCODINGS if name != "macroman"), _BEFORE_SPACE)
    lossy = _characters((name for name in CHARMAP_ENCODINGS if name.startswith("sloppy")), _FIRST)
    bytes_of_utf8 = re.compile(f"{first}{after}|{spaced} |{lossy}[?\x1a\ufffd]|[\x1a\x80-\x9f]")

    def likely(text: str) -> bool:
        found = bytes_of_utf8.search(text) is not None or UTF8_DETECTOR_RE.search(text) is not None
        return found and is_bad(text)

    return likely, lambda text: fix_text(text, config)


def _characters(encodings: Iterable[str], numbers: Iterable[int]) -> str:
    """Return the class, of a regular expression, of the characters that some bytes are in some encodings."""
    found = {bytes([number]).decode(name, "ignore") for name in encodings for number in numbers}
    return f"[{''.join(map(re.escape, sorted(found)))}]"
