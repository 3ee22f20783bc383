"""`python -m bench.data_side SIDE ROWS.csv FOLDER RESULT.json`: one side's way from a table of texts to clean, separate, tokenised rows, timed by stage.

Both sides read the same CSV file, repair and normalise its texts, tell each text's language, drop exact and near repeats (Jaccard similarity of
pieces of five characters at least 0.8) and tokenise what is left with the same tokenizer. `septet` does it by `septet prepare` and the encoding of training;
`peer` with `datasets`, ftfy, py3langid and datasketch, in as many processes as there are cores, the way text-dedup joins them: a map of
signatures, an LSH index, union-find, a filter.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODEL = "starter"
THRESHOLD, PERMUTATIONS, SIZE = 0.8, 128, 5
SCHEME = "affine32"  # what datasketch takes by itself
LANGUAGES = ["en", "de", "fr"]
_NO_LETTER = re.compile(r"[\W_]+")


class Stages:
    """Seconds of each stage, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def done(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._began
        self._began = now


def septet(rows: Path, folder: Path) -> dict[str, Any]:
    """Return what `septet prepare` and the encoding of training take and keep."""
    from septet import journey
    from septet.encode import encode, folder_of
    from septet.recipe import Recipe

    stages, recipe = Stages(), folder / "recipe.json"
    recipe.write_text(json.dumps(recipe_of(rows)))
    prepared = journey.prepare(recipe, [], run=folder / "run").prepared
    stages.done("read, clean, find repeats, write")
    loaded = Recipe.load(recipe, [])
    encoded = encode(loaded, prepared, folder_of(loaded, prepared))
    stages.done("tokenise")
    tokens = sum(example.size for example in encoded.train)
    kept = [row["text"] for row in prepared.rows("train")]
    return {
        "stages": stages.seconds,
        "tokens": tokens,
        "dropped": prepared.manifest["ledger"]["train"]["dropped"],
        "kept": kept,
    }


def recipe_of(rows: Path) -> dict[str, Any]:
    """Return the recipe that `septet` follows; nothing is cut from the rows, so that both sides keep the same."""
    return {
        "model": MODEL,
        "task": {"name": "classify", "text": "text", "label": "label"},
        "data": {
            "train": str(rows),
            "split": {"validation": 0, "test": 0},
            "clean": {"repair": True, "language": LANGUAGES},
            "near": {"policy": "drop", "threshold": THRESHOLD},
        },
    }


def peer(rows: Path, folder: Path) -> dict[str, Any]:
    """Return what `datasets` with ftfy, py3langid and datasketch takes and keeps."""
    from datasets import load_dataset
    from datasketch import MinHashLSH
    from transformers import AutoTokenizer

    from septet import model_path

    stages, processes = Stages(), os.cpu_count() or 1
    found: Any = load_dataset("csv", data_files=str(rows), split="train", cache_dir=str(folder / "cache"))
    stages.done("read")
    found = found.map(_cleaned, num_proc=processes)
    read = len(found)
    found = found.filter(LANGUAGES.__contains__, input_columns="language", num_proc=processes)
    stages.done("clean, tell the language")
    signed = found.map(_signed, num_proc=processes, remove_columns=found.column_names)
    stages.done("sign")
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    parents = list(range(len(signed)))
    for place, signature in enumerate(_signatures(signed)):
        for other in index.query(signature):
            _join(parents, other, place)
        index.insert(place, signature, check_duplication=False)
    kept = found.select([place for place in range(len(parents)) if _root(parents, place) == place])
    stages.done("find repeats")
    tokenizer = AutoTokenizer.from_pretrained(str(model_path(MODEL)))
    tokenised = kept.map(lambda batch: tokenizer(batch["text"]), batched=True, num_proc=processes)
    tokens = sum(len(ids) for batch in tokenised.iter(10_000) for ids in batch["input_ids"])
    stages.done("tokenise")
    return {
        "stages": stages.seconds,
        "tokens": tokens,
        "dropped": {"another language": read - len(found), "repeat": len(found) - len(kept)},
        "kept": list(kept["text"]),
    }


def _cleaned(row: dict[str, Any]) -> dict[str, Any]:
    import ftfy
    import py3langid

    text = " ".join(ftfy.fix_text(row["text"]).split())
    return {"text": text, "language": py3langid.classify(text)[0]}


def _signed(row: dict[str, Any]) -> dict[str, Any]:
    from datasketch import MinHash

    signature = MinHash(num_perm=PERMUTATIONS, scheme=SCHEME)
    signature.update_batch([piece.encode() for piece in pieces(folded_text(row["text"]))])
    return {"signature": signature.hashvalues}


def pieces(folded: str) -> set[str]:
    """Return the pieces of a folded text whose shares are compared."""
    return {folded[at : at + SIZE] for at in range(max(1, len(folded) - SIZE + 1))}


def folded_text(text: str) -> str:
    """Return a text in lower case, with one space where there is no letter or digit."""
    return _NO_LETTER.sub(" ", text.lower()).strip()


def _signatures(signed: Any) -> Iterator[Any]:
    import numpy as np
    from datasketch import MinHash

    for batch in signed.with_format("numpy").iter(10_000):
        for values in batch["signature"]:
            yield MinHash(num_perm=PERMUTATIONS, hashvalues=values.astype(np.uint64), scheme=SCHEME)


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _join(parents: list[int], one: int, other: int) -> None:
    one, other = sorted((_root(parents, one), _root(parents, other)))
    parents[other] = one


SIDES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"septet": septet, "peer": peer}


def main(side: str, rows: str, folder: str, result: str) -> None:
    began = time.perf_counter()
    found = SIDES[side](Path(rows), Path(folder))
    found["wall_s"] = time.perf_counter() - began
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
