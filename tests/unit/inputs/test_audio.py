"""What models hear: the numbers of transformers' own extractors, of one length, the same after saving and whatever is asked beside them."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import transformers as hf

from concert import RATE, tone
from septet.errors import DataError, ModelError
from septet.inputs.audio import Audio

EXTRACTORS = {
    "samples": hf.Wav2Vec2FeatureExtractor(return_attention_mask=False),
    "masked": hf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    "ast": hf.ASTFeatureExtractor(num_mel_bins=32, max_length=50),
    "whisper": hf.WhisperFeatureExtractor(feature_size=32, chunk_length=1),
}
FILLED = {"padding": "max_length", "max_length": RATE // 2, "truncation": True}


@pytest.fixture
def paths(tmp_path):
    made = []
    for i, seconds in enumerate((0.2, 0.5, 1.3)):
        made.append(str(tmp_path / f"{i}.wav"))
        soundfile.write(made[-1], tone(440, i, seconds), RATE, subtype="FLOAT")
    return made


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_numbers_are_those_of_the_library(tmp_path, paths, kind):
    EXTRACTORS[kind].save_pretrained(str(tmp_path))
    processor = Audio(1.0 if kind == "whisper" else 0.5).processor(str(tmp_path))
    more = FILLED if kind in ("samples", "masked") else {}
    theirs = [
        EXTRACTORS[kind](soundfile.read(path, dtype="float32")[0], sampling_rate=RATE, return_tensors="np", **more)
        for path in paths
    ]
    for _ in range(2):  # read, then kept
        ours = processor(paths[::-1])
        assert ours.keys() == theirs[0].keys()
        for name, each in ours.items():
            assert np.allclose(each, np.concatenate([found[name] for found in theirs[::-1]]), atol=1e-6)
    assert {len(each) for each in processor(paths[:1]).values()} == {1}


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_a_length_of_the_recipe_is_kept_once_saved(tmp_path, paths, kind):
    EXTRACTORS[kind].save_pretrained(str(tmp_path))
    given = Audio(2.0)
    processor = given.processor(str(tmp_path))
    (tmp_path / "saved").mkdir()
    given.save(processor, tmp_path / "saved", None)
    again = Audio(2.0).processor(str(tmp_path / "saved"))
    assert all(np.array_equal(each, again(paths)[name]) for name, each in processor(paths).items())
    longest = max(next(iter(processor(paths).values())).shape[1:])
    assert longest == {"ast": 200, "whisper": 200}.get(kind, 2 * RATE)


@pytest.mark.parametrize(("kind", "seconds"), [("ast", 0.5), ("whisper", 1.0)])
def test_a_spectrogram_has_its_own_length(tmp_path, kind, seconds):
    EXTRACTORS[kind].save_pretrained(str(tmp_path))
    assert Audio().processor(str(tmp_path)).seconds == seconds


@pytest.mark.parametrize(("kind", "seconds"), [("ast", 1.3), ("whisper", 2.0), ("samples", 1.3)])
def test_a_length_is_what_is_read(tmp_path, kind, seconds):
    """A Whisper's is of whole seconds."""
    EXTRACTORS[kind].save_pretrained(str(tmp_path))
    assert Audio(1.3).processor(str(tmp_path)).seconds == seconds


def test_what_is_cut_is_counted_in_pieces_of_20_ms(tmp_path, paths):
    EXTRACTORS["samples"].save_pretrained(str(tmp_path))
    processor = Audio(0.5).processor(str(tmp_path))
    assert [each["truncated"] for each in Audio(0.5).encode(paths, processor)] == [0, 0, 40]
    assert Audio(0.5).size({}, processor) == 25


def test_folders_that_do_not_hear(tmp_path, paths):
    with pytest.raises(ModelError, match="reads no recordings"):
        Audio(1.0).processor(str(tmp_path))
    EXTRACTORS["samples"].save_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match="says no length"):
        Audio().processor(str(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        Audio(1.0).processor(str(tmp_path))([*paths, str(tmp_path / "gone.wav")])
    with pytest.raises(DataError, match="path of a recording"):
        Audio().parse(3, "input")


def test_a_new_spectrogram_is_normalised_by_its_recordings(tmp_path, paths):
    Audio(1.3).make(tmp_path / "made", "audio-spectrogram-transformer", {"num_mel_bins": 16}, paths)
    processor = Audio(1.3).processor(str(tmp_path / "made"))
    (found,) = processor(paths[2:])["input_values"]
    assert found.shape == (130, 16)
    assert abs(float(found[:120].mean())) < 0.1 and abs(float(found[:120].std()) - 0.5) < 0.1
