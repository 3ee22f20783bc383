"""One picture: its address, its bytes, and its pixels.

An address is an absolute path; one that goes through an archive (`a.zip/cat/1.png`) is read from it in memory. Only kinds that are plain pixels are
opened, and never one of more pixels than a camera takes.
"""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from septet.data import archive
from septet.data.files import in_archive, read_bytes, shown
from septet.errors import DataError, MissingExtraError, amount

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others, such as EPS, would start programs
MOST_PIXELS = 100_000_000  # a 100-megapixel camera; decoded that is 300 MB
LARGEST = 512 << 20  # bytes of a file
_OPEN_ARCHIVES = 4


class Unreadable(Exception):  # noqa: N818  (a reason, not a failure)
    """Why a picture cannot be read."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that can be read: where it lies, what it is known by, and what is told of it."""

    address: str
    sha256: str
    width: int
    height: int
    kind: str
    frames: int = 1


def read_whole(address: str) -> Picture:
    """Return what a picture is, decoded once to the end.

    Raises:
        Unreadable: it cannot be read; says why.
    """
    raw = _read(address)
    image = _decoded(raw)
    frames = int(getattr(image, "n_frames", 1))
    return Picture(address, hashlib.sha256(raw).hexdigest(), image.width, image.height, str(image.format), frames)


def open_rgb(address: str) -> Image:
    """Return a picture's first frame in RGB, turned as its camera was held.

    Raises:
        DataError: it is gone, or cannot be read any more.
    """
    try:
        return upright(_decoded(_read(address)))
    except Unreadable as error:
        raise DataError(f"The picture cannot be read: {error}.", where=address) from None


def upright(image: Image) -> Image:
    """Return a decoded picture in RGB, turned as its camera was held."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # 16 bits of grey: Pillow would cut off all above 255
        import numpy as np
        from PIL import Image as Images

        turned = Images.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
    return turned.convert("RGB")


def file_of(address: str) -> str:
    """Return the file that an address is in."""
    within = _within(address)
    return address if within is None else within[0]


def _within(address: str) -> tuple[str, str] | None:
    """Return the archive that an address goes through, and the name in it; None of a plain file."""
    archived = _archive_of(address.rpartition("/")[0])
    return None if archived is None else (archived, address[len(archived) + 1 :])


@lru_cache(maxsize=4096)  # thousands of pictures lie in one folder
def _archive_of(folder: str) -> str | None:
    found = None if Path(folder).is_dir() else in_archive(Path(folder) / "x")
    return None if found is None else str(found[0])


def sha256_of(address: str) -> str | None:
    """Return what a picture's file is known by; None where it is gone."""
    try:
        return hashlib.sha256(_read(address)).hexdigest()
    except (Unreadable, DataError):
        return None


def members_of(path: Path) -> dict[str, archive.Member]:
    """Return the files of an archive by name."""
    status = path.stat()
    return _opened(str(path.absolute()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_OPEN_ARCHIVES)
def _opened(path: str, size: int, mtime_ns: int) -> dict[str, archive.Member]:
    raw, _ = read_bytes(Path(path))
    if not archive.is_archive(raw):
        raise DataError("The file is no archive.", where=shown(Path(path)))
    return {member.name.removeprefix("./"): member for member in archive.members(raw, shown(Path(path)))}


def _read(address: str) -> bytes:
    """Return the bytes of a picture."""
    within = _within(address)
    if within is not None:
        member = members_of(Path(within[0])).get(within[1])
        if member is None:
            raise Unreadable("there is no such file in the archive")
        raw = member.read()
    else:
        raw = _read_file(Path(address))
    if not raw:
        raise Unreadable("an empty file")
    return raw


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > LARGEST:
            raise Unreadable(f"a file of more than {amount(LARGEST)}")
        return path.read_bytes()
    except FileNotFoundError:
        raise Unreadable("a link to nothing" if path.is_symlink() else "there is no such file") from None
    except PermissionError:
        raise Unreadable("no permission to read it") from None
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror or error})") from None


def _decoded(raw: bytes) -> Image:
    """Return a picture, its first frame decoded."""
    try:
        from PIL import Image as Images
    except ImportError:
        raise MissingExtraError("pillow", "image", "Reading pictures") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; and of many pixels, which are counted here
            image = Images.open(io.BytesIO(raw), formats=KINDS)
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(f"more than {MOST_PIXELS // 1_000_000} million pixels")
            image.load()
    except Unreadable:
        raise
    except Images.UnidentifiedImageError:
        raise Unreadable(_what(raw)) from None
    except Images.DecompressionBombError:
        raise Unreadable(f"more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except Exception as error:  # whatever a decoder says of bytes that are not what they begin as
        reason = " ".join(str(error).split())
        raise Unreadable("cut short" if "truncated" in reason.lower() else "a damaged picture") from None
    if image.mode in ("F", "I"):
        raise Unreadable("no picture of 8 or 16 bits")
    return image


def _what(raw: bytes) -> str:
    """Return what bytes are that are none of the pictures read here."""
    heads = ((b"\x89PNG", "a damaged picture"), (b"\xff\xd8", "a damaged picture"), (b"GIF8", "a damaged picture"))
    return next((what for head, what in heads if raw.startswith(head)), "no picture")
