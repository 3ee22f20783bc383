import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

import septet
from septet.errors import DataError, UsageError
from septet.tokenizer import read_texts, tokenizer
from tiny import rows

TEXTS = [row["text"] for row in rows(400)] + ["Größe 42 — ça va? 😀", "NA", "a\tb  c"]
TABLE = [{"text": text, "other": "x"} for text in TEXTS]
KINDS = {"bpe": 400, "unigram": 330, "wordpiece": 250}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for kind, size in KINDS.items():
        folder = tmp_path_factory.mktemp(kind) / "tokenizer"
        found[kind] = tokenizer(TABLE, folder, text="text", kind=kind, size=size)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_it(folders, kind):
    loaded = AutoTokenizer.from_pretrained(folders[kind].folder)
    assert len(loaded) == folders[kind].vocabulary <= KINDS[kind]
    assert loaded.is_fast and loaded.pad_token_id == 0
    text = "where is my parcel"
    ids = loaded(text)["input_ids"]
    assert loaded.decode(ids, skip_special_tokens=True) == text


def test_each_kind_adds_what_its_models_expect(folders):
    loaded = {kind: AutoTokenizer.from_pretrained(made.folder) for kind, made in folders.items()}
    marks = {
        kind: [each.convert_ids_to_tokens(i) for i in each("parcel", "lamp")["input_ids"] if i in each.all_special_ids]
        for kind, each in loaded.items()
    }
    assert marks == {"bpe": [], "unigram": ["</s>", "</s>"], "wordpiece": ["[CLS]", "[SEP]", "[SEP]"]}
    assert loaded["wordpiece"]("parcel", "lamp")["token_type_ids"].count(1) > 1
    assert loaded["wordpiece"].mask_token == "[MASK]"  # noqa: S105
    assert len(loaded["unigram"]("<extra_id_7>")["input_ids"]) == 2
    assert (loaded["bpe"].bos_token, loaded["bpe"].eos_token) == ("<s>", "</s>")


def test_bytes_know_every_text(folders):
    loaded = AutoTokenizer.from_pretrained(folders["bpe"].folder)
    for text in ["Ω≈ç√∫", "a\tb  c", "😀\n", "日本"]:
        assert loaded.decode(loaded(text)["input_ids"]) == text
    assert folders["bpe"].unknown == 0 and folders["bpe"].changed == 0


def test_the_figures_are_those_of_texts_not_learnt_from(folders):
    made = folders["bpe"]
    assert made.texts + made.held_out == len(TEXTS) and 5 < made.held_out < 60
    assert 1 < made.bytes_per_token < 10 and made.tokens_per_word >= 1
    assert json.loads((Path(made.folder) / "training.json").read_text()) == made.to_json()


def test_the_same_texts_give_the_same_tokenizer(tmp_path, folders):
    again = tokenizer(TABLE, tmp_path / "again", text="text", kind="bpe", size=KINDS["bpe"])
    assert again.sha256 == folders["bpe"].sha256


def test_case_and_marks_of_turns(tmp_path):
    made = tokenizer(TABLE, tmp_path / "t", text="text", size=400, lowercase=True, chat=True)
    loaded = AutoTokenizer.from_pretrained(made.folder)
    assert loaded("PARCEL")["input_ids"] == loaded("parcel")["input_ids"]
    assert len(loaded("<|im_start|>")["input_ids"]) == len(loaded("<|im_end|>")["input_ids"]) == 1


def test_plain_text_files_and_folders(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n\n  \nanother\n", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"third\n"))
    assert read_texts(tmp_path, None) == ["one line", "another", "third"]
    assert read_texts([tmp_path / "a.txt"], None) == ["one line", "another"]
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    with pytest.raises(DataError, match="UTF-8"):
        read_texts(tmp_path / "bad.txt", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "bpee"}, "no tokenizer"),
        ({"size": 20}, "at least 300"),
        ({"text": "txet"}, "no column"),
        ({"text": None}, "Which column"),
    ],
)
def test_wrong_use(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        tokenizer(TABLE, tmp_path / "t", **{"text": "text", **changes})
    assert not (tmp_path / "t").exists()


def test_too_few_texts(tmp_path):
    with pytest.raises(DataError, match="At least 3 texts"):
        tokenizer(TABLE[:1], tmp_path / "t", text="text")


def test_the_command(tmp_path):
    from septet.cli import septet as command
    from septet.display import Screen

    data, out = tmp_path / "d.jsonl", tmp_path / "made"
    data.write_text("\n".join(json.dumps(row) for row in TABLE))
    arguments = ["tokenizer", str(data), "--text", "text", "--size", "400", "-o", str(out), "--json"]
    result = CliRunner().invoke(command, arguments, obj=Screen(True))
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["vocabulary"] == 400 and found["folder"] == str(out)
    kept = (out / "tokenizer.json").read_bytes()
    with pytest.raises(UsageError, match="a tokenizer already"):
        septet.tokenizer(TABLE, out, text="text", size=300)
    assert (out / "tokenizer.json").read_bytes() == kept
    assert septet.tokenizer(TABLE, out, text="text", size=350, force=True).vocabulary == 350


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_tokenizer_is_never_replaced(tmp_path, monkeypatch, force):
    """Not the folder above, not one with other files, not a file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("two years")
    (tmp_path / "file").write_text("one")
    monkeypatch.chdir(tmp_path / "work")
    for out in ("..", ".", tmp_path / "work", tmp_path / "file"):
        with pytest.raises(UsageError, match="Something else is there"):
            septet.tokenizer(TABLE, out, text="text", size=300, force=force)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "two years" and (tmp_path / "file").read_text() == "one"


def test_a_broken_packed_file_and_too_few_texts(tmp_path):
    import gzip

    raw = bytearray(gzip.compress(b"one text\n" * 200))
    raw[30] ^= 255
    (tmp_path / "broken.txt.gz").write_bytes(bytes(raw))
    with pytest.raises(DataError, match="cannot be read"):
        septet.tokenizer(tmp_path / "broken.txt.gz", tmp_path / "made")
    (tmp_path / "line.txt").write_text("the sea " * 500)
    with pytest.raises(DataError, match="1 was found") as caught:
        septet.tokenizer(tmp_path / "line.txt", tmp_path / "made")
    assert "a text a line" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_from_scratch_takes_it(tmp_path, folders, kind):
    from septet.train import train
    from small import begin, recipe

    source = recipe(tmp_path, epochs=1)
    source["model"] = {
        "architecture": "bert" if kind == "wordpiece" else "gpt2",
        "tokenizer": folders[kind].folder,
        "layers": 1,
        "hidden": 32,
        "heads": 2,
        "max_length": 32,
    }
    assert train(*begin(source, tmp_path / "run")).steps == 7
    assert septet.load(tmp_path / "run" / "model").predict([{"text": "where is my parcel"}])[0].value
