"""A picture to pixels, by the image processor of the model's own folder.

The processor computes with Pillow and NumPy, whatever else is installed, so that a picture has the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data.picture import open_rgb
from septet.errors import MissingExtraError, ModelError
from septet.inputs.arrays import FILE, Arrays, Processor, address_of, check_same, config_of, tensors, unusable

if TYPE_CHECKING:
    import torch

PATCH = 16  # pixels of a side of what counts as a token, as in most models that cut pictures into patches
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
        hint = "a checkpoint that classifies pictures, such as a ViT or a ResNet of the hub; or model: {architecture: resnet}"
        given = config_of(folder, "pictures", hint)
        sizes = {name: given[name] for name in _SIDES if isinstance(given.get(name), (dict, int))}
        return Pixels(_library(Path(folder), {name: _sized(size, self.side) for name, size in sizes.items()}))

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
        return tensors(processor([item["image"] for item in inputs]))

    def parse(self, value: Any, where: str) -> str:
        """Return a value as the address of a picture.

        Raises:
            DataError: it is not a path.
        """
        return address_of(value, where, "picture")

    def save(self, processor: Pixels, folder: Path, reads: int | None) -> None:
        """Write the image processor, and see that it gives the same pixels once it is read back.

        Raises:
            ModelError: it does not.
        """
        from septet.model.load import silent

        with silent():
            processor.library.save_pretrained(str(folder))
        again = Image().processor(str(folder))
        check_same(again.of([_probe()]), processor.of([_probe()]), "image processor", folder)


class Pixels(Processor):
    """A model's image processor: addresses to (B, C, H, W) float32 `pixel_values`."""

    def __init__(self, library: Any):
        super().__init__(library)
        self.shape: tuple[int, ...] = self.of([_probe()])["pixel_values"].shape[1:]

    @property
    def patches(self) -> int:
        """Patches of 16 x 16 pixels that a picture is cut into."""
        _, height, width = self.shape
        return max(1, round(height * width / PATCH**2))

    def decides(self) -> dict[str, Any]:
        return {"image_size": self.shape[1]}

    def read(self, address: str) -> Any:
        return open_rgb(address)

    def of(self, values: list[Any]) -> Arrays:
        """Return the pixels of pictures that are open.

        Raises:
            ModelError: the processor gives no pixels of one size.
        """
        import numpy as np

        found = self.library(values, return_tensors="np")["pixel_values"]
        if not isinstance(found, np.ndarray) or found.ndim != 4:
            raise ModelError("The image processor gives no pictures of one size.", received=type(self.library).__name__)
        return {"pixel_values": np.ascontiguousarray(found, dtype=np.float32)}


def _library(folder: Path, sizes: dict[str, Any]) -> Any:
    from septet.model.load import silent

    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError("pillow", "image", "Reading pictures") from None
    try:
        with silent():
            from transformers import AutoImageProcessor

            return AutoImageProcessor.from_pretrained(
                str(folder), backend="pil", local_files_only=True, trust_remote_code=False, **sizes
            )
    except Exception as error:
        raise unusable(folder / FILE, error) from error


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
