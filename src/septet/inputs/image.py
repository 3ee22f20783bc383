"""A picture to pixels, by the image processor of the model's own folder.

A value is the address of a picture (`data/picture.py`). It stays an address until a batch needs its pixels, so that a run holds no more pictures than
fit; those that were read are kept, up to half a gigabyte. The processor computes with Pillow and NumPy, whatever else is installed, so that
a picture has the same pixels everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data.picture import open_rgb
from septet.errors import DataError, MissingExtraError, ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch

FILE = "preprocessor_config.json"
PATCH = 16  # pixels of a side of what counts as a token, as in most models that cut pictures into patches
KEPT_BYTES = 512 << 20
_SIDES = ("size", "crop_size")


class Image:
    """One picture a row.

    Args:
        side: pixels of both sides that pictures are scaled to; None leaves it to the model's folder.
    """

    classifier = "AutoModelForImageClassification"
    varies = False

    def __init__(self, side: int | None = None):
        self.side = side

    def processor(self, folder: str) -> Pixels:
        """Return the image processor of a model folder.

        Raises:
            ModelError: the folder has none, or it cannot be read.
            MissingExtraError: Pillow is not installed.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise ModelError(
                f"The model folder has no {FILE}, so the model reads no pictures.",
                where=folder,
                hint="a checkpoint that classifies pictures, such as a ViT or a ResNet of the hub; or model: {architecture: resnet}",
            )
        try:
            given = json.loads(path.read_text())
            sizes = {name: given[name] for name in _SIDES if isinstance(given.get(name), (dict, int))}
        except (ValueError, TypeError) as error:
            raise ModelError(f"{FILE} is not valid JSON: {error}", where=str(path)) from error
        return Pixels(_library(path, {name: _sized(size, self.side) for name, size in sizes.items()}))

    def make(self, folder: Path) -> None:
        """Write the image processor of a model from scratch: pictures scaled to `side`, values from -1 to 1."""
        from septet.model.load import silent

        folder.mkdir(parents=True, exist_ok=True)
        with silent():
            from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

            size: Any = {"height": self.side, "width": self.side}
            ViTImageProcessorPil(size=size).save_pretrained(str(folder))

    def encode(self, values: Sequence[Any], processor: Pixels) -> list[dict[str, Any]]:
        """Return the address of each picture."""
        return [{"image": str(value), "truncated": 0} for value in values]

    def size(self, inputs: dict[str, Any], processor: Pixels) -> int:
        """Return how many patches a picture counts for."""
        return processor.patches

    def pad(
        self, inputs: Sequence[dict[str, Any]], processor: Pixels, length: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Return (B, C, H, W) float32 `pixel_values`."""
        import torch

        return {"pixel_values": torch.from_numpy(processor([item["image"] for item in inputs]))}

    def parse(self, value: Any, where: str) -> str:
        """Return a value as the address of a picture.

        Raises:
            DataError: it is not a path.
        """
        if not isinstance(value, str):
            raise DataError("The path of a picture was expected.", where=where, received=value)
        return value

    def save(self, processor: Pixels, folder: Path, reads: int | None) -> None:
        """Write the image processor, and see that it gives the same pixels once it is read back.

        Raises:
            ModelError: it does not.
        """
        import numpy as np

        from septet.model.load import silent

        with silent():
            processor.library.save_pretrained(str(folder))
        again = Image().processor(str(folder))
        if not np.array_equal(processor.of([_probe()]), again.of([_probe()])):
            raise ModelError(
                "The image processor gives other pixels after saving than it gave in training.", where=str(folder)
            )


class Pixels:
    """A model's image processor: addresses to (B, C, H, W) float32.

    Args:
        library: transformers' own.
    """

    def __init__(self, library: Any):
        self.library = library
        self.shape: tuple[int, int, int] = self.of([_probe()]).shape[1:]
        self._kept: dict[str, np.ndarray] = {}
        self._room = KEPT_BYTES

    @property
    def patches(self) -> int:
        """Patches of 16 x 16 pixels that a picture is cut into."""
        _, height, width = self.shape
        return max(1, round(height * width / PATCH**2))

    def __call__(self, addresses: Sequence[str]) -> np.ndarray:
        import numpy as np

        missing = [address for address in dict.fromkeys(addresses) if address not in self._kept]
        read = dict(zip(missing, self.of([open_rgb(address) for address in missing]), strict=True)) if missing else {}
        found = np.stack([self._kept[a] if a in self._kept else read[a] for a in addresses])
        for address, pixels in read.items():
            if pixels.nbytes <= self._room:
                self._kept[address] = pixels
                self._room -= pixels.nbytes
        return found

    def of(self, images: list[Any]) -> np.ndarray:
        """Return the pixels of pictures that are open.

        Raises:
            ModelError: the processor gives no pixels of one size.
        """
        import numpy as np

        found = self.library(images, return_tensors="np")["pixel_values"]
        if not isinstance(found, np.ndarray) or found.ndim != 4:
            raise ModelError("The image processor gives no pictures of one size.", received=type(self.library).__name__)
        return np.ascontiguousarray(found, dtype=np.float32)


def _library(path: Path, sizes: dict[str, Any]) -> Any:
    from septet.model.load import silent

    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError("pillow", "image", "Reading pictures") from None
    try:
        with silent():
            from transformers import AutoImageProcessor

            return AutoImageProcessor.from_pretrained(
                str(path.parent), backend="pil", local_files_only=True, trust_remote_code=False, **sizes
            )
    except Exception as error:
        raise ModelError(
            f"{FILE} cannot be used: {type(error).__name__}: {str(error)[:200]}", where=str(path)
        ) from error


def _sized(size: dict[str, int] | int, side: int | None) -> Any:
    """Return a size of a processor's config with other sides."""
    if side is None:
        return size
    return dict.fromkeys(size, side) if isinstance(size, dict) else side


def _probe() -> Any:
    """Return a small picture in which no two places are alike."""
    import numpy as np
    from PIL import Image as Images

    y, x = np.mgrid[0:48, 0:64]
    return Images.fromarray(np.stack([x * 4, y * 5, (x * y) % 251], -1).astype(np.uint8))
