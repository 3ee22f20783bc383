"""Pictures and recordings on a page: small ones, inside it, and only those that the recipe's data hold.

A picture becomes a thumbnail; a recording can be heard where it is short. What is gone, damaged, too large, elsewhere or beyond the room of a page has
its path alone, which stands beside the others too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from septet.data import picture, sound
from septet.data.address import Unreadable, file_of, read
from septet.data.files import ARCHIVES, ending, in_archive
from septet.errors import SeptetError
from septet.page.html import Html, tag
from septet.recipe import Recipe

MOST_PICTURES, MOST_RECORDINGS = 60, 20  # of a page
SIDE = 96  # pixels of a thumbnail
SMALL = 48  # smaller pictures are shown at twice their size
RECORDING_BYTES, RECORDINGS_BYTES = 128 << 10, 1 << 20  # of one, and of a page
_SOUNDS = {".wav": "wav", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg", ".mp3": "mpeg"}


class Files:
    """The files of rows, as long as there is room for them.

    Args:
        kind: `picture` or `recording`; None of texts, which are no files.
        roots: the folders and archives that files are shown from.
    """

    def __init__(self, kind: str | None, roots: Iterable[Path]):
        self.kind = kind
        self.roots = [root.resolve() for root in roots]
        self._room = MOST_RECORDINGS if kind == sound.NAME else MOST_PICTURES
        self._bytes = RECORDINGS_BYTES

    @classmethod
    def of(cls, recipe: Recipe, kind: str | None, *, others: Iterable[str] = ()) -> Files:
        """Return those of a recipe: its data folder, what `data` names beside it, and other data that were scored."""
        data, found = recipe.data, [recipe.folder, *map(Path, others)]
        for value in (data.train, data.validation, data.test, data.media):
            found += [recipe.path(name) for name in _names(value) if "://" not in name]
        return cls(kind, map(_root, found))

    def show(self, address: str) -> Html | None:
        """Return what is seen or heard of a file; None where nothing is, and its path has to do."""
        if self.kind is None or self._room <= 0 or not self._inside(address):
            return None
        try:
            shown = self._heard(address) if self.kind == sound.NAME else _seen(address)
        except (Unreadable, SeptetError, OSError):  # gone or damaged since it was scored
            return None
        self._room -= shown is not None
        return shown

    def _inside(self, address: str) -> bool:
        path = Path(file_of(address))
        return path.is_absolute() and any(path.resolve().is_relative_to(root) for root in self.roots)

    def _heard(self, address: str) -> Html | None:
        kind, most = _SOUNDS.get(Path(address).suffix.lower()), min(RECORDING_BYTES, self._bytes)
        if kind is None or (file_of(address) == address and Path(address).stat().st_size > most):
            return None
        raw = read(address)
        if len(raw) > most:
            return None
        self._bytes -= len(raw)
        return tag("audio", controls="", preload="metadata", src=f"data:audio/{kind};base64,{_text(raw)}")


def _seen(address: str) -> Html:
    image = picture.open_rgb(address)
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    scale = 2 if max(image.size) <= SMALL else 1
    source = f"data:image/jpeg;base64,{_text(file.getvalue())}"
    return tag("img", src=source, width=image.width * scale, height=image.height * scale, alt="")


def _root(path: Path) -> Path:
    """Return the folder or the archive that the files of a path of the recipe lie in."""
    within = in_archive(path)
    if within is not None:
        return within[0]
    return path if path.is_dir() or ending(path) in ARCHIVES else path.parent


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _names(value: Any) -> list[str]:
    """Return the paths of a key of `data`: one, several, or several by name."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [name for each in value.values() for name in _names(each)]
    return [value] if isinstance(value, str) else [name for each in value for name in _names(each)]
