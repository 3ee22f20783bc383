"""Pixels of pictures: those of transformers' own processor, the same after saving, the same however often they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from album import picture
from septet.errors import DataError, ModelError
from septet.inputs.image import Image

PROCESSORS = {
    "vit": ViTImageProcessorPil(size={"height": 48, "width": 48}),
    "convnext": ConvNextImageProcessorPil(size={"shortest_edge": 48}),
    "mobilenet": MobileNetV2ImageProcessorPil(size={"shortest_edge": 54}, crop_size={"height": 48, "width": 48}),
    "deit": DeiTImageProcessorPil(size={"height": 54, "width": 54}, crop_size={"height": 48, "width": 48}),
}


@pytest.fixture
def paths(tmp_path):
    made = []
    for i, size in enumerate(((24, 28), (90, 40), (48, 48), (7, 200))):
        made.append(str(tmp_path / f"{i}.png"))
        picture((90, 160, 20), i, size).save(made[-1])
    return made


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pixels_are_those_of_the_library(tmp_path, paths, kind):
    from PIL import Image as Images

    PROCESSORS[kind].save_pretrained(str(tmp_path))
    processor = Image().processor(str(tmp_path))
    theirs = PROCESSORS[kind]([Images.open(path) for path in paths], return_tensors="np")["pixel_values"]
    assert processor.shape == (3, 48, 48) and processor.patches == 9
    for _ in range(2):  # read, then kept
        assert np.array_equal(processor(paths)["pixel_values"], theirs)
    assert np.array_equal(processor(paths[::-1] + paths[:1])["pixel_values"], np.stack([*theirs[::-1], theirs[0]]))


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_side_of_the_recipe_scales_and_is_saved(tmp_path, paths, kind):
    PROCESSORS[kind].save_pretrained(str(tmp_path))
    given = Image(32)
    processor = given.processor(str(tmp_path))
    assert processor.shape == (3, 32, 32)
    (tmp_path / "saved").mkdir()
    given.save(processor, tmp_path / "saved", None)
    again = Image().processor(str(tmp_path / "saved"))
    assert np.array_equal(again(paths)["pixel_values"], processor(paths)["pixel_values"])


def test_what_is_kept_has_a_limit(tmp_path, paths, monkeypatch):
    monkeypatch.setattr("septet.inputs.arrays.KEPT_BYTES", 48 * 48 * 3 * 4 * 2)
    PROCESSORS["vit"].save_pretrained(str(tmp_path))
    processor = Image().processor(str(tmp_path))
    one, two = processor(paths)["pixel_values"], processor(paths)["pixel_values"]
    assert len(processor._kept) == 2 and np.array_equal(one, two)


def test_a_folder_of_a_text_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="reads no pictures"):
        Image().processor(str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        Image().processor(str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchProcessor"}')
    with pytest.raises(ModelError, match="cannot be used"):
        Image().processor(str(tmp_path))


def test_a_picture_that_is_gone_is_named(tmp_path, paths):
    PROCESSORS["vit"].save_pretrained(str(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        Image().processor(str(tmp_path))([*paths, str(tmp_path / "gone.png")])
    with pytest.raises(DataError, match="path of a picture"):
        Image().parse(3, "input")
