"""Tags whose text is escaped: what is not `Html` already is text, and text never becomes markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
_VOID = {"br", "meta", "hr", "img"}
_DRAWN = {"rect", "line", "circle", "path", "polyline", "use"}


class Html(str):
    """Markup that is finished and safe."""

    __slots__ = ()


Child = Any  # Html, text, a number, None (nothing), or an iterable of these


def text(value: Any) -> Html:
    """Return a value as escaped text; characters that no page may hold, or that turn its direction, become U+FFFD."""
    return value if isinstance(value, Html) else Html(html.escape(_CONTROL.sub("\ufffd", str(value)), quote=True))


def tag(name: str, *children: Child, **attributes: Any) -> Html:
    """Return a tag. `class_` is `class`, `stroke_width` is `stroke-width`; None and False leave an attribute out.

    Args:
        children: markup or text; text is escaped.
        attributes: values are escaped; floats are shortened to two decimals.
    """
    shown = "".join(
        f' {_name(key)}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = join(children)
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    if name in _DRAWN and not inside:
        return Html(f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{inside}</{name}>")


def join(children: Child) -> Html:
    """Return children one after the other."""
    if children is None:
        return Html("")
    if isinstance(children, (str, int, float)):
        return text(children)
    if isinstance(children, Iterable):
        return Html("".join(join(child) for child in children))
    return text(children)


def table(
    head: list[Child],
    rows: Iterable[list[Child]],
    *,
    numeric: Iterable[int] = (),
    caption: str | None = None,
    class_: str | None = None,
) -> Html:
    """Return a table that scrolls sideways where it must.

    Args:
        numeric: places of the columns that hold figures.
    """
    right = set(numeric)

    def cells(kind: str, values: list[Child], **extra: Any) -> list[Html]:
        return [tag(kind, value, class_="n" if i in right else None, **extra) for i, value in enumerate(values)]

    body = [tag("tr", cells("td", row)) for row in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption) if caption else None,
            tag("thead", tag("tr", cells("th", head, scope="col"))),
            tag("tbody", body),
            class_=class_,
        ),
        class_="wide",
        tabindex="0",
        role="group",
        aria_label=caption or "table",
    )


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key


def _value(value: Any) -> str:
    if value is True:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return text(value)
