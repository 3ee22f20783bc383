"""What the input tests share: tokenizers built in code, a token a byte, so that nothing hides behind a merge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., Any]:
    """`byte_tokenizer("<|im_end|>", bos="<s>", eos="</s>", writes_bos=True)` → marks that are one token each; pad is EOS."""

    def build(*marks: str, bos: str | None = None, eos: str | None = "<|endoftext|>", writes_bos: bool = False) -> Any:
        alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        raw = Tokenizer(models.BPE(alphabet, []))
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        found = PreTrainedTokenizerFast(
            tokenizer_object=raw, bos_token=bos, eos_token=eos, pad_token=eos, extra_special_tokens=list(marks)
        )
        if writes_bos:
            found.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, found.bos_token_id)]
            )
        return found

    return build


@pytest.fixture(scope="session")
def merging_tokenizer() -> Any:
    """GPT-2 in small: bytes with merges across letters, spaces and line breaks; BOS, EOS and pad are one token, which it never writes."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(["once upon a time yes yes\n\n\n\nupon yes\n\n yes upon"] * 20, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=end, eos_token=end, pad_token=end)


@pytest.fixture(scope="session")
def spaced_tokenizer() -> Any:
    """Llama 2 in small: SentencePiece that begins every text with a space, and writes BOS."""
    pieces = [(piece, -1.0) for piece in ("▁Hello", "▁Hi", "Hello", "Hi", "\n", "▁")]
    letters = [(letter, -9.0) for letter in sorted(set(" ".join(map(chr, range(33, 127)))) - {" "})]
    raw = Tokenizer(models.Unigram([("<unk>", -20.0), *pieces, *letters], unk_id=0))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    raw.decoder = decoders.Metaspace(prepend_scheme="always")
    return _framed(raw, "<s> $A", bos="<s>", eos="</s>")


@pytest.fixture(scope="session")
def t5_tokenizer() -> Any:
    """Words, and EOS after them, as T5 writes it."""
    words = ["<unk>", *["Hi", "Hello", "Bye", "Take", "care", "Be", "kind", ".", "<", "/", "s", ">"]]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return _framed(raw, "$A </s>", eos="</s>", pad="<pad>")


def _framed(raw: Tokenizer, frame: str, **special: str) -> Any:
    found = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", **{f"{name}_token": token for name, token in special.items()}
    )
    written = [(token, found.convert_tokens_to_ids(token)) for token in special.values() if token in frame]
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=written)
    return found
