"""`septet init` for data that are to be written or learned as text: every format, how it is told from labels, and what is said of it."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from septet.cli import main
from septet.errors import DataError, SeptetError, UsageError
from septet.init import init
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

COUNT = 60
ASKED = [f"Where is parcel number {i}, please?" for i in range(COUNT)]
SAID = [f"Parcel {i} left our house on day {i}; it is with the carrier now." for i in range(COUNT)]
PROSE = "The old house by the sea was cold, and the wind came in at every door.\nWe lit a fire."


def turns(i: int, *, system: str | None = None, names: tuple[str, str] = ("role", "content")) -> list[dict[str, str]]:
    speakers = ("user", "assistant") if names[0] == "role" else ("human", "gpt")
    found = [] if system is None else [{names[0]: "system", names[1]: system}]
    return [*found, *({names[0]: who, names[1]: text} for who, text in zip(speakers, (ASKED[i], SAID[i]), strict=True))]


def rows(**columns: Any) -> list[dict[str, Any]]:
    """Return rows of columns: a list, a function of the place, or one value for all."""
    return [
        {name: v[i] if isinstance(v, list) else v(i) if callable(v) else v for name, v in columns.items()}
        for i in range(COUNT)
    ]


@pytest.fixture
def drafted(tmp_path):
    """`drafted(rows, options…)` → the recipe as text, and as a recipe that `prepare` has accepted; rows may be a path too."""

    def draft(data: list[dict[str, Any]] | Path, **options: Any) -> tuple[str, Recipe]:
        if not isinstance(data, Path):
            path = tmp_path / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in data))
            data = path
        out = tmp_path / "recipe.yaml"
        text = init(data, out=out, force=True, **options)
        recipe = Recipe.load(out)
        prepare(recipe, Run(tmp_path / "runs" / "one"))
        values = [line for line in text.splitlines() if ": " in line and not line.startswith("#")]
        assert [line for line in values if "# why: " not in line] == []
        return text, recipe

    return draft


def located(recipe: Recipe) -> dict[str, str]:
    """Return the columns that a recipe names."""
    names = ("messages", "prompt", "answer", "input", "history", "system", "instruction", "limits", "text", "label")
    return {name: getattr(recipe.task, name) for name in names if getattr(recipe.task, name, None) is not None}


def csv_file(path: Path, data: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(data[0]))
        writer.writeheader()
        writer.writerows(data)
    return path


# ---- conversations ----

FORMATS: dict[str, tuple[list[dict[str, Any]], dict[str, str], str]] = {
    "messages": (rows(id=list(range(COUNT)), messages=turns), {"messages": "messages"}, "messages: role, content"),
    "sharegpt": (
        rows(conversations=lambda i: turns(i, names=("from", "value")), source="web"),
        {"messages": "conversations"},
        "ShareGPT: from, value",
    ),
    "json text": (rows(messages=lambda i: json.dumps(turns(i))), {"messages": "messages"}, "messages: role, content"),
    "turns under another name": (rows(log=turns), {"messages": "log"}, "messages: role, content"),
    "alpaca": (
        rows(instruction=ASKED, input=lambda i: "" if i % 3 else f"parcel {i}", output=SAID),
        {"prompt": "instruction", "answer": "output", "input": "input"},
        "(Alpaca)",
    ),
    "alpaca with history": (
        rows(instruction=ASKED, output=SAID, history=lambda i: [["Hello?", f"Hello {i}!"]]),
        {"prompt": "instruction", "answer": "output", "history": "history"},
        "120 answers to learn",
    ),
    "prompt and completion": (
        rows(prompt=ASKED, completion=SAID),
        {"prompt": "prompt", "answer": "completion"},
        "60 pairs",
    ),
    "turns and their completion": (
        rows(prompt=lambda i: turns(i)[:1], completion=lambda i: turns(i)[1:]),
        {"prompt": "prompt", "answer": "completion"},
        "60 pairs",
    ),
    "question and answer": (
        rows(id=list(range(COUNT)), question=ASKED, answer=SAID),
        {"prompt": "question", "answer": "answer"},
        "60 pairs",
    ),
    "with an instruction and limits": (
        rows(question=ASKED, answer=SAID, instruction="Answer politely.", limits=lambda i: {"sentences": 1}),
        {"prompt": "question", "answer": "answer", "instruction": "instruction", "limits": "limits"},
        "60 pairs",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_conversations_are_for_generate(name, drafted):
    data, columns, counted = FORMATS[name]
    text, recipe = drafted(data)
    assert (recipe.task.name, recipe.model.name) == ("generate", "starter-lm")
    assert located(recipe) == columns
    assert "60 rows" in text.splitlines()[0] and counted in text.splitlines()[0]
    assert "60 rows" in recipe.whys["data.train"] and recipe.data.split.test == 0.2
    assert all(recipe.whys[f"task.{option}"] for option in columns)
    again, _ = drafted(data, task="generate")
    assert again == text


def test_a_csv_of_questions_and_answers(drafted, tmp_path):
    text, recipe = drafted(csv_file(tmp_path / "faq.csv", rows(question=ASKED, answer=SAID)))
    assert located(recipe) == {"prompt": "question", "answer": "answer"}
    assert "every conversation has one answer" in recipe.whys["task.train_on"]


@pytest.mark.parametrize(
    ("system", "why"),
    [
        (lambda i: None, "no row has a system prompt"),
        (lambda i: "Be kind.", "every conversation begins with the same one"),
        (lambda i: f"You are number {i}.", "60 different ones"),
        (lambda i: None if i % 2 else "Be kind.", "30 of 60 conversations have one of their own"),
    ],
)
def test_system_prompts_are_counted(system, why, drafted):
    _, recipe = drafted(rows(messages=lambda i: turns(i, system=system(i))))
    assert recipe.task.system_prompt is None and why in recipe.whys["task.system_prompt"]
    _, beside = drafted(rows(conversations=turns, system=lambda i: system(i) or ""))
    assert beside.task.system == "system" and why in beside.whys["task.system_prompt"]
    assert "in 60 of 60 rows" in beside.whys["task.system"] or system(1) is None


def test_answers_are_counted_and_rows_that_cannot_be_read_are_told(drafted):
    data = rows(messages=lambda i: turns(i) * (1 + i % 2), note="x")
    data += [{"messages": turns(0)[:1]}, {"messages": [{"role": "king", "content": "x"}]}, {"messages": None}]
    text, recipe = drafted([data[-1], *data])
    head = text.splitlines()
    assert "64 rows, 60 conversations (messages: role, content), 90 answers to learn" in head[0]
    assert head[1].startswith("# 4 rows cannot be read as a conversation and will be dropped: 2 ")
    assert '1 "There is no answer to learn"' in head[1] and head[2] == "# Not read: note"
    assert "90 answers in 60 conversations; last would learn 60" in recipe.whys["task.train_on"]


# ---- pairs, and labels ----


def test_two_columns_of_text_are_a_pair(drafted):
    data = rows(id=list(range(COUNT)), en=ASKED, de=SAID, day=lambda i: f"2026-01-{i % 28 + 1:02}")
    data = [{**row, "day": f"{i} 2026"} for i, row in enumerate(data)]
    text, recipe = drafted(data)
    assert located(recipe) == {"prompt": "en", "answer": "de"}
    assert "the two columns of text, in the order of the file" in recipe.whys["task.answer"]
    _, turned = drafted(data, prompt="de", answer="en")
    assert located(turned) == {"prompt": "de", "answer": "en"} and turned.whys["task.prompt"] == "given with --prompt"


def test_an_answers_name_decides_among_several(drafted):
    data = rows(
        topic=lambda i: f"about parcel {i}", summary=ASKED, dialogue=lambda i: " ".join([ASKED[i], SAID[i]] * 4)
    )
    text, recipe = drafted(data)
    assert located(recipe) == {"prompt": "dialogue", "answer": "summary"}
    assert "summary has an answer's name" in recipe.whys["task.answer"]
    assert "# Another reading: pretrain" in text and "--task pretrain --text dialogue" in text


def test_a_text_without_spaces_is_a_text(drafted):
    data = rows(en=ASKED, zh=lambda i: f"第{'一二三四五六七八九十'[i % 10]}个包裹在哪里" * (1 + i // 10))
    assert located(drafted(data)[1]) == {"prompt": "en", "answer": "zh"}


LABELLED: dict[str, tuple[list[dict[str, Any]], dict[str, str], str]] = {
    "a label beside a text": (rows(body=ASKED, team=lambda i: "ab"[i % 2]), {"text": "body", "label": "team"}, ""),
    "a label beside a pair": (
        rows(instruction=ASKED, response=SAID, category=lambda i: "abc"[i % 3]),
        {"text": "response", "label": "category"},
        "generate, as response answers instruction; for that, --task generate --prompt instruction --answer response",
    ),
    "answers that are labels": (
        rows(prompt=ASKED, completion=lambda i: "ab"[i % 2]),
        {"text": "prompt", "label": "completion"},
        "generate, as completion answers prompt; for that, --task generate --prompt prompt --answer completion",
    ),
    "a label beside a text and its summary": (
        rows(dialogue=lambda i: ASKED[i] + SAID[i], summary=SAID, topic=lambda i: "ab"[i % 2]),
        {"text": "dialogue", "label": "topic"},
        "generate, as summary answers dialogue; for that, --task generate --prompt dialogue --answer summary",
    ),
    "a label beside two texts": (
        rows(en=ASKED, de=SAID, verdict=lambda i: "yes" if i % 2 else "no"),
        {"text": "de", "label": "verdict"},
        "",
    ),
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_means_classify(name, drafted):
    data, columns, other = LABELLED[name]
    text, recipe = drafted(data)
    assert (recipe.task.name, recipe.model.name, located(recipe)) == ("classify", "starter", columns)
    assert ("# Another reading: " in text) == bool(other) and other in text
    assert "given with" not in text
    if other:
        assert drafted(data, task="generate")[1].task.name == "generate"


def test_a_format_by_its_names_goes_before_a_column_that_is_merely_like_a_label(drafted):
    data = rows(question=ASKED, answer=SAID, difficulty=lambda i: "easy" if i % 2 else "hard")
    text, recipe = drafted(data)
    assert recipe.task.name == "generate"
    assert (
        "# Another reading: classify, as difficulty has 2 different values; for that, --task classify --label difficulty"
        in text
    )
    _, other = drafted(data, task="classify", label="difficulty")
    assert (other.task.name, other.task.label) == ("classify", "difficulty")
    _, named = drafted(data, label="difficulty")
    assert named.task.name == "classify"


# ---- plain text ----


@pytest.mark.parametrize("name", ["novel.txt", "novel.txt.gz", "novel.txt.xz", "novel.txt.zst", "novel.gz", "novel.md"])
def test_plain_text_is_for_pretrain(name, drafted, tmp_path):
    raw = "\n\n".join(f"{PROSE} {i}" for i in range(40)).encode()
    if name.endswith(".zst"):
        import pyarrow as pa

        packed = pa.compress(raw, codec="zstd", asbytes=True)
    else:
        packed = gzip.compress(raw) if name.endswith(".gz") else lzma.compress(raw) if name.endswith(".xz") else raw
    (tmp_path / name).write_bytes(packed)
    text, recipe = drafted(tmp_path / name)
    assert (recipe.task.name, recipe.model.name, recipe.task.text) == ("pretrain", "starter-lm", None)
    assert f"1 file, 40 documents, {len(raw):,} characters" in text.splitlines()[0]
    assert recipe.data.documents == "paragraph" and "cut larger there is 1" in recipe.whys["data.documents"]
    assert recipe.data.format == ("text" if name in ("novel.gz", "novel.md") else "auto")
    assert recipe.task.objective is None


@pytest.mark.parametrize(
    ("text", "cut", "count"),
    [
        ("\n\f\n".join([PROSE] * 30), None, 30),
        ("\n".join(f"line {i} of a poem" for i in range(25)), "line", 25),
        ("\n\n".join([PROSE] * 5), "line", 10),
    ],
)
def test_a_document_is_the_largest_piece_of_which_there_are_enough(text, cut, count, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    out = tmp_path / "recipe.yaml"
    assert f"1 file, {count} documents" in init(tmp_path / "a.txt", out=out)
    assert Recipe.load(out).data.documents == cut


def test_one_document_is_learned_whole(drafted, tmp_path):
    (tmp_path / "a.txt").write_text("One line of text, and no other.")
    text, recipe = drafted(tmp_path / "a.txt")
    assert (recipe.data.split.validation, recipe.data.split.test) == (0, 0)
    assert "too little to hold any out" in recipe.whys["data.split.validation"]


def test_a_folder_of_texts_and_one_with_splits(drafted, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(25):
        (folder / f"{i}.txt").write_text(f"{PROSE} {i}")
    text, recipe = drafted(folder)
    assert "25 files, 25 documents" in text.splitlines()[0] and recipe.data.documents is None
    split = tmp_path / "split"
    split.mkdir()
    for name in ("train", "valid"):
        (split / f"{name}.txt").write_text("\n\n".join(f"{name} {PROSE} {i}" for i in range(30)))
    text, recipe = drafted(split)
    assert (recipe.task.name, recipe.data.validation) == ("pretrain", "split/valid.txt")
    assert "    validation:" not in text and "    test: 0.1" in text


def test_a_txt_file_may_still_be_a_table(drafted, tmp_path):
    path = csv_file(tmp_path / "tickets.txt", rows(body=ASKED, team=lambda i: "ab"[i % 2]))
    assert drafted(path)[1].task.name == "classify"
    assert drafted(path, task="pretrain")[1].task.name == "pretrain"
    assert drafted(csv_file(tmp_path / "faq.txt", rows(question=ASKED, answer=SAID)))[1].task.name == "generate"
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "notes.txt").write_text(PROSE)
    csv_file(folder / "tickets.csv", rows(body=ASKED, team=lambda i: "ab"[i % 2]))
    assert drafted(folder)[1].task.name == "classify"


@pytest.mark.parametrize("more", [{}, {"title": lambda i: f"The parcel {i}", "url": lambda i: f"https://x.org/{i}"}])
def test_a_column_of_long_texts_is_for_pretrain(more, drafted):
    data = rows(text=lambda i: f"{PROSE} {i} " * 5, **more)
    text, recipe = drafted(data)
    assert (recipe.task.name, recipe.task.text) == ("pretrain", "text")
    assert "60 texts" in text.splitlines()[0]
    short = rows(text=lambda i: f"some message {i}", **more)
    assert drafted(short, text="text")[1].task.name == "pretrain"
    assert drafted(short, task="pretrain")[1].task.text == "text"


# ---- what cannot be ----


def test_data_that_are_nothing_say_what_was_seen(tmp_path):
    path = csv_file(tmp_path / "a.csv", rows(text=lambda i: f"message {i}", when=lambda i: f"2026-01-01T00:{i:02}"))
    with pytest.raises(UsageError) as raised:
        init(path)
    said = str(raised.value)
    assert "60 rows; text: 60 different values, 10 characters on average; when: 60 different values" in said
    assert all(f"{option} COL" in said for option in ("--label", "--prompt", "--answer", "--text"))


def test_conversations_that_cannot_be_read_say_why(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": turns(i)[:1]}) + "\n" for i in range(COUNT)))
    with pytest.raises(
        UsageError, match=r"No row can be read as a conversation: There is no answer to learn \(60 of 60 rows\)"
    ):
        init(path)
    with pytest.raises(UsageError, match="There is no answer to learn"):
        init(path, task="generate")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "generat"}, "did you mean generate"),
        ({"task": "embed"}, "three tasks"),
        ({"task": "generate", "label": "answer"}, "--label names no column of generate"),
        ({"task": "generate", "text": "question"}, "--text names no column of generate"),
        ({"task": "classify", "prompt": "question", "answer": "answer"}, "--prompt names no column of classify"),
        ({"task": "pretrain", "label": "answer"}, "--label names no column of pretrain"),
        ({"task": "pretrain", "text": ["question", "answer"]}, "one column"),
        ({"prompt": "question"}, "--answer is missing"),
        ({"answer": "answer"}, "--prompt is missing"),
        ({"label": "answer", "prompt": "question", "answer": "answer"}, "--label names no column of generate"),
        ({"prompt": "question", "answer": "anser"}, "did you mean answer"),
        ({"prompt": "answer", "answer": "n"}, "No row can be read"),
        ({"label": "n"}, "holds no label"),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(question=ASKED, answer=SAID, n=None)))
    with pytest.raises(SeptetError, match=message) as raised:
        init(path, **options)
    assert raised.value.exit_code == 2


def test_files_that_cannot_be_read_are_errors(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 and more")
    with pytest.raises(DataError, match="not valid utf-8"):
        init(tmp_path / "a.txt")
    (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="damaged or cut short"):
        init(tmp_path / "b.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no table"):
        init(tmp_path / "empty")


def test_odd_names_of_columns_leave_a_recipe_that_can_be_read(drafted):
    data = rows(**{"que{}stion # 1": ASKED, "ans\nwer\u200b": SAID, "\ud800": 1})
    text, recipe = drafted(data)
    assert located(recipe) == {"prompt": "que{}stion # 1", "answer": "ans\nwer\u200b"}
    assert text.isascii() or text.encode()


def test_the_command_line_shows_what_was_found(tmp_path, capsys):
    path, out = csv_file(tmp_path / "faq.csv", rows(q=ASKED, a=SAID)), tmp_path / "recipe.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["init", str(path), "--prompt", "q", "--answer", "a", "-o", str(out)])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "60 pairs of a prompt and its answer" in said and f"next: septet run {out}" in said
    with pytest.raises(SystemExit) as ended:
        main(["init", str(path), "--task", "pretrain", "--text", "a", "--json"])
    assert ended.value.code == 0 and "name: pretrain" in json.loads(capsys.readouterr().out)["recipe"]
