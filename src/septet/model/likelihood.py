"""How likely a causal language model finds each of several continuations of a prompt.

Shapes: B sequences, T tokens, V vocabulary, N prompts, K continuations.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.inputs.text import Text
from septet.model.features import by_tokens
from septet.model.length import most_tokens
from septet.model.load import check_folder, resolve, silent
from septet.progress import Listen, quiet

if TYPE_CHECKING:
    import numpy as np

TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """What `Likelihood.score` found.

    Args:
        mean: (N, K) float64, nats a token of the continuation.
        cut: prompts that lost tokens at their beginning, because they were longer than the model reads.
    """

    mean: np.ndarray
    cut: int


def is_causal(model: str | Path) -> bool:
    """Whether a checkpoint was saved as a causal language model."""
    architectures = check_folder(resolve(str(model))).get("architectures") or []
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)


class Likelihood:
    """An untouched causal checkpoint that judges continuations.

    Args:
        model: a folder or a hub id.
        device: where to run; the CPU when None.
    """

    def __init__(self, model: str | Path, *, device: str | None = None):
        import torch
        from transformers import AutoModelForCausalLM

        folder = resolve(str(model))
        config = check_folder(folder)
        self.device = torch.device(device or "cpu")
        self.processor = Text().processor(str(folder))
        with silent():
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
            )
        self.model.to(self.device).eval()
        self.limit = most_tokens(config) or 2048
        self._accepts = set(inspect.signature(self.model.forward).parameters)

    def score(self, prompts: list[str], continuations: list[str], listen: Listen = quiet) -> Likelihoods:
        """Return the mean log-likelihood of every continuation after every prompt."""
        import numpy as np

        starts = self._ids(prompts, special=True)
        ends = self._ids(continuations, special=False)
        longest = max(map(len, ends))
        room = max(1, self.limit - longest)
        cut = sum(len(ids) > room for ids in starts)
        pairs = [(n, k) for n in range(len(starts)) for k in range(len(ends))]
        sequences = [starts[n][-room:] + ends[k] for n, k in pairs]
        order = sorted(range(len(pairs)), key=lambda i: len(sequences[i]))
        mean = np.zeros((len(prompts), len(continuations)))
        done = 0
        for chunk in by_tokens(order, [len(ids) for ids in sequences], TOKENS):
            sums = self._sums([sequences[i] for i in chunk], [len(ends[pairs[i][1]]) for i in chunk])
            for i, total in zip(chunk, sums, strict=True):
                n, k = pairs[i]
                mean[n, k] = total / len(ends[k])
            done += len(chunk)
            listen("progress", what="likelihoods", done=done, total=len(pairs))
        return Likelihoods(mean, cut)

    def _ids(self, texts: list[str], *, special: bool) -> list[list[int]]:
        found = self.processor(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)
        eos = self.processor.eos_token_id
        # a tokenizer that ends every text with its EOS would end the prompt before the continuation
        return [ids[:-1] if special and len(ids) > 1 and ids[-1] == eos else ids for ids in found["input_ids"]]

    def _sums(self, sequences: list[list[int]], lengths: list[int]) -> list[float]:
        """Return the log-likelihood of the last `lengths` tokens of each sequence."""
        import torch

        width, kept = max(map(len, sequences)), max(lengths) + 1
        ids_BT = torch.zeros(len(sequences), width, dtype=torch.int64)
        real_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(sequences):  # padded on the left: all continuations end at the same place
            ids_BT[row, width - len(ids) :] = torch.tensor(ids)
            real_BT[row, width - len(ids) :] = 1
        inputs: dict[str, Any] = {"input_ids": ids_BT, "attention_mask": real_BT}
        if "position_ids" in self._accepts:
            inputs["position_ids"] = (real_BT.cumsum(1) - 1).clamp(min=0)
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        if "logits_to_keep" in self._accepts:
            inputs["logits_to_keep"] = kept
        with torch.inference_mode():
            logits_BTV = self.model(**inputs, use_cache=False).logits[:, -kept:].float()
        logs_BT = logits_BTV[:, :-1].log_softmax(-1).gather(2, inputs["input_ids"][:, 1 - kept :, None])[..., 0]
        return [float(logs_BT[row, logs_BT.shape[1] - n :].double().sum()) for row, n in enumerate(lengths)]
