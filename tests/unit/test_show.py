"""`prepare --show`: each token as training treats it, exactly as it is printed."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

import languages
import septet
from septet import cli, journey
from septet.errors import UsageError
from septet.show import choose
from septet.show._rows import _places, _stretches

LEGEND = "[[…]] trained   ~~…~~ cut off at model.max_length   all else is read only   ⏎ line break   a mark of the row's own text has a \\ before it"
ROW = {"question": "Where is it?", "reply": "On its way.\nThank you!"}
HELD = {"question": "Thanks?", "reply": "Thanks!"}
# a template that says neither what an answer is nor where it ends
ENDLESS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Tiny models whose weights nobody can read: showing rows does not open them."""
    found = {}
    for kind in ("llama", "t5"):
        found[kind] = languages.folder(tmp_path_factory.mktemp("models") / kind, kind)
        (found[kind] / "model.safetensors").write_bytes(b"no weights")
    return found


@pytest.fixture
def shown(models, tmp_path):
    """Return rows as they are shown; the first one is `row`, or all are given."""

    def call(rows: Any = ROW, *, kind: str = "llama", num: int = 1, length: int | None = None, **task: Any):
        source = recipe(models[kind], length, **task)
        rows = [rows] if isinstance(rows, dict) else rows
        return journey.prepare(
            source, run=tmp_path / "run", tables={"train": rows, "validation": [HELD]}, show=num
        ).shown

    return call


def recipe(model: Path, length: int | None = None, **task: Any) -> dict[str, Any]:
    columns = {} if "messages" in task else {"prompt": "question", "answer": "reply"}
    return {
        "data": {
            "train": "memory",
            "validation": "memory",
            "split": {"test": 0},
            "clean": {"repair": False, "unicode": "none", "control": False, "whitespace": False},
        },
        "task": {"name": "generate", **columns, **task},
        "model": {"name": str(model), **({} if length is None else {"max_length": length})},
    }


def body(shown: Any) -> str:
    """Return the first row, without its id."""
    legend, row, *_ = shown.text().split("\n\n")
    assert legend == LEGEND
    head, *lines = row.split("\n")
    assert head.startswith("row 1 of ")
    return "\n".join(lines)


# ---- the plain form ----


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "chatml",
            """\
│ <|im_start|>user⏎
│ Where is it?</s>⏎
│ <|im_start|>assistant⏎
│ [[On its way.⏎
│ Thank you!</s>]]⏎
  59 tokens: 15 trained, 44 read only, 0 cut off""",
        ),
        (
            "alpaca",
            """\
│ Below is an instruction that describes a task. Write a response that appropriately completes the request.⏎
│ ⏎
│ ### Instruction:⏎
│ Where is it?⏎
│ ⏎
│ ### Response:⏎
│ [[On its way.⏎
│ Thank you!</s>]]
  137 tokens: 15 trained, 122 read only, 0 cut off""",
        ),
        (
            "plain",
            """\
│ Where is it?⏎
│ [[On its way.⏎
│ Thank you!</s>]]
  22 tokens: 15 trained, 7 read only, 0 cut off""",
        ),
    ],
)
def test_a_decoder_reads_one_text(shown, template, expected):
    assert body(shown(template=template)) == expected


@pytest.mark.parametrize(
    ("template", "source", "read"),
    [
        ("chatml", "│ <|im_start|>user⏎\n│ Where is it?⏎", 22),
        (
            "alpaca",
            "│ Below is an instruction that describes a task. Write a response that appropriately completes the request.⏎\n"
            "│ ⏎\n│ ### Instruction:⏎\n│ Where is it?⏎\n│ ⏎",
            110,
        ),
        ("plain", "│ Where is it?", 6),
    ],
)
def test_an_encoder_has_two_sides(shown, template, source, read):
    target = "│ [[On its way.⏎\n│ Thank you!</s>]]"
    counts = f"  {read + 15} tokens: 15 trained, {read} read only, 0 cut off"
    assert body(shown(kind="t5", template=template)) == f"  source\n{source}\n  target\n{target}\n{counts}"


TALK = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Take care"},
    ]
}


