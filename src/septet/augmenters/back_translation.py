"""A text translated by one model and back by another (`data.augment.translators`): other words for the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from septet.augmenters import Augmenter, Given, Phrase
from septet.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

BATCH, MOST_TOKENS = 16, 256


class BackTranslation(Augmenter):
    """Both ways take the likeliest word each time, so that a text has one variant."""

    strength = 1.0
    why = "the whole text is written anew"
    translates = True
    once = True

    def __init__(self, options: Given):
        super().__init__(options)
        if len(options.translators) != 2:
            raise UsageError("back_translation needs two models.", hint="data.augment.translators: [THERE, BACK]")

    def augment(self, phrases: Sequence[Phrase], rngs: Sequence[np.random.Generator]) -> list[str]:
        texts = [phrase.text for phrase in phrases]
        for folder in self.options.translators:
            texts = self._translated(texts, folder)
        return [text.strip() or phrase.text for text, phrase in zip(texts, phrases, strict=True)]

    def _translated(self, texts: list[str], folder: Path) -> list[str]:
        import torch

        processor, model = _load(folder, self.options.device)
        found: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                inputs = processor(
                    texts[start : start + BATCH],
                    return_tensors="pt",
                    padding=True,
                    truncation=True,
                    max_length=MOST_TOKENS,
                )
                inputs.pop("token_type_ids", None)
                made = model.generate(
                    **inputs.to(model.device),
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=2 * inputs["input_ids"].shape[1] + 10,
                )
                found += processor.batch_decode(made, skip_special_tokens=True)
                self.options.listen("progress", what="back-translation", done=len(found), total=len(texts))
        return found


def _load(folder: Path, device: str | None) -> tuple[Any, Any]:
    """Return the tokenizer and the model of a folder.

    Raises:
        UsageError: it is no model with encoder and decoder.
    """
    from transformers import AutoModelForSeq2SeqLM

    from septet.model import tokenizer
    from septet.model.load import check_folder, silent

    if not check_folder(folder).get("is_encoder_decoder"):
        raise UsageError(
            "A model of data.augment.translators has no encoder and decoder, so it translates nothing.",
            where=str(folder),
        )
    with silent():
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(
            str(folder), use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    return tokenizer.read(folder), model.float().to(device or "cpu").eval()
