"""What a clumsy user meets with models that write: told early, with the place and what to do, and never by a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

import languages
import septet
from septet.errors import DataError, ModelError, RecipeError, UsageError
from septet.evaluate import evaluate
from septet.journey import predict, run_all, train
from septet.model.load import silent
from septet.run import Run
from small import quiet_recipe

ROWS = [{"ask": f"the sea {i}", "reply": "a fire" if i % 2 else "the old house"} for i in range(40)]


def written(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asking(folder: Path, kind: str = "llama", **task) -> dict:
    return {
        "data": {"train": written(folder / "rows.jsonl", ROWS)},
        "task": {"name": "generate", "prompt": "ask", "answer": "reply", "decode": {"max_new_tokens": 4}, **task},
        "model": {"name": str(languages.folder(folder / kind, kind))},
        "train": {**quiet_recipe(), "max_steps": 2, "lr": 1e-3},
        "evaluate": {"bootstrap": 100, "written": 2, "baselines": []},
    }


def reading(folder: Path, architecture: str, **model) -> dict:
    processor = languages.tokenizer()
    names = {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    processor.add_special_tokens(names)  # pyright: ignore
    with silent():
        processor.save_pretrained(folder / "words")
    texts = [{"text": "the old house by the sea was cold " * 9} for _ in range(12)]
    texts = [{"text": f"{row['text']} {i}"} for i, row in enumerate(texts)]
    return {
        "data": {"train": written(folder / "texts.jsonl", texts)},
        "task": {"name": "pretrain"},
        "model": {
            "architecture": architecture,
            "tokenizer": str(folder / "words"),
            "layers": 1,
            "hidden": 32,
            "heads": 4,
            **model,
        },
        "train": {**quiet_recipe(), "max_steps": 2, "lr": 1e-3},
    }


def test_an_answer_longer_than_the_model_counts(tmp_path):
    with pytest.raises(RecipeError, match=r"max_new_tokens must be at most 255.*Received: 500"):
        train(asking(tmp_path, decode={"max_new_tokens": 500}), run=tmp_path / "run")
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_prompts_that_leave_no_answer(tmp_path):
    source = asking(tmp_path)
    source["data"] = {"train": written(tmp_path / "long.jsonl", [{**row, "ask": "sea " * 60} for row in ROWS[:1]] * 1)}
    source["data"]["split"] = {"validation": 0, "test": 0}
    source["model"]["max_length"] = 16
    with pytest.raises(DataError, match="No training row holds anything to learn"):
        train(source, run=tmp_path / "run")


def test_positions_that_begin_behind_the_padding(tmp_path):
    """RoBERTa counts from behind its padding's index: a window is so much shorter, and the run ends well."""
    source = reading(tmp_path, "roberta", config={"max_position_embeddings": 40})
    run = train(source, run=tmp_path / "run").run
    stored = json.loads((run.model / "task.json").read_text())["task"]
    assert stored["context"] == 40 - 1 - languages.tokenizer().pad_token_id
    assert stored["max_length"] <= stored["context"]


def test_masks_need_every_row_of_an_embedding_of_its_own(tmp_path):
    source = reading(tmp_path, "bert", config={"max_position_embeddings": 40, "tie_word_embeddings": False})
    run = train(source, run=tmp_path / "run").run
    assert run.done


@pytest.mark.parametrize(("architecture", "least"), [("bert", 4), ("llama", 2)])
def test_windows_too_short_for_their_objective(tmp_path, architecture, least):
    source = reading(tmp_path, architecture, config={"max_position_embeddings": 40}, max_length=least)
    train(source, run=tmp_path / "least")
    if least > 2:
        source["model"]["max_length"] = least - 1
        with pytest.raises(RecipeError, match=f"max_length must be at least {least}"):
            train(source, run=tmp_path / "less")


def test_a_vocabulary_that_knows_no_letter(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "zebra": 5}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    special = {f"{name}_token": token for name, token in names.items()}
    source = reading(tmp_path, "bert", config={"max_position_embeddings": 40})
    with silent():
        transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(tmp_path / "words")
    with pytest.raises(DataError, match="none but special ones"):
        train(source, run=tmp_path / "run")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    train(asking(folder, decode={"max_new_tokens": 4, "beams": 2}), run=folder / "run")
    return folder


def test_rows_that_cannot_be_asked_are_flagged_and_the_others_answered(tuned):
    source = written(tuned / "asked.jsonl", [{"ask": "the sea"}, {"ask": ""}, {"ask": None}, {"ask": "a fire"}])
    found = predict(tuned / "run", source, out=tuned / "answers.jsonl")
    lines = [json.loads(line) for line in (tuned / "answers.jsonl").read_text().splitlines()]
    assert (found.rows, found.unread) == (4, 2)
    assert [line["answer"] is None for line in lines] == [False, True, True, False]
    assert all(line["flag"] for line in lines[1:3]) and lines[3]["ask"] == "a fire"
    assert "2 rows that cannot be asked" in found.summary()
    with pytest.raises(UsageError, match="no column 'ask'") as caught:
        predict(tuned / "run", written(tuned / "other.jsonl", [{"question": "the sea"}]))
    assert "name one of them" not in str(caught.value)