@pytest.mark.parametrize(("train_on", "first"), [("all", "[[Hello</s>]]"), ("last", "Hello</s>")])
def test_each_answer_of_a_conversation_that_is_learned(models, tmp_path, train_on, first):
    source = recipe(models["llama"], messages="messages", template="plain", train_on=train_on)
    tables = {"train": [TALK], "validation": [{"messages": TALK["messages"][1:]}]}
    found = body(journey.prepare(source, run=tmp_path / "run", tables=tables, show=1).shown)
    assert found.startswith(f"│ Be kind.⏎\n│ Hi⏎\n│ {first}⏎\n│ Bye⏎\n│ [[Take care</s>]]\n")


def test_every_answer_is_an_example_beside_an_encoder(models, tmp_path):
    source = recipe(models["t5"], messages="messages", template="plain")
    tables = {"train": [TALK], "validation": [{"messages": TALK["messages"][1:]}]}
    result = journey.prepare(source, run=tmp_path / "run", tables=tables, show=1)
    assert body(result.shown).startswith(
        "  example 1 of 2\n  source\n│ Be kind.⏎\n│ Hi\n  target\n│ [[Hello</s>]]\n"
        "  example 2 of 2\n  source\n│ Be kind.⏎\n│ Hi⏎\n│ Hello⏎\n│ Bye\n  target\n│ [[Take care</s>]]\n"
    )
    assert [(run["example"], run["side"]) for run in result.to_json()["shown"][0]["tokens"]] == [
        (1, "source"),
        (1, "target"),
        (2, "source"),
        (2, "target"),
    ]


# ---- what is cut, and what is left out ----


def test_a_decoder_loses_the_end_of_the_row(shown):
    found = shown(length=12, template="plain")
    assert (
        body(found)
        == """\
│ Where is it?⏎
│ [[On its]]~~ way.⏎
│ Thank you!</s>~~
  22 tokens: 5 trained, 7 read only, 10 cut off (10 of them would be trained)
  ! answers-cut: 10 of 15 tokens to learn are beyond model.max_length=12."""
    )
    (cut,) = [finding for finding in found.findings if finding.slug == "answers-cut"]
    assert (cut.level, cut.evidence) == ("warning", {"rows": 1, "tokens": 10, "share": 10 / 15})
    assert cut.message == (
        "1 of 1 training rows lose the end of an answer to model.max_length=12: 10 tokens, 66.7% of all that would be learned."
    )


def test_both_sides_of_an_encoder_are_cut(shown):
    expected = """\
  source
│ Where is my par~~cel? It is two days late.~~
  target
│ [[On its]]~~ way.⏎
│ Thank you!~~[[</s>]]
"""
    row = {"question": "Where is my parcel? It is two days late.", "reply": ROW["reply"]}
    found = shown(row, kind="t5", length=6, template="plain")
    assert body(found).startswith(expected)
    assert found.rows[0].counts == {"total": 32, "trained": 6, "read": 6, "truncated": 20, "lost": 9}


def test_a_row_that_is_left_out_says_why(shown):
    long = {"question": "Where is my parcel? It is two days late.", "reply": "Late."}
    found = shown([ROW, long], length=14, template="plain")
    assert (
        "\n".join(found.text().split("\n\n")[2].split("\n")[1:])
        == """\
│ Where is my parcel? It is two days~~ late.⏎
│ Late.</s>~~
  23 tokens: 0 trained, 14 read only, 9 cut off (5 of them would be trained)
  ! nothing-to-learn: left out of training. No token of an answer is within the first 14 tokens."""
    )


def test_what_a_row_asks_is_shown_where_no_answer_is_to_be_learned(models, tmp_path):
    source = recipe(models["llama"], messages="messages", template="plain", train_on="last")
    silent = {"messages": [*TALK["messages"][1:4], {**TALK["messages"][4], "train": False}]}
    tables = {"train": [TALK, silent], "validation": [{"messages": TALK["messages"][1:]}]}
    found = journey.prepare(source, run=tmp_path / "run", tables=tables, show=1).shown
    assert found.rows[-1].examples[0][0].stretches[0].text == "Hi\nHello</s>\nBye\n"
    assert found.text().endswith("  ! nothing-to-learn: left out of training. There is no answer to learn.")


