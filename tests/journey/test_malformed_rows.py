"""Malformed conversations through the command line: every row is kept, mended, or dropped for a reason that is counted; the rest is learned."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import languages
import malformed
from malformed import EMPTY, FORMATS, KEPT, MENDED, UNANSWERED
from septet.cli import main
from small import quiet_recipe

GOOD = 60
CONTROLS = re.compile(r"\\u(?:0000|200b|200f|202c|202e|feff)")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return languages.folder(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture
def septet(tmp_path, llama):
    """`septet("train", data_file, "key=value"…)` → exit code, what was said, and the run folder."""

    def call(verb: str, data: Path, *more: str) -> tuple[int, str, Path]:
        recipe = {
            "data": {"train": str(data)},
            "task": {"name": "generate", "decode": {"max_new_tokens": 8}},
            "model": {"name": str(llama), "max_length": 128},
            "train": {**quiet_recipe(), "batch": 8, "max_steps": 2, "lr": 1e-3},
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        run, told = tmp_path / "run", io.StringIO()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr("sys.stdout", told)
            patch.setattr("sys.stderr", told)
            main([verb, str(tmp_path / "recipe.yaml"), *more, "--run", str(run)])
        said = told.getvalue()
        assert "Traceback" not in said and "Defect" not in said, said[-2000:]
        return ended.value.code or 0, said, run

    return call


def data_of(run: Path) -> dict:
    return json.loads((run / "data.json").read_text())


def finding(data: dict, slug: str) -> dict:
    (found,) = [each for each in data["findings"] if each["slug"] == slug]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_is_accounted_for_and_the_rest_is_learned(name, septet, tmp_path):
    cases = FORMATS[name]
    assert len({json.dumps(row) for row, _ in cases}) == len(cases) >= 60
    lines = malformed.lines([row for row, _ in cases])  # the first row of all is malformed
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join([*lines, *map(json.dumps, malformed.good(name, GOOD))]) + "\n")
    code, said, run = septet("train", data)
    assert code == 0, said[-3000:]

    fates = Counter(fate for _, fate in cases)
    reasons = {fate: n for fate, n in fates.items() if fate not in (KEPT, EMPTY, UNANSWERED, *MENDED)}
    ledger, told = data_of(run)["ledger"], finding(data_of(run), "row-malformed")
    train = ledger["train"]
    dropped = {EMPTY: fates[EMPTY], UNANSWERED: fates[UNANSWERED], "malformed": sum(reasons.values())}
    assert train["read"] == len(cases) + GOOD
    assert train["dropped"] == {reason: n for reason, n in dropped.items() if n}
    kept = fates[KEPT] + sum(fates[kind] for kind in MENDED) + GOOD
    assert train["kept"] + sum(train["moved"].values()) == kept
    assert sum(split["kept"] for split in ledger.values()) == kept
    assert all(split["received"] == split["kept"] for place, split in ledger.items() if place != "train")

    assert told["level"] == "warning" and told["evidence"]["rows"] == sum(reasons.values())
    assert told["evidence"]["reasons"] == reasons
    odd = {kind: fates[kind] for kind in MENDED if fates[kind]}
    odd["control"] = sum(bool(CONTROLS.search(line)) for line in lines)
    assert train["cleaned"] == odd

    setup = json.loads((run / "setup.json").read_text())
    empty = [each for each in setup["findings"] if each["slug"] == "nothing-to-learn"]
    assert sum(each["evidence"]["rows"] for each in empty) <= 4  # only the long questions
    assert all(
        list(each["evidence"]["reasons"]) == ["No token of an answer is within the first 128 tokens."] for each in empty
    )
    assert len((run / "steps.jsonl").read_text().splitlines()) == 2
    assert (run / "DONE").exists()


@pytest.mark.parametrize("name", ["messages", "sharegpt"])
def test_turns_that_nobody_answers_are_told(name, septet, tmp_path):
    rows = [row if name == "messages" else malformed.shared(row) for row, _ in malformed.GO_ON]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join([*malformed.lines(rows), *map(json.dumps, malformed.good(name, GOOD))]) + "\n")
    code, said, run = septet("prepare", data, "--show", "3")
    assert code == 0, said
    found = finding(data_of(run), "turns-left-out")
    assert found["level"] == "note"
    assert (found["evidence"]["rows"], found["evidence"]["turns"]) == (2, 3)
    assert data_of(run)["ledger"]["train"]["dropped"] == {}
    assert "2 of 62 rows (3.2 %) go on after their last answer" in said


USUAL = json.dumps(malformed.good("messages", 1)[0])
BROKEN = {
    "cut short": USUAL[:-20].encode(),
    "two in a line": (USUAL + " " + USUAL).encode(),
    "Python's quotes": b"{'messages': []}",
    "a comma too many": b'{"messages": [],}',
    "a list": b"[1, 2]",
    "nothing": b"null",
    "a text": b'"Hi"',
    "a raw tab": b'{"messages": "a\tb"}',
    "NUL": b'{"messages": "a\x00b"}',
    "NULs alone": b"\x00" * 64,
    "latin-1": '{"messages": "café"}'.encode("latin-1"),
    "half of UTF-8": '{"messages": "café'.encode()[:-1] + b'"}',
    "nested beyond reading": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an endless number": b'{"messages": ' + b"9" * 5_000 + b"}",
    "HTML": b"<html><body>404</body></html>",
}


@pytest.fixture
def damaged(tmp_path):
    data = tmp_path / "rows.jsonl"
    good = [json.dumps(row).encode() for row in malformed.good("messages", GOOD)]
    joined = "\ufeff".encode() + good[1]  # two files in one: the mark before the second is no fault of its row
    data.write_bytes(b"\n".join([*BROKEN.values(), good[0], joined, b"", *good[2:], b"   "]) + b"\n")
    return data


def test_lines_that_cannot_be_read_stop_the_run_and_are_told_together(septet, damaged):
    code, said, run = septet("train", damaged)
    assert code == 3 and not (run / "data.json").exists()
    assert "rows.jsonl line 11" in said and "The file mixes encodings" in said  # first of all, the encoding
    damaged.write_bytes(damaged.read_bytes().replace(b"\xe9", b"e").replace(b'\xc3"', b'"'))
    code, said, run = septet("train", damaged)
    assert code == 3 and "NUL byte" in said
    damaged.write_bytes(damaged.read_bytes().replace(b"\x00", b""))
    code, said, run = septet("train", damaged)
    assert code == 3 and "rows.jsonl line 1\n" in said
    assert "Invalid JSON at column" in said and "more lines cannot be read (line 2, 3, 4, 5, 6, …)" in said
    assert "data.allow: [line-unreadable]" in said


def test_lines_that_cannot_be_read_are_left_out_where_that_is_allowed(septet, damaged):
    code, said, run = septet("train", damaged, "data.allow=[line-unreadable]")
    assert code == 0, said[-3000:]
    train, told = data_of(run)["ledger"]["train"], finding(data_of(run), "line-unreadable")
    assert train["read"] == len(BROKEN) + GOOD
    assert train["dropped"] == {"unreadable line": len(BROKEN)}
    assert train["kept"] + sum(train["moved"].values()) == GOOD
    assert told["level"] == "warning" and told["evidence"]["rows"] == sum(told["evidence"]["reasons"].values())
    assert told["evidence"]["reasons"]["Bytes of the line are no text in this encoding."] == 2
    assert told["evidence"]["places"][0].endswith("rows.jsonl line 1")
    assert f"{len(BROKEN)} of {len(BROKEN) + GOOD} rows" in told["message"]


def test_a_file_of_which_no_line_can_be_read_is_an_error_all_the_same(septet, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("prompt,completion\nWhy?,So.\n")
    code, said, _ = septet("prepare", data, "data.allow=[line-unreadable]")
    assert code == 3 and "Invalid JSON at column 1" in said
