"""Writing with a language model: what its generation config says, and answers to a batch of prompts.

The config is saved with the model, so that transformers' own `generate` stops and decodes as Septet does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from septet.errors import RecipeError
from septet.model.length import most_tokens
from septet.recipe.block import Block, Count, Positive, Problem, Whole, key

if TYPE_CHECKING:
    import torch


# of an answer, where nothing says how long answers are
NEW_TOKENS = 64
# each beam keeps its own keys and values: memory and time grow with them, and answers gain nothing beyond a few
MOST_BEAMS = 64


class Decode(Block):
    """How answers are written."""

    max_new_tokens: Count | None = key(
        None, "Tokens of an answer at most.", unit="tokens", why="derived: what nearly all answers of train need"
    )
    temperature: float = key(
        0.0,
        "0 takes the most probable token (greedy); above, tokens are drawn, more evenly the higher it is.",
        why="the same question gets the same answer",
        change="answers should vary",
        ge=0,
        le=10,
    )
    top_p: float = key(1.0, "Draw from the most probable tokens that together have this share.", why="all", gt=0, le=1)
    top_k: Whole = key(0, "Draw from this many most probable tokens; 0 is all.", unit="tokens", why="all")
    beams: Count = key(
        1,
        "Answers followed side by side; the most probable one is given.",
        why="one: the fastest",
        example=4,
        le=MOST_BEAMS,
    )
    length_penalty: float = key(
        1.0, "With beams: above 1 prefers long answers, below 1 short ones.", why="per token, neither", example=0.8
    )
    repetition_penalty: Positive = key(
        1.0, "Above 1, tokens already there become less probable.", why="no token is held back", example=1.1
    )
    no_repeat_ngram: Whole = key(
        0, "So many tokens in a row are written once at most; 0 is no limit.", unit="tokens", why="no limit"
    )
    seed: Whole = key(42, "Seed of drawn answers.", why="fixed, so that a run can be repeated")

    def problems(self) -> Iterator[Problem]:
        if self.temperature == 0 and (self.top_p < 1 or self.top_k):
            name = "top_p" if self.top_p < 1 else "top_k"
            hint = "decode: {temperature: 0.7}, or remove it"
            yield Problem(f"decode.{name}", "would be ignored: with temperature 0 nothing is drawn.", hint)
        if self.beams == 1 and self.length_penalty != 1:
            yield Problem(
                "decode.length_penalty", "would be ignored: it is for beams.", "decode: {beams: 4}, or remove it"
            )
        if self.max_new_tokens is not None and self.no_repeat_ngram > self.max_new_tokens:
            yield Problem(
                "decode.no_repeat_ngram",
                f"would do nothing: an answer has {self.max_new_tokens} tokens at most.",
                "decode: {no_repeat_ngram: 3}, or remove it",
            )


def check_room(decode: Decode, config: Mapping[str, Any]) -> None:
    """Refuse answers that leave no room for a prompt, or that are longer than a decoder beside an encoder counts.

    Args:
        decode: the block `decode` of the task.
        config: of the model.

    Raises:
        RecipeError: `max_new_tokens` is too large.
    """
    encoder, context = bool(config.get("is_encoder_decoder")), most_tokens(config)
    least = 0 if encoder else 1
    if context is not None and decode.max_new_tokens is not None and decode.max_new_tokens + least > context:
        raise RecipeError(
            f"task.decode.max_new_tokens must be at most {context - least}: the model counts {context} tokens, prompt and answer together."
            if not encoder
            else f"task.decode.max_new_tokens must be at most {context}, as many as the model counts.",
            received=decode.max_new_tokens,
            hint=f"task.decode.max_new_tokens={max(1, context // 2)}",
        )


def configure(model: Any, processor: Any, decode: Decode, stops: Sequence[int]) -> None:
    """Write the recipe's decoding into a model's generation config; what the checkpoint's own said of it no longer counts.

    Args:
        model: a language model.
        processor: its tokenizer.
        decode: the block `decode` of the task.
        stops: token ids that end an answer.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    sampled = decode.temperature > 0
    found = {
        "max_new_tokens": decode.max_new_tokens or NEW_TOKENS,
        "do_sample": sampled,
        "num_beams": decode.beams,
        "repetition_penalty": decode.repetition_penalty,
        "no_repeat_ngram_size": decode.no_repeat_ngram,
        "eos_token_id": list(stops) or None,
        "pad_token_id": processor.pad_token_id,
        "bos_token_id": processor.bos_token_id,
        "decoder_start_token_id": own.decoder_start_token_id,
        "forced_bos_token_id": own.forced_bos_token_id,
        "suppress_tokens": own.suppress_tokens,
        "bad_words_ids": own.bad_words_ids,
    }
    if sampled:
        found |= {"temperature": decode.temperature, "top_p": decode.top_p, "top_k": decode.top_k or 0}
    if decode.beams > 1:
        found["length_penalty"] = decode.length_penalty
    model.generation_config = GenerationConfig(**{name: value for name, value in found.items() if value is not None})


def write(model: Any, inputs: dict[str, torch.Tensor], *, seed: int = 0, **more: Any) -> torch.Tensor:
    """Return (B, T) token ids of the answers, filled behind each one's end.

    Args:
        model: a language model whose generation config says how.
        inputs: prompts; padded on the left, where the model has no encoder.
        seed: of sampled answers; the caller's random stream is left alone.
        more: what `generate` takes beside, a streamer or a criterion.
    """
    import torch

    devices = [] if inputs["input_ids"].device.type == "cpu" else [inputs["input_ids"].device]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        ids_BT = model.generate(**inputs, **more)
    # a model with an encoder begins its answer with a token of its own
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    return ids_BT[:, start:]
