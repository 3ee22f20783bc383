"""Text that was read in a wrong encoding (mojibake), mended by ftfy: `cafÃ©` becomes `café`.

ASCII text, and text in which no sequence of characters looks like mojibake, is not touched. Nothing else of ftfy is used: quotes, ligatures,
entities and line ends stay as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any


def repair(text: str) -> str:
    """Return the text as it was meant, where that can be told."""
    if text.isascii():
        return text
    is_bad, mend, config = _ftfy()
    return mend(text, config) if is_bad(text) else text


@cache
def _ftfy() -> tuple[Any, Any, Any]:
    """Return ftfy's test and its cure; the import is left to the first text that is not ASCII."""
    from ftfy import TextFixerConfig, fix_text
    from ftfy.badness import is_bad

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
    return is_bad, fix_text, TextFixerConfig(normalization=None, **dict.fromkeys(names, False))
