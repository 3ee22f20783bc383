"""How many tokens texts have, counted with the tokenizer of a model that is on this machine: nothing is loaded but its `tokenizer.json`.

The counts are those of the columns' texts with the tokenizer's own marks (CLS, SEP, EOS), and without a chat template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from septet.errors import SeptetError
from septet.model.length import most_tokens
from septet.model.load import HUB_FILES, resolve

if TYPE_CHECKING:
    from septet.recipe import Recipe

FILE = "tokenizer.json"


def local_folder(recipe: Recipe) -> Path | None:
    """Return the folder of a recipe's model or tokenizer if it is on this machine and holds a fast tokenizer; a hub is asked for nothing."""
    model = recipe.model
    name = model.name if model.architecture is None else model.tokenizer
    if name is None:
        return None
    folder = here(recipe.expand(str(name)), model.revision, base=recipe.folder)
    return folder if folder is not None and (folder / FILE).is_file() else None


def here(name: str, revision: str | None = None, *, base: Path | None = None) -> Path | None:
    """Return the folder of a model as recipes name it, if it is on this machine; a hub is asked for nothing."""
    try:
        return _cached(name, revision, base)
    except SeptetError:
        return None  # the verbs that need the model say what is wrong with its name


def count_tokens(folder: Path, texts: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Return (N,) int64: the tokens of each text, or pair of texts, uncut; of further texts in a row the counts are added."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = np.zeros(len(texts), np.int64)
    rows = [text[0] if len(text) == 1 else text[:2] for text in texts]
    found += [len(each.ids) for each in tokenizer.encode_batch(rows)] if rows else 0
    for place in range(2, max(map(len, texts), default=0)):
        found += [len(each.ids) for each in tokenizer.encode_batch([text[place] for text in texts])]
    return found


def limit_of(folder: Path) -> int | None:
    """Return the tokens that a folder's model has positions for; None where its config names no limit."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return most_tokens(config) if isinstance(config, dict) else None


def _cached(name: str, revision: str | None, base: Path | None) -> Path | None:
    """Return the folder of a name that is here already; None of a hub id that is not in the local cache."""
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if (
        name in ("starter", "starter-lm")
        or is_path
        or any(path.is_dir() for path in (Path(name), (base or Path()) / name))
    ):
        return resolve(name, revision=revision, base=base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