def test_chat_with_beams_gives_the_answer_whole(tuned):
    from septet.chat import voices

    (voice,) = voices(tuned / "run")
    pieces = list(voice.say("the sea"))
    assert pieces == [septet.load(tuned / "run").predict([{"ask": "the sea"}])[0].value]
    assert voice.messages[-1]["role"] == "assistant"


def test_chat_with_a_model_that_only_reads(tmp_path):
    from septet.chat import voices

    train(reading(tmp_path, "llama", config={"max_position_embeddings": 40}), run=tmp_path / "run")
    with pytest.raises(UsageError, match="Only a model that writes texts can chat"):
        voices(tmp_path / "run")


def test_chat_with_a_line_that_is_no_text(monkeypatch):
    import io
    import sys

    from septet.display import _questions

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xff sea\n"), encoding="utf-8"))
    with pytest.raises(UsageError, match="Standard input is not UTF-8"):
        list(_questions(terminal=False))


@pytest.fixture(scope="module")
def led(tmp_path_factory) -> Path:
    """Conversations with a column of instructions beside them, and a system prompt for rows without one; answers are drawn."""
    folder = tmp_path_factory.mktemp("led")
    rows = [
        {
            "messages": [{"role": "user", "content": row["ask"]}, {"role": "assistant", "content": row["reply"]}],
            "instruction": None if i % 2 else "Be brief.",
        }
        for i, row in enumerate(ROWS)
    ]
    source = asking(folder)
    source["data"] = {"train": written(folder / "led.jsonl", rows)}
    source["task"] = {"name": "generate", "system_prompt": "You are a house.", "decode": {"max_new_tokens": 4}}
    source["task"]["decode"]["temperature"] = 1.0
    journey = run_all(source, run=folder / "run")
    assert journey.stages["serve"].facts["drawn"] and "not compared" in journey.stages["serve"].text()
    return folder / "run"


def test_every_way_to_ask_reads_the_system_prompt(led):
    predictor = septet.load(led)
    turns = [{"role": "user", "content": "the sea"}]
    asked = ["the sea", turns, {"messages": turns}, {"messages": turns, "instruction": None}]
    texts = {predictor.task.rendered(predictor.parse(value), predictor.processor) for value in asked}
    assert len(texts) == 1 and "You are a house." in texts.pop()
    own = predictor.task.rendered(predictor.parse({"messages": turns, "instruction": "Be brief."}), predictor.processor)
    assert "Be brief." in own
    mine = [{"role": "system", "content": "You are a ship."}, *turns]
    text = predictor.task.rendered(predictor.parse(mine), predictor.processor)
    assert "You are a ship." in text and "house" not in text


def test_a_model_that_reads_what_it_is_to_predict(tmp_path):
    source = reading(tmp_path, "bert", config={"max_position_embeddings": 40})
    source["task"]["objective"] = "causal"
    with pytest.raises(ModelError, match="reads the tokens it is to predict"):
        train(source, run=tmp_path / "run")
    source["model"]["config"]["is_decoder"] = True
    assert train(source, run=tmp_path / "decoder").run.done


@pytest.mark.parametrize(("kind", "task"), [("gpt2", "pretrain"), ("bert", "pretrain"), ("llama", "generate")])
def test_rows_longer_than_the_model_has_positions_for(tmp_path, kind, task):
    source = reading(tmp_path, kind, max_length=80) if task == "pretrain" else asking(tmp_path, kind)
    source["model"] |= {"max_length": 600} if task == "generate" else {}
    if task == "pretrain":
        source["model"]["config"] = {"n_positions" if kind == "gpt2" else "max_position_embeddings": 40}
    with pytest.raises(RecipeError, match=r"max_length must be at most \d+.*positions"):
        train(source, run=tmp_path / "run")


def test_windows_of_a_model_without_a_limit_are_as_long_as_asked_for(tmp_path):
    source = reading(tmp_path, "t5", max_length=600)
    processor = transformers.AutoTokenizer.from_pretrained(tmp_path / "words")
    processor.add_tokens([f"<extra_id_{i}>" for i in range(12)], special_tokens=True)
    with silent():
        processor.save_pretrained(tmp_path / "words")
    source["data"]["train"] = written(tmp_path / "long.jsonl", [{"text": "the old house by the sea " * 200}] * 1)
    source["data"]["split"] = {"validation": 0, "test": 0}
    source["train"]["max_steps"] = 1
    run = train(source, run=tmp_path / "run").run
    assert max(step["tokens"] for step in run.records("steps.jsonl")) > 512 * 2


def test_an_answer_steers_no_terminal(monkeypatch, capsys):
    import io
    import sys

    from septet.chat import Voice
    from septet.display import Screen

    class Steering(Voice):
        def say(self, question):
            yield "\x1b]0;owned\x07red\n"
            self.messages = [{"role": "assistant", "content": "red"}]

    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    Screen(False).talk([Steering("tuned", None)])
    told = capsys.readouterr().out
    assert "\x1b" not in told and "\x07" not in told and "␛]0;owned␇red\n" in told


def test_nothing_held_out(tmp_path):
    source = asking(tmp_path)
    source["data"]["split"] = {"validation": 0, "test": 0}
    run = train(source, run=tmp_path / "run").run
    with pytest.raises(UsageError, match="No row is held out"):
        evaluate(Run.open(run.path))
    other = written(tmp_path / "other.jsonl", [{"ask": "a fire", "reply": "the sea"}] * 1 + ROWS[:3])
    assert evaluate(Run.open(run.path), on=other).scores