def test_a_row_that_the_template_refuses_has_no_tokens(models, tmp_path):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + ENDLESS
    source = recipe(models["llama"], messages="messages", template=strict)
    tables = {"train": [TALK, {"messages": TALK["messages"][1:]}], "validation": [{"messages": TALK["messages"][1:3]}]}
    found = journey.prepare(source, run=tmp_path / "run", tables=tables, show=2).shown
    assert found.rows[0].examples == []
    assert "left out of training. The chat template refuses this conversation: no system" in found.text()


def test_a_template_without_an_end_and_without_marks(shown):
    found = shown(template=ENDLESS)
    assert body(found).split("\n")[-1] == "  ! answer-never-ends: no token is learned that ends an answer."
    slugs = {finding.slug: finding for finding in found.findings}
    assert slugs["answer-never-ends"].level == "warning"
    assert slugs["template-unmarked"].level == "note"


def test_templates_of_ours_end_and_are_marked(shown):
    assert not {"answer-never-ends", "template-unmarked"} & {f.slug for f in shown(template="chatml").findings}


def test_an_encoder_learns_to_stop_whatever_the_template(shown):
    assert not {"answer-never-ends", "template-unmarked"} & {
        f.slug for f in shown(kind="t5", template=ENDLESS).findings
    }


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("length", [6, 9, 14, 20, 40])
def test_the_counts_are_those_of_training(models, tmp_path, kind, length):
    """The tokens a row trains are the weight its loss is divided by; those it loses are what its encoding counted."""
    from septet.data.store import Prepared
    from septet.encode import encode
    from septet.recipe import Recipe
    from septet.run import Run

    rows = [{"question": "q" * draw, "reply": "r 😀" * (17 % draw + 1)} for draw in range(1, 21)]
    source = recipe(models[kind], length, template="plain")
    tables = {"train": rows, "validation": [HELD]}
    found = journey.prepare(source, run=tmp_path / "run", tables=tables, show=len(rows)).shown
    loaded = Recipe.load(source, in_memory=("train", "validation"))
    encoded = encode(loaded, Prepared.of(Run(tmp_path / "run")), models[kind])
    batch = encoded.task.collate(encoded.train, encoded.processor)
    weights = dict(zip(batch.rows, encoded.task.weights(batch)["token"].tolist(), strict=True))
    lost = {example.row: example.meta["lost"] for example in encoded.train}
    sizes = {example.row: example.size for example in encoded.train}
    assert {row.row for row in found.rows} >= set(weights)
    for row in found.rows:
        counts = row.counts
        assert counts["trained"] == weights.get(row.row, 0)
        assert counts["total"] == counts["trained"] + counts["read"] + counts["truncated"]
        if row.row in lost:
            assert counts["lost"] == lost[row.row]
            assert counts["trained"] + counts["read"] == sizes[row.row]


# ---- text ----


def test_a_character_split_between_two_stretches_belongs_to_the_later():
    tokenizer = languages.tokenizer()
    ids = tokenizer("a😀😀b")["input_ids"]
    assert len(ids) == 10
    for cut in range(1, 10):
        stretches = _stretches(ids, ["read"] * cut + ["trained"] * (10 - cut), tokenizer)
        assert "".join(stretch.text for stretch in stretches) == "a😀😀b"
        assert stretches[0].text == ("a" if cut < 5 else "a😀" if cut < 9 else "a😀😀")


