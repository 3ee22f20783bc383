"""From a file through `septet init` to a trained model: the drafted recipe is checked and trained as it stands, on a tiny Llama."""

from __future__ import annotations

import json

import pytest

import languages
from septet.cli import main
from septet.recipe import Recipe

COUNT = 60
ASKED = [f"Where is parcel number {i}?" for i in range(COUNT)]
SAID = [f"Parcel {i} is with the carrier, and it comes on day {i}." for i in range(COUNT)]
TURNS = [
    [{"from": "system", "value": "Be kind."}, {"from": "human", "value": a}, {"from": "gpt", "value": b}]
    for a, b in zip(ASKED, SAID, strict=True)
]
QUICK = ("train.max_steps=2", "train.batch=8", "train.precision=fp32", "train.threads=1", "train.device=cpu")


def jsonl(name, values):
    return "".join(json.dumps(dict(zip(name, each, strict=True))) + "\n" for each in values)


PAIRS = list(zip(ASKED, SAID, strict=True))
KINDS = {
    "conversations": ("chat.jsonl", jsonl(["conversations"], ([turns] for turns in TURNS)), "generate"),
    "instructions": (
        "alpaca.jsonl",
        jsonl(["instruction", "input", "output"], ((a, "", b) for a, b in PAIRS)),
        "generate",
    ),
    "two texts": ("pairs.csv", "en,de\n" + "".join(f'"{a}","{b}"\n' for a, b in PAIRS), "generate"),
    "plain text": ("novel.txt", "\n\n".join(f"{a}\n{b}" for a, b in PAIRS), "pretrain"),
    "a column of texts": ("texts.jsonl", jsonl(["text"], ([f"{a} {b} " * 3] for a, b in PAIRS)), "pretrain"),
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return languages.folder(tmp_path_factory.mktemp("models") / "llama", "llama")


def septet(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return ended.value.code or 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_init_drafts_is_checked_and_trained(kind, llama, tmp_path, capsys):
    name, content, task = KINDS[kind]
    (tmp_path / name).write_text(content)
    recipe = tmp_path / "recipe.yaml"
    assert septet("init", tmp_path / name, "-o", recipe) == 0
    assert Recipe.load(recipe).model.name == "starter-lm"
    assert septet("check", recipe, f"model.name={llama}", *QUICK, "--run", tmp_path / "checked") == 0
    capsys.readouterr()
    assert septet("train", recipe, f"model.name={llama}", *QUICK, "--run", tmp_path / "run") == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err and "2 updates" in said.out
    resolved = Recipe.load(tmp_path / "run" / "recipe.yaml")
    assert resolved.task.name == task and resolved.train.lr is not None
    assert (tmp_path / "run" / "DONE").exists() and (tmp_path / "run" / "model" / "model.safetensors").exists()
    ledger = json.loads((tmp_path / "run" / "data.json").read_text())["ledger"]
    assert sum(split["kept"] for split in ledger.values()) == COUNT
    assert all(ledger[split]["kept"] >= 6 for split in ("validation", "test"))
