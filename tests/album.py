"""Small pictures, models that read them, and damaged files, all made in code."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def picture(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (24, 28)) -> Image.Image:
    """Return a picture of a colour and much noise; another seed, another picture."""
    noise = np.random.default_rng(seed).normal(0, 60, (*size, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def album(folder: Path, count: int = 20, *, first: int = 0, ending: str = "png") -> Path:
    """Write `folder/<colour>/<number>.<ending>`, so many of each colour."""
    for place, (label, colour) in enumerate(COLOURS.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            picture(colour, 1000 * place + i).save(folder / label / f"{i:03d}.{ending}")
    return folder


def recipe(folder: Path, data: dict[str, Any], model: Any, **sections: Any) -> Path:
    """Write a recipe of pictures."""
    path = folder / "recipe.yaml"
    task = {"name": "classify", "image": "image", "label": "label"} | sections.pop("task", {})
    path.write_text(yaml.safe_dump({"data": data, "task": task, "model": model, **sections}))
    return path


def model_folder(folder: Path, kind: str = "resnet", side: int = 32) -> Path:
    """Write a tiny checkpoint of pictures, as the hub lays it out; batch norms have statistics of their own."""
    import torch
    import transformers as hf
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    square = ViTImageProcessorPil(size={"height": side, "width": side})
    vit = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    kinds: dict[str, tuple[type, Any, Any]] = {
        "resnet": (
            hf.ResNetForImageClassification,
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5),
            ConvNextImageProcessorPil(size={"shortest_edge": side}),
        ),
        "mobilenet": (
            hf.MobileNetV2ForImageClassification,
            hf.MobileNetV2Config(depth_multiplier=0.25, image_size=side, num_labels=5),
            square,
        ),
        "vit": (
            hf.ViTForImageClassification,
            hf.ViTConfig(**vit, image_size=side, patch_size=8, num_labels=5),
            square,
        ),
        "swin": (
            hf.SwinForImageClassification,
            hf.SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], image_size=side, patch_size=2, window_size=4),
            square,
        ),
        "convnext": (
            hf.ConvNextForImageClassification,
            hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=5),
            ConvNextImageProcessorPil(size={"shortest_edge": side}),
        ),
    }
    make, config, processor = kinds[kind]
    torch.manual_seed(0)
    model = make(config).train()
    with torch.no_grad():
        for _ in range(20):
            model(pixel_values=torch.randn(16, 3, side, side) * 1.5 + 0.3)
    model.eval().save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    return folder


# ---- damaged files ----


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _huge_png() -> bytes:
    """Return a PNG whose header says 60,000 x 60,000 pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def _flipped(raw: bytes, place: int) -> bytes:
    changed = bytearray(raw)
    changed[place] ^= 0xFF
    return bytes(changed)


def _noise() -> Image.Image:
    return picture((120, 120, 120), 7, (64, 64))


# name -> what the file holds, and what is said of it
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", "an empty file"),
    "text.png": (lambda: b"not a picture\n", "no picture"),
    "html.jpg": (lambda: b"<!doctype html><html>404</html>", "no picture"),
    "nul.png": (lambda: bytes(500), "no picture"),
    "pdf.jpg": (lambda: b"%PDF-1.7\n%\xe2\xe3", "no picture"),
    "eps.png": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "zip.png": (lambda: b"PK\x03\x04" + bytes(40), "no picture"),
    "pickle.png": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00", "no picture"),
    "lfs.png": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no picture"),
    "svg.png": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
    "half.png": (lambda: encoded(_noise(), "PNG")[:4000], "cut short"),
    "half.jpg": (lambda: encoded(_noise(), "JPEG")[:900], "cut short"),
    "half.webp": (lambda: encoded(_noise(), "WEBP")[:700], "no picture|cut short|a damaged picture"),
    "half.bmp": (lambda: encoded(_noise(), "BMP")[:5000], "cut short"),
    "half.tif": (lambda: encoded(_noise(), "TIFF")[:5000], "no picture|cut short|a damaged picture"),
    "half.gif": (lambda: encoded(_noise(), "GIF")[:1500], "cut short|a damaged picture"),
    "head.png": (lambda: encoded(_noise(), "PNG")[:20], "a damaged picture|cut short"),
    "head.jpg": (lambda: b"\xff\xd8\xff", "a damaged picture|cut short"),
    "crc.png": (lambda: _flipped(encoded(_noise(), "PNG"), 20), "a damaged picture"),
    "pixels.png": (lambda: _flipped(encoded(_noise(), "PNG"), 60), "a damaged picture|cut short"),
    "bomb.png": (_huge_png, "more than 100 million pixels"),
    "float.tif": (lambda: encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "no picture of 8 or 16 bits"),
    "zero.bmp": (lambda: b"BM" + bytes(60), "a damaged picture|no picture|cut short"),
}


def break_album(folder: Path) -> dict[str, str]:
    """Put every kind of broken file among the pictures of `blue`; return name -> the pattern of what is said."""
    told = {}
    for name, (make, says) in BROKEN.items():
        (folder / "blue" / name).write_bytes(make())
        told[name] = says
    outside = folder.parent / "outside.png"
    picture((1, 2, 3), 99).save(outside)
    (folder / "blue" / "outside.png").symlink_to(outside)
    told["outside.png"] = "a link out of the folder"
    (folder / "blue" / "gone.png").symlink_to(folder / "nowhere.png")
    told["gone.png"] = "a link to nothing"
    os.mkfifo(folder / "blue" / "pipe.png")
    told["pipe.png"] = "no regular file"
    return told