def test_the_text_of_all_stretches_is_the_text_of_the_row():
    """Byte-level and SentencePiece tokenizers, wherever the state changes; some drop the first space of what they decode."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "▁Where", "▁is", "▁it", "?", "▁", "😀"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    pieces = PreTrainedTokenizerFast(tokenizer_object=raw)
    rng = random.Random(0)
    for tokenizer, ids in ((pieces, [1, 2, 3, 4, 2, 3]), (languages.tokenizer(), None)):
        ids = ids or tokenizer("Ça va ? 👩‍🚀\n\n  Łódź  \ufffd 中文 ")["input_ids"]
        whole = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        for _ in range(50):
            states: Any = [rng.choice(["read", "trained", "truncated"]) for _ in ids]
            stretches = _stretches(ids, states, tokenizer)
            assert "".join(stretch.text for stretch in stretches) == whole
    assert [s.text for s in _stretches([1, 2, 3], ["read", "read", "trained"], pieces)] == ["Where is", " it"]


def test_an_emoji_that_is_cut_off_is_not_shown_as_learned(shown):
    found = shown({"question": "?", "reply": "ok 😀 ok"}, length=7, template="plain")
    assert body(found).split("\n")[1] == "│ [[ok ]]~~😀 ok</s>~~"
    assert "\ufffd" not in found.text()


def test_what_would_steer_a_terminal_is_a_sign(shown):
    evil = "[bold]x[/bold] \x1b[31mred\x1b]0;title\x07 \x9b2J \u202eback\r\n[[mine]] ~~out~~ \ttab"
    found = shown({"question": evil, "reply": evil}, template="plain")
    line = "[bold]x[/bold] ␛[31mred␛]0;title␇ \\x9b2J \\u202eback␍⏎"
    marked = "\\[[mine\\]] \\~~out\\~~ \ttab"
    assert body(found).split("\n")[:4] == [f"│ {line}", f"│ {marked}⏎", f"│ [[{line}", f"│ {marked}</s>]]"]
    bare = found.coloured().replace("\x1b[30m\x1b[42m\x1b[1m\x1b[4m", "").replace("\x1b[31m\x1b[9m", "")
    assert not set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E])) & set(bare.replace("\x1b[0m", ""))
    assert "[bold]x[/bold]" in bare and "[[mine]] ~~out~~" in bare


def test_colours_do_not_run_on_over_the_end_of_a_line(shown):
    green = "\x1b[30m\x1b[42m\x1b[1m\x1b[4m"
    found = shown(length=21, template="plain").coloured()
    assert f"│ {green}On its way.⏎\x1b[0m\n│ {green}Thank you!\x1b[0m\x1b[31m\x1b[9m</s>\x1b[0m\n" in found
    assert "[[" not in found and "~~" not in found
    legend = found.split("\n")[0]
    assert f"{green}trained\x1b[0m" in legend and "cut off at model.max_length" in legend


# ---- which rows ----


@pytest.mark.parametrize(
    ("num", "expected"),
    [(1, [0]), (2, [0, 6]), (3, [0, 5, 6]), (5, [0, 2, 5, 6, 8]), (10, list(range(10))), (99, list(range(10)))],
)
def test_rows_are_the_first_the_longest_and_evenly_spread_ones(num, expected):
    assert choose([1, 2, 1, 1, 1, 1, 9, 1, 1, 9], num) == expected


def test_one_row_of_each_kind_is_always_shown():
    cut, empty = [i in (3, 4) for i in range(6)], [i == 5 for i in range(6)]
    assert choose([1] * 6, 1, always=(cut, empty)) == [0, 3, 5]
    assert choose([1, 1, 1, 1, 9, 1], 2, always=(cut, empty)) == [0, 4, 5]
    assert choose([1] * 6, 1, always=([False] * 6, [True] * 6)) == [0]
    assert choose([0], 3) == [0]


def test_the_longest_row_is_so_before_it_is_cut(shown):
    rows = [{"question": f"{i}?", "reply": "long " * (i == 4) + "long " * (3 * i)} for i in range(1, 9)]
    found = shown([*rows, {"question": "9?", "reply": "short"}], num=2, length=20, template="plain")
    assert [row.place for row in found.rows] == [1, 8]


def test_kept_tokens_are_found_in_the_whole():
    assert _places([1, 2, 3, 4], [1, 2]) == [0, 1]
    assert _places([101, 7, 8, 7, 102], [101, 7, 102]) == [0, 1, 4]
    assert _places([101, 5, 6, 7, 102, 5, 6, 7, 102], [101, 5, 6, 102, 5, 6, 102]) == [0, 1, 2, 4, 5, 6, 8]
    assert _places([1, 2], [1, 3]) is None


# ---- other tasks ----


def test_a_classifier_reads_all_and_learns_the_label(tiny_bert, tmp_path):
    rows = [{"text": "parcel late " * 4, "label": "post"}, {"text": "refund", "label": "money"}]
    source = {
        "data": {"train": "memory", "validation": "memory", "split": {"test": 0}},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "model": {"name": str(tiny_bert), "max_length": 8},
    }
    tables = {
        "train": rows,
        "validation": [{"text": "late refund", "label": "money"}, {"text": "box", "label": "post"}],
    }
    found = septet.prepare(source, run=tmp_path / "run", data=tables, show=2).shown
    assert (
        body(found)
        == """\
