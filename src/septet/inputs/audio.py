"""A recording to what a model hears, by the feature extractor of the model's own folder: samples, or a spectrogram.

Every recording is brought to one length, `seconds`: longer ones are cut and counted, shorter ones are filled with silence. So no answer depends on the
recordings beside it, also where a model normalises over time and takes no mask. Spectrograms have the length that their extractor says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data.sound import milliseconds_of, samples_of
from septet.errors import ModelError, RecipeError
from septet.inputs.arrays import FILE, Arrays, Processor, address_of, check_same, config_of, tensors, unusable

if TYPE_CHECKING:
    import numpy as np
    import torch

TOKEN_S = 0.02  # what counts as a token: the step in which models of speech cut sound
HOP = 160  # samples of an AST's step; its extractor knows no other
WINDOW = 400
LOOKED_AT = 256  # training recordings that a new spectrogram's mean and deviation are of
_HINT = "a checkpoint that classifies audio, such as a Wav2Vec2, HuBERT or AST of the hub; or model: {architecture: audio-spectrogram-transformer}"


class Audio:
    """One recording a row.

    Args:
        seconds: that recordings are cut or filled to; None leaves it to the model's folder.
    """

    classifier = "AutoModelForAudioClassification"
    varies = False
    token_s = TOKEN_S

    def __init__(self, seconds: float | None = None):
        self.seconds = seconds

    def processor(self, folder: str) -> Waves:
        """Return the feature extractor of a model folder.

        Raises:
            ModelError: the folder has none, or it cannot be read, or says no length where none is given.
        """
        given = config_of(folder, "recordings", _HINT)
        made = _library(Path(folder), _length(given, self.seconds))
        seconds = _seconds_of(made) or self.seconds
        if seconds is None:
            raise ModelError("The feature extractor says no length.", where=folder, hint="task.seconds: 5")
        return Waves(made, seconds)

    def make(self, folder: Path, architecture: str, config: Mapping[str, Any], addresses: Sequence[str] = ()) -> None:
        """Write the feature extractor of a model from scratch.

        Args:
            config: fields of the model's config that the recipe names.
            addresses: training recordings; a spectrogram's mean and deviation are of some of them.

        Raises:
            RecipeError: no extractor of this architecture is known here.
        """
        from septet.model.load import silent

        seconds = self.seconds or 1.0
        kind = _kinds().get(_extractor_of(architecture))
        if kind is None:
            raise RecipeError(
                "model.architecture must be one that reads recordings.",
                received=architecture,
                hint="audio-spectrogram-transformer, wav2vec2, hubert, wavlm or whisper",
            )
        fields = _length({"feature_extractor_type": kind.__name__}, seconds)
        if kind.__name__ == "ASTFeatureExtractor":
            fields["num_mel_bins"] = config.get("num_mel_bins", 128)
            fields |= _spread(kind, fields, addresses)
        elif kind.__name__ == "WhisperFeatureExtractor":
            fields["feature_size"] = config.get("num_mel_bins", 80)
        else:
            fields = {"return_attention_mask": config.get("feat_extract_norm") == "layer"}
        folder.mkdir(parents=True, exist_ok=True)
        with silent():
            kind(**fields).save_pretrained(str(folder))

    def encode(self, values: Sequence[Any], processor: Waves) -> list[dict[str, Any]]:
        """Return the address of each recording, and the pieces of 20 ms that are cut off."""
        over = [milliseconds_of(str(value)) / 1000 - processor.seconds for value in values]
        # a hair too long is none: a length of seconds is rounded
        lost = [max(0, math.ceil(round(each / TOKEN_S, 1))) for each in over]
        return [{"audio": str(value), "truncated": cut} for value, cut in zip(values, lost, strict=True)]

    def size(self, inputs: dict[str, Any], processor: Waves) -> int:
        """Return how many pieces of 20 ms a recording counts for."""
        return max(1, round(processor.seconds / TOKEN_S))

    def pad(
        self, inputs: Sequence[dict[str, Any]], processor: Waves, length: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Return `input_values` (B, samples) or (B, steps, bins), or `input_features` (B, bins, steps), with the mask where the model takes one."""
        return tensors(processor([item["audio"] for item in inputs]))

    def parse(self, value: Any, where: str) -> str:
        """Return a value as the address of a recording.

        Raises:
            DataError: it is not a path.
        """
        return address_of(value, where, "recording")

    def save(self, processor: Waves, folder: Path, reads: int | None) -> None:
        """Write the feature extractor, and see that it gives the same numbers once it is read back.

        Raises:
            ModelError: it does not.
        """
        from septet.model.load import silent

        with silent():
            processor.library.save_pretrained(str(folder))
        again = Audio(self.seconds).processor(str(folder))
        probe = [_probe(processor.rate)]
        check_same(again.of(probe), processor.of(probe), "feature extractor", folder)


