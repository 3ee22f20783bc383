"""Labels without training: by the likelihood of their names after a prompt, or by the nearness of their names to the text.

Which of the two, the base model decides. A causal language model continues a prompt with each label's name, and the name it finds likeliest for its
length wins (Brown et al. 2020). An encoder embeds texts and names, and the nearest name wins. Examples, where there are any, stand in
front of the prompt, or are averaged into the name's vector. They come from the training rows only.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from septet.baselines import Kind, Options

PROMPT = "Text: {text}\nLabel: {label}"
# cosine similarities of sentence vectors lie close together; this spreads them to probabilities that are neither flat nor certain
TEMPERATURE = 0.05
# examples that a label's name is worth to an encoder: with 1 a few examples do harm (docs/why.md, "Baselines without training")
NAME_WEIGHT = 4


class Prompted:
    """What the base model answers after so many examples.

    Args:
        shots: examples shown, dealt out over the labels in turn.
        encoder: anything with `encode(texts, listen) -> (N, H)`; the run's base model when None.
    """

    answers: ClassVar[Kind] = "choices"

    def __init__(self, options: Options, shots: int, encoder: Any = None):
        self.options = options
        self.shots = shots
        self.names = [label.replace("_", " ") for label in options.labels]
        self.facts: dict[str, Any] = {}
        self._encoder = encoder
        self._examples: list[tuple[str, int]] = []

    def fit(self, texts: list[str], targets: np.ndarray) -> Prompted:
        """Choose the examples; nothing is learnt."""
        chosen = examples(targets, self.options.num_labels, self.shots, seed=self.options.seed)
        self._examples = [(texts[i], int(targets[i])) for i in chosen]
        self.facts = {"shots": len(chosen), "texts": [text[:120] for text, _ in self._examples]}
        return self

    def scores(self, texts: list[str]) -> np.ndarray:
        """Return (N, K) float64 probabilities."""
        from septet.model.likelihood import is_causal

        causal = self._encoder is None and is_causal(self.options.checkpoint)
        self.facts["by"] = "likelihood" if causal else "nearness"
        logits_NK = self._likelihoods(texts) if causal else self._nearness(texts) / TEMPERATURE
        odds = np.exp(logits_NK - logits_NK.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    def _likelihoods(self, texts: list[str]) -> np.ndarray:
        from septet.model.likelihood import Likelihood

        options = self.options
        before, _, after = (options.prompt or PROMPT).partition("{label}")
        shown = "".join(before.replace("{text}", text) + self.names[k] + after + "\n\n" for text, k in self._examples)
        prompts = [shown + before.replace("{text}", text) for text in texts]
        judge = Likelihood(options.checkpoint, device=options.device)
        # the space belongs to the name, as tokenizers see it
        found = judge.score(
            [prompt.rstrip() for prompt in prompts], [f" {name}" for name in self.names], listen=options.listen
        )
        self.facts["prompts_cut"] = found.cut
        return found.mean

    def _nearness(self, texts: list[str]) -> np.ndarray:
        names = self._encode(self.names)
        own_KH = NAME_WEIGHT * _unit(names)
        if self._examples:
            shown = _unit(self._encode([text for text, _ in self._examples]))
            np.add.at(own_KH, [k for _, k in self._examples], shown)
        return _unit(self._encode(texts)) @ _unit(own_KH).T

    def _encode(self, texts: list[str]) -> np.ndarray:
        if self._encoder is None:
            from septet.model.features import Features

            self._encoder = Features(
                self.options.checkpoint, max_length=self.options.max_length, device=self.options.device
            )
        return np.asarray(self._encoder.encode(texts, listen=self.options.listen), dtype=np.float64)


def examples(targets: np.ndarray, num_labels: int, count: int, *, seed: int) -> list[int]:
    """Return the indices of so many rows: the labels in turn, each label's rows in a seeded order, then all mixed."""
    draw = np.random.default_rng(seed)
    piles = [draw.permutation(np.flatnonzero(targets == k)).tolist() for k in range(num_labels)]
    chosen: list[int] = []
    while len(chosen) < count and any(piles):
        for k in draw.permutation(num_labels):
            if piles[k] and len(chosen) < count:
                chosen.append(piles[k].pop())
    return [chosen[i] for i in draw.permutation(len(chosen))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
