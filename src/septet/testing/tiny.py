"""Very small checkpoints built in code: real transformers folders that load, train and save in milliseconds.

They learn little and slowly at usual rates; they are for checking that code is right, never for judging how well a method tunes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SIZES = {"hidden": 32, "layers": 2, "heads": 2, "inner": 64, "positions": 64}
_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def checkpoint(
    folder: str | Path, texts: Sequence[str], *, kind: str = "bert", dropout: float = 0.0, seed: int = 0
) -> Path:
    """Write a backbone without a head, and its tokenizer, and return the folder.

    Args:
        folder: where it goes; made if absent.
        texts: whose words become the vocabulary, beside 40 words that no text holds.
        kind: bert, roberta, distilbert, gpt2 or llama; causal is a llama with its head, that writes.
        dropout: every rate of the config.
        seed: of the random weights.
    """
    import torch

    from septet.model.load import silent

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for text in texts for word in text.lower().split()})
    vocabulary = [*_MARKS, *words, *(f"unused{i}" for i in range(40))]
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(seed)
        model = _MODELS[kind](len(vocabulary), dropout)
        # the usual 0.02 makes two layers nearly linear; wider weights make answers differ from text to text
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name and "wte" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(str(folder))
    _tokenizer(vocabulary, kind).save_pretrained(str(folder))
    return folder


def _tokenizer(vocabulary: list[str], kind: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))  # noqa: S106
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    second = "1" if kind == "bert" else "0"
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B:{second} [SEP]:{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), _MARKS, strict=True))
    if kind == "causal":
        names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=SIZES["positions"] - 4, **names)
    tokenizer.model_input_names = ["input_ids", *(["token_type_ids"] if kind == "bert" else []), "attention_mask"]
    return tokenizer


def _bert(words: int, dropout: float) -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**_encoder(words), hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout))


def _roberta(words: int, dropout: float) -> Any:
    from transformers import RobertaConfig, RobertaModel

    rates: dict[str, Any] = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return RobertaModel(RobertaConfig(**_encoder(words), **rates, type_vocab_size=1, bos_token_id=2, eos_token_id=3))


def _distilbert(words: int, dropout: float) -> Any:
    from transformers import DistilBertConfig, DistilBertModel

    shape: dict[str, Any] = {
        "dim": SIZES["hidden"],
        "n_layers": SIZES["layers"],
        "n_heads": SIZES["heads"],
        "hidden_dim": SIZES["inner"],
    }
    rates: dict[str, Any] = {"dropout": dropout, "attention_dropout": dropout, "seq_classif_dropout": dropout}
    return DistilBertModel(
        DistilBertConfig(vocab_size=words, max_position_embeddings=SIZES["positions"], pad_token_id=0, **shape, **rates)
    )


def _gpt2(words: int, dropout: float) -> Any:
    from transformers import GPT2Config, GPT2Model

    shape: dict[str, Any] = {
        "n_embd": SIZES["hidden"],
        "n_layer": SIZES["layers"],
        "n_head": SIZES["heads"],
        "n_positions": SIZES["positions"],
    }
    rates: dict[str, Any] = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    return GPT2Model(GPT2Config(vocab_size=words, pad_token_id=0, bos_token_id=2, eos_token_id=3, **shape, **rates))


def _llama(words: int, dropout: float) -> Any:
    from transformers import LlamaConfig, LlamaModel

    shape = _encoder(words)
    return LlamaModel(
        LlamaConfig(**shape, num_key_value_heads=1, attention_dropout=dropout, bos_token_id=2, eos_token_id=3)
    )


def _causal(words: int, dropout: float) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = _encoder(words)
    return LlamaForCausalLM(
        LlamaConfig(**shape, num_key_value_heads=1, attention_dropout=dropout, bos_token_id=2, eos_token_id=3)
    )


def _encoder(words: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": SIZES["hidden"],
        "num_hidden_layers": SIZES["layers"],
        "num_attention_heads": SIZES["heads"],
        "intermediate_size": SIZES["inner"],
        "max_position_embeddings": SIZES["positions"],
        "pad_token_id": 0,
    }


_MODELS: dict[str, Callable[[int, float], Any]] = {
    "bert": _bert,
    "roberta": _roberta,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
    "llama": _llama,
    "causal": _causal,
}