class Waves(Processor):
    """A model's feature extractor: addresses to arrays of one length.

    Args:
        library: transformers' own.
        seconds: what it reads of a recording.
    """

    def __init__(self, library: Any, seconds: float):
        super().__init__(library)
        self.seconds = seconds
        self.rate = int(library.sampling_rate)
        self.fixed = type(library).__name__ != "Wav2Vec2FeatureExtractor"

    @property
    def hears_silence(self) -> bool:
        """Whether the silence that fills a recording is heard: the model takes no mask, nor is it made for one length."""
        return not self.fixed and not self.library.return_attention_mask

    def decides(self) -> dict[str, Any]:
        shape = next(iter(self.of([_probe(self.rate)]).values())).shape[1:]
        if type(self.library).__name__ == "ASTFeatureExtractor":
            return {"max_length": shape[0], "num_mel_bins": shape[1]}
        return {"num_mel_bins": shape[0], "max_source_positions": shape[1] // 2} if self.fixed else {}

    def read(self, address: str) -> np.ndarray:
        return samples_of(address, self.rate)

    def of(self, values: list[Any]) -> Arrays:
        """Return what the model hears of recordings that are read."""
        import numpy as np

        more = {} if self.fixed else self.filled
        found = self.library(values, sampling_rate=self.rate, return_tensors="np", **more)
        return {
            name: np.ascontiguousarray(each, dtype=np.float32 if each.dtype.kind == "f" else np.int64)
            for name, each in ((name, np.asarray(found[name])) for name in found)
        }

    @property
    def filled(self) -> dict[str, Any]:
        """How a feature extractor of samples is called, so that they have one length."""
        return {"padding": "max_length", "max_length": round(self.seconds * self.rate), "truncation": True}


def own_seconds(folder: str) -> float | None:
    """Return the length that a model folder's extractor says; None where it takes any.

    Raises:
        ModelError: it has none, or it cannot be read.
    """
    given = config_of(folder, "recordings", _HINT)
    if given.get("feature_extractor_type") == "ASTFeatureExtractor":
        return int(given.get("max_length", 1024)) * HOP / int(given.get("sampling_rate", 16_000))
    return float(given["chunk_length"]) if "chunk_length" in given else None


def _seconds_of(library: Any) -> float | None:
    """Return the length that an extractor reads; None where it is told when it is called."""
    if type(library).__name__ == "ASTFeatureExtractor":
        return library.max_length * HOP / library.sampling_rate
    return float(library.chunk_length) if hasattr(library, "chunk_length") else None


def _length(given: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    """Return the fields of an extractor that make it read so many seconds; none where its folder decides, or where it is told when it is called."""
    name = given.get("feature_extractor_type")
    if seconds is None or name not in ("ASTFeatureExtractor", "WhisperFeatureExtractor"):
        return {}
    if name == "WhisperFeatureExtractor":
        return {"chunk_length": math.ceil(seconds)}
    return {"max_length": math.ceil(round(seconds * int(given.get("sampling_rate", 16_000)) / HOP, 3))}


def _kinds() -> dict[str, Any]:
    """Return the feature extractors that are known here, by name."""
    from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    return {kind.__name__: kind for kind in (ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor)}


def _extractor_of(architecture: str) -> str:
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    known: dict[str, Any] = {**FEATURE_EXTRACTOR_MAPPING_NAMES}
    return str(known.get(architecture))


def _library(folder: Path, fields: dict[str, Any]) -> Any:
    from septet.model.load import silent

    try:
        with silent():
            from transformers import AutoFeatureExtractor

            found = AutoFeatureExtractor.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **fields
            )
    except Exception as error:
        raise unusable(folder / FILE, error) from error
    if type(found).__name__ not in _kinds():
        raise ModelError(
            f"The model's feature extractor, {type(found).__name__}, is none that is known here.",
            where=str(folder / FILE),
            hint=f"a model with one of {', '.join(_kinds())}",
        )
    return found


def _spread(kind: Any, fields: dict[str, Any], addresses: Sequence[str]) -> dict[str, float]:
    """Return the mean and the deviation of the spectrograms of some recordings, up to where they are cut; those of AudioSet where there are none."""
    import numpy as np

    plain = kind(**fields, do_normalize=False)
    most, found = plain.max_length, []
    for address in addresses[:LOOKED_AT]:
        samples = samples_of(address, plain.sampling_rate)
        plain.max_length = min(most, 1 + (len(samples) - WINDOW) // HOP)
        found.append(plain(samples, sampling_rate=plain.sampling_rate, return_tensors="np")["input_values"].ravel())
    if not found:
        return {}
    values = np.concatenate(found)
    return {"mean": round(float(values.mean()), 4), "std": round(max(float(values.std()), 0.1), 4)}


def _probe(rate: int) -> np.ndarray:
    """Return half a second of a tone that rises."""
    import numpy as np

    at = np.arange(rate // 2) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 600 * at) * at)).astype(np.float32)
