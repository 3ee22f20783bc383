"""The packaged starter-lm: small, safe, loaded by transformers as it is, with a template, and better than a compressor on novels it never saw."""

from __future__ import annotations

import lzma
import math
import os
from pathlib import Path

import pytest
import torch
import transformers

import septet
from septet.model.load import check_folder, resolve

FOLDER = septet.model_path("starter-lm")
SHARED = Path(os.environ.get("SEPTET_SHARED") or Path(__file__).parents[3] / "shared")


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def words():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


def test_it_is_small_and_safe(model):
    assert resolve("starter-lm") == FOLDER
    config = check_folder(FOLDER)
    assert (config["model_type"], config["dtype"]) == ("llama", "bfloat16")
    assert sum(p.numel() for p in model.parameters()) <= 9_500_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20_000_000
    assert not [path.name for path in FOLDER.iterdir() if path.suffix not in (".json", ".jinja", ".md", ".safetensors")]


def test_its_template_is_chatml_and_its_marks_are_tokens(words):
    turns = [{"role": "user", "content": "Good day."}, {"role": "assistant", "content": "And to you."}]
    text = words.apply_chat_template(turns, tokenize=False)
    assert text.startswith("<|im_start|>user\nGood day.<|im_end|>\n<|im_start|>assistant\nAnd to you.<|im_end|>")
    for mark in ("<|im_start|>", "<|im_end|>"):
        assert len(words(mark, add_special_tokens=False)["input_ids"]) == 1
    assert words.decode(words("Naïve café – 10 €", add_special_tokens=False)["input_ids"]) == "Naïve café – 10 €"


def test_it_writes_words(model, words):
    ids = words("She opened the door, and", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        written = words.decode(model.generate(ids, max_new_tokens=20, do_sample=False)[0, ids.shape[1] :])
    assert len(written.split()) > 5


def test_bits_per_byte_of_novels_it_never_saw(model, words):
    """1.557 of both novels whole (docs/why.md); here of the first 25 windows of each. A primed PPMd needs 1.793."""
    path = SHARED / "data" / "english_novels" / "validation.txt.xz"
    if not path.is_file():
        pytest.skip("the novels of $SEPTET_SHARED are not here")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        novels = file.read().split("\f")
    nats = size = 0.0
    for novel in novels:
        ids = [words.bos_token_id, *words(novel.strip("\n")[:60_000], add_special_tokens=False)["input_ids"]]
        windows = torch.tensor([ids[start : start + 512] for start in range(0, 25 * 511, 511)])
        with torch.inference_mode():
            logits = model(windows).logits[:, :-1].flatten(0, 1)
        nats += float(torch.nn.functional.cross_entropy(logits, windows[:, 1:].flatten(), reduction="sum"))
        size += len(words.decode(ids[1 : 25 * 511 + 1]).encode())
    assert size > 60_000
    assert nats / math.log(2) / size < 1.65
