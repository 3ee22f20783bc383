"""The tokenizer of a folder: `tokenizer.json`, what transformers saved, or GPT-2's merges; never code from the folder.

A tokenizer comes back without truncation or padding of its own, and with a padding token where it has any token to spare for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from septet.errors import ModelError

# GPT-2's files by their names in transformers and at OpenAI
_MERGES = ("merges.txt", "vocab.bpe")
_VOCABULARIES = ("vocab.json", "encoder.json")
_END_OF_TEXT = "<|endoftext|>"


def read(folder: Path) -> Any:
    """Return the tokenizer of a folder.

    Raises:
        ModelError: there is none, it cannot be read, or it is not a fast one.
    """
    try:
        tokenizer = _open(folder)
    except Exception as error:
        raise ModelError(
            f"The tokenizer cannot be read: {type(error).__name__}: {str(error)[:200]}", where=str(folder)
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            "Septet needs a fast tokenizer (tokenizer.json).",
            where=str(folder),
            hint="save it once with transformers' AutoTokenizer",
        )
    # the starter's file carries fixed truncation and padding at 128; raw users of the file would inherit them
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _spare(tokenizer)
    return tokenizer


def keep(tokenizer: Any, name: str, value: Any) -> None:
    """Set an attribute of a tokenizer so that its saved copy has it too: `save_pretrained` writes what it was made with."""
    setattr(tokenizer, name, value)
    tokenizer.init_kwargs[name] = value


def _open(folder: Path) -> Any:
    import transformers

    if any((folder / name).is_file() for name in ("config.json", "tokenizer_config.json")):
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if (folder / "tokenizer.json").is_file():
        return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    merges = next((folder / name for name in _MERGES if (folder / name).is_file()), None)
    if merges is None:
        raise FileNotFoundError(f"no tokenizer.json and no {' or '.join(_MERGES)}")
    lines = merges.read_text(encoding="utf-8").split("\n")
    pairs = [(a, b) for a, _, b in (line.partition(" ") for line in lines if not line.startswith("#version")) if b]
    given = next((folder / name for name in _VOCABULARIES if (folder / name).is_file()), None)
    vocabulary = _gpt2_vocabulary(pairs) if given is None else json.loads(given.read_text(encoding="utf-8"))
    return transformers.GPT2Tokenizer(vocab=vocabulary, merges=pairs)  # pyright: ignore[reportArgumentType]


def _gpt2_vocabulary(pairs: list[tuple[str, str]]) -> dict[str, int]:
    """Return what the merges alone say (Radford et al. 2019): 256 bytes, each merge in its order, the end of text."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    words = [*bytes_to_unicode().values(), *(a + b for a, b in pairs), _END_OF_TEXT]
    return {word: i for i, word in enumerate(words)}


def _spare(tokenizer: Any) -> str | None:
    """Return the special token that can fill short rows: EOS, or where every row ends with it, another one."""
    named = [tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token]
    last = tokenizer("a")["input_ids"][-1:]
    apart = [token for token in named if token is not None and [tokenizer.convert_tokens_to_ids(token)] != last]
    return next(iter([*apart, *(token for token in named[:1] if token is not None)]), None)
