"""Words exchanged for neighbours that the model itself knows: by its masked language head, else by its token embeddings.

A masked language model reads the whole text, the word included, and its next best words at that place are taken; so they fit their context. Any other model has
its input embedding only: neighbours of a word whatever stands around it. Both know words that are one token; other words stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from septet.augmenters import Augmenter, Given, Phrase
from septet.errors import UsageError

if TYPE_CHECKING:
    import torch

NEAREST = 5  # neighbours that one is drawn from
SHORTEST = 4  # letters: shorter ones are mostly words of grammar, whose neighbours turn a sentence around
CLOSE = 0.4  # cosine of two embeddings; what is farther is no neighbour
BATCH, MOST_TOKENS = 32, 256


class Synonyms(Augmenter):
    """Each drawn word is exchanged for one of its nearest five, drawn evenly."""

    strength = 0.15
    why = "about one word in seven, as many as a masked language model was trained to fill in"
    reads_model = True

    def __init__(self, options: Given):
        super().__init__(options)
        if options.model is None:
            raise UsageError(
                "The augmenter synonyms needs a model that knows words; this recipe's is built from nothing.",
                hint="other augmenters: septet list augmenters",
            )
        self._loaded: Any = None

    def augment(self, phrases: Sequence[Phrase], rngs: Sequence[np.random.Generator]) -> list[str]:
        model = self._loaded = self._loaded or _load(self.options)
        found = []
        for start in range(0, len(phrases), BATCH):
            some = list(zip(phrases[start : start + BATCH], rngs[start : start + BATCH], strict=True))
            drawn = [self._drawn(phrase, rng, model) for phrase, rng in some]
            choices = model.neighbours([phrase.text for phrase, _ in some], drawn)
            found += [_written(phrase, near, rng) for (phrase, rng), near in zip(some, choices, strict=True)]
            self.options.listen("progress", what="synonyms", done=len(found), total=len(phrases))
        return found

    def _drawn(self, phrase: Phrase, rng: np.random.Generator, model: Any) -> list[tuple[int, int]]:
        """Return the places of the words to exchange: among those that the model knows as one token."""
        known = [span for span in phrase.words if model.knows(phrase.text[slice(*span)])]
        some = Phrase(phrase.text, tuple(known))
        return (
            [known[i] for i in some.drawn(rng, len(phrase.words) * self.options.strength / len(known))] if known else []
        )


def _written(phrase: Phrase, near: dict[tuple[int, int], list[str]], rng: np.random.Generator) -> str:
    new = {}
    for span, words in sorted(near.items()):
        if words:
            old, word = phrase.text[slice(*span)], words[int(rng.integers(len(words)))]
            new[span] = word.upper() if old.isupper() else word.capitalize() if old[:1].isupper() else word
    return phrase.replaced(new)


class _Vocabulary:
    """The tokens of a model that are whole words, by their text."""

    def __init__(self, processor: Any):
        self.processor = processor
        special = set(processor.all_special_ids)
        self.words: dict[int, str] = {}
        marked = any(token.startswith(("Ġ", "▁")) for token in processor.get_vocab())
        for token, number in sorted(processor.get_vocab().items(), key=lambda item: item[1]):
            begins = token[:1] in ("Ġ", "▁") if marked else not token.startswith("##")
            text = token.lstrip("Ġ▁")
            if begins and number not in special and len(text) >= SHORTEST and text.isalpha():
                self.words[number] = text
        self.lower = all(text == text.lower() for text in self.words.values())
        self.ids = {text: number for number, text in self.words.items()}

    def neighbours(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[dict[Any, list[str]]]:
        """Return of each text the words near those at some places."""
        raise NotImplementedError

    def number(self, word: str) -> int | None:
        return self.ids.get(word.lower() if self.lower else word)

    def knows(self, word: str) -> bool:
        return self.number(word) is not None

    def others(self, word: str, ranked: Sequence[int]) -> list[str]:
        """Return the first words of a ranking that are another word: no other form of the same beginning."""
        own, found = word.lower(), []
        for number in ranked:
            text = self.words.get(int(number), "")
            low = text.lower()
            if text and not low.startswith(own[:-1]) and not own.startswith(low[:-1]):
                found.append(text)
            if len(found) == NEAREST:
                break
        return found


class _Masked(_Vocabulary):
    """A masked language model: the next best words at a place of a text."""

    def __init__(self, processor: Any, model: Any, device: str | None):
        super().__init__(processor)
        self.model = model.to(device or "cpu").eval()
        self.places = np.array(sorted(self.words))

    def neighbours(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[dict[Any, list[str]]]:
        import torch

        encoded = self.processor(
            list(texts),
            return_offsets_mapping=True,
            truncation=True,
            max_length=MOST_TOKENS,
            padding=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping").tolist()
        with torch.inference_mode():
            logits = self.model(**{k: v.to(self.model.device) for k, v in encoded.items()}).logits.float().cpu()
        found = []
        for row, (text, wanted) in enumerate(zip(texts, spans, strict=True)):
            at = {(a, b): place for place, (a, b) in enumerate(offsets[row]) if b > a}
            # byte-level vocabularies count the space before a word to it
            at |= {(a + 1, b): place for (a, b), place in list(at.items()) if text[a : a + 1].isspace()}
            found.append(
                {
                    span: self.others(text[slice(*span)], self._ranked(logits[row, at[span]]))
                    for span in wanted
                    if span in at
                }
            )
        return found

    def _ranked(self, logits_V: torch.Tensor) -> list[int]:
        scores = logits_V.numpy()[self.places]
        return self.places[np.argsort(-scores, kind="stable")[: 4 * NEAREST]].tolist()


class _Embedded(_Vocabulary):
    """An input embedding: the words whose vectors point where a word's does."""

    def __init__(self, processor: Any, vectors_VH: np.ndarray):
        super().__init__(processor)
        self.places = np.array(sorted(number for number in self.words if number < len(vectors_VH)))
        vectors = vectors_VH[self.places].astype(np.float32)
        vectors -= vectors.mean(0)
        self.vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._at = {int(number): i for i, number in enumerate(self.places)}
        self._kept: dict[str, list[str]] = {}

    def neighbours(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[dict[Any, list[str]]]:
        return [
            {span: self._near(text[slice(*span)]) for span in wanted} for text, wanted in zip(texts, spans, strict=True)
        ]

    def _near(self, word: str) -> list[str]:
        if word not in self._kept:
            place = self._at.get(self.number(word) or -1)
            if place is None:
                return []
            cosines = self.vectors @ self.vectors[place]
            ranked = np.argsort(-cosines, kind="stable")[: 6 * NEAREST]
            self._kept[word] = self.others(word, [int(self.places[i]) for i in ranked if cosines[i] >= CLOSE])
        return self._kept[word]


def _load(options: Given) -> _Vocabulary:
    """Return the neighbours that a model folder knows."""
    from transformers import AutoModel, AutoModelForMaskedLM

    from septet.inputs.text import Text
    from septet.model.load import check_folder, silent

    folder: Any = options.model
    config = check_folder(folder)
    processor = Text(None).processor(str(folder))
    masked = any(name.endswith("ForMaskedLM") for name in config.get("architectures") or [])
    usual: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    with silent():
        model = (AutoModelForMaskedLM if masked else AutoModel).from_pretrained(str(folder), **usual).float()
    if masked:
        return _Masked(processor, model, options.device)
    return _Embedded(processor, model.get_input_embeddings().weight.detach().numpy())