│ [CLS] parcel late parcel late parcel late~~ parcel late~~ [SEP]
  learned: post
  10 tokens: 0 trained, 8 read only, 2 cut off"""
    )
    assert found.to_json()[1]["label"] == "money"


def test_the_first_token_of_a_window_is_read_only(models, tmp_path):
    source = recipe(models["llama"], 8)
    source["task"] = {"name": "pretrain", "text": "text"}
    tables = {"train": [{"text": "Where is my parcel?"}], "validation": [{"text": "Thanks"}]}
    found = septet.prepare(source, run=tmp_path / "run", data=tables, show=1).shown
    assert (
        body(found)
        == """\
  example 1 of 2
│ <s>[[Where is my parce]]
  example 2 of 2
│ ce[[l?</s>]]
  12 tokens: 10 trained, 2 read only, 0 cut off"""
    )


# ---- the command line ----


@pytest.fixture
def files(models, tmp_path):
    """Write rows and a recipe; return the recipe's file."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "held.jsonl").write_text(json.dumps(HELD) + "\n")
    source = recipe(models["llama"], 12, template="plain")
    source["data"] |= {"train": "rows.jsonl", "validation": "held.jsonl"}
    source["run"] = {"folder": str(tmp_path / "runs")}
    (tmp_path / "recipe.yaml").write_text(json.dumps(source))  # JSON is YAML
    return tmp_path / "recipe.yaml"


def septet_prints(capsys, *args) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return caught.value.code, out, err  # type: ignore[return-value]


def test_no_terminal_gets_marks(capsys, files):
    code, out, err = septet_prints(capsys, "prepare", files, "--show", "1")
    assert code == 0
    assert out.startswith(f"{LEGEND}\n\nrow 1 of 1 in train, id ")
    assert "\n│ [[On its]]~~ way.⏎\n" in out
    assert "\nprepared    " in out
    assert "! answers-cut: 1 of 1 training rows" in err


def test_without_the_option_no_model_is_looked_for(capsys, files):
    code, out, _ = septet_prints(capsys, "prepare", files, "model.name=/nowhere")
    assert (code, out.startswith("prepared    ")) == (0, True)


def test_json_holds_the_rows(capsys, files):
    code, out, _ = septet_prints(capsys, "prepare", files, "--show", "1", "--json")
    found = json.loads(out)
    (row,) = found["shown"]
    assert code == 0
    assert row["tokens"] == [
        {"text": "Where is it?\n", "state": "read"},
        {"text": "On its", "state": "trained"},
        {"text": " way.\nThank you!</s>", "state": "truncated"},
    ]
    assert row["counts"] == {"total": 22, "trained": 5, "read": 7, "truncated": 10, "lost": 10}
    assert [finding["slug"] for finding in row["findings"]] == ["answers-cut"]
    assert (row["place"], isinstance(row["row"], int)) == (1, True)
    assert "answers-cut" in [finding["slug"] for finding in found["findings"]]
    assert "shown" not in json.loads(septet_prints(capsys, "prepare", files, "--json")[1])


@pytest.mark.parametrize(("variable", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colours_unless_it_wants_none(capsys, files, monkeypatch, variable, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = septet_prints(capsys, "prepare", files, "--show", "1")
    assert ("\x1b[42m" in out, "[[" in out) == (coloured, not coloured)


def test_a_missing_model_is_said_in_the_house_form(capsys, files):
    code, out, err = septet_prints(capsys, "prepare", files, "--show", "1", "model.name=/nowhere")
    assert (code, out) == (2, "")
    assert "UsageError: There is no model folder here.\n  /nowhere\n  try: " in err


def test_rows_are_counted_from_one(models, tmp_path):
    with pytest.raises(UsageError, match="whole number from 1"):
        journey.prepare(recipe(models["llama"]), run=tmp_path / "run", tables={"train": [ROW]}, show=0)
    assert not (tmp_path / "run").exists()
