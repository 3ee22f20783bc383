"""Tiny language models of the real architectures, built in code, with a tokenizer of their own for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CAUSAL = ["gpt2", "llama", "qwen3", "gemma", "gemma2", "opt"]
SIDES = ["t5", "bart"]
TEXTS = [
    "Where is my parcel? It is two days late.",
    "The lamp is broken, I want my money back!",
    "You can return it within 30 days; we refund the price.",
    "Thank you for your order. It leaves our house today.",
]
MORE: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 3.0},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "decoder_start_token_id": 1,
        "forced_eos_token_id": None,
    },
}


def tokenizer(texts: list[str] = TEXTS) -> Any:
    """Return a byte-level BPE tokenizer with a pad, a BOS and an EOS of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def model(kind: str, *, dropout: float = 0.0, attention: str = "eager", seed: int = 0, **more: Any) -> Any:
    """Return a tiny language model whose weights are large enough for differences to show; `more` is of its configuration."""
    import transformers

    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    }
    known = transformers.CONFIG_MAPPING[kind]
    own = known().to_dict()
    given = {name: value for name, value in sizes.items() if name in own} | MORE.get(kind, {}) | more
    config = known(vocab_size=320, pad_token_id=0, bos_token_id=1, eos_token_id=2, **given)
    for name, value in config.to_dict().items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, (int, float)):
            setattr(config, name, dropout)
    auto = transformers.AutoModelForSeq2SeqLM if kind in SIDES else transformers.AutoModelForCausalLM
    torch.manual_seed(seed)
    found = auto.from_config(config, attn_implementation=attention)
    for name, parameter in found.named_parameters():
        if parameter.ndim == 2 and "embed" not in name and "shared" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return found.eval()


def folder(path: Path, kind: str, **more: Any) -> Path:
    """Write a checkpoint with its tokenizer."""
    from septet.model.load import silent

    with silent():
        model(kind, **more).save_pretrained(path)
        tokenizer().save_pretrained(path)
    return path
