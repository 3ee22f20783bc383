"""A picture: what it is known by, and its pixels.

Only kinds that are plain pixels are opened, and never one of more pixels than a camera takes.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from septet.data.address import SHOWN, Unreadable, listed, read
from septet.errors import DataError, MissingExtraError
from septet.report import Finding

if TYPE_CHECKING:
    from PIL.Image import Image

NAME, SLUG = "picture", "picture-unreadable"
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others, such as EPS, would start programs
MOST_PIXELS = 100_000_000  # a 100-megapixel camera; decoded that is 300 MB


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
    raw = read(address)
    image = _decoded(raw)
    frames = int(getattr(image, "n_frames", 1))
    return Picture(address, hashlib.sha256(raw).hexdigest(), image.width, image.height, str(image.format), frames)


def open_rgb(address: str) -> Image:
    """Return a picture's first frame in RGB, turned as its camera was held.

    Raises:
        DataError: it is gone, or cannot be read any more.
    """
    try:
        return upright(_decoded(read(address)))
    except Unreadable as error:
        raise DataError(f"The picture cannot be read: {error}.", where=address) from None


def measured(files: Sequence[Picture]) -> dict[str, list[int]]:
    """Return the sizes that a profile tells of pictures."""
    return {"width": [each.width for each in files], "height": [each.height for each in files]}


def told(files: Sequence[Picture]) -> list[Finding]:
    """Return what is to be told of pictures that can be read: those of several frames."""
    names = [Path(each.address).name for each in files if each.frames > 1]
    if not names:
        return []
    return [
        Finding(
            "picture-frames",
            "note",
            f"{len(names):,} {'picture has' if len(names) == 1 else 'pictures have'} several frames, of which the first is read: {listed(names)}.",
            "save the frames as pictures of their own where they matter",
            {"rows": len(names), "places": names[:SHOWN]},
        )
    ]


def upright(image: Image) -> Image:
    """Return a decoded picture in RGB, turned as its camera was held."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # 16 bits of grey: Pillow would cut off all above 255
        import numpy as np
        from PIL import Image as Images

        turned = Images.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
    return turned.convert("RGB")


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
