"""Tiny models with encoder and decoder that translate nothing sensible: built in code, read like any folder of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from septet.testing.tiny import _tokenizer

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def translator(folder: Path, words: list[str], *, seed: int = 0) -> Path:
    """Write a T5 of one layer over some words, and return the folder."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*MARKS, *sorted(set(words))]
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=3,
        decoder_start_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
        model.lm_head.weight.data.normal_(std=1.0)
        model.generation_config.max_length = None
        model.save_pretrained(str(folder))
    _tokenizer(vocabulary, "t5").save_pretrained(str(folder))
    return folder


def masked_model(folder: Path, words: list[str]) -> Path:
    """Write a masked language model over some words, and return the folder."""
    from transformers import BertConfig, BertForMaskedLM

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*MARKS, *sorted(set(words))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            pad_token_id=0,
        )
        BertForMaskedLM(config).save_pretrained(str(folder))
    _tokenizer(vocabulary, "bert").save_pretrained(str(folder))
    return folder
