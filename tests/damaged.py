"""Damaged files, each with what `septet prepare` makes of it: texts here, everything packed or binary in `damaged_binary`.

A file ends well (`code` 0) with so many rows `read`, of which some are `dropped` for a reason and the others hold the texts of `kept`; or it ends with the
code 2 or 3, and what is said names the file and holds each of `says`. `says` of a file that ends well are slugs of findings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROWS = [
    ("where is my parcel", "post"),
    ("the invoice shows a wrong sum", "money"),
    ("nobody brought the box on tuesday", "post"),
    ("please pay me back", "money"),
    ("your courier rang next door", "post"),
    ("i was charged twice for one lamp", "money"),
]
GERMAN = [
    ("Die Größe der Bestellung lässt sich nicht ändern", "post"),
    ("Können Sie die Rechnung für März schicken", "money"),
    ("Das Päckchen ist beschädigt, ich möchte es zurückgeben", "post"),
    ("Die Gebühr wurde zweimal abgebucht, bitte überprüfen", "money"),
]
RUSSIAN = [
    ("Когда придёт моя посылка, она должна была быть во вторник", "post"),
    ("Мне прислали счёт, который я уже оплатил в прошлом месяце", "money"),
    ("Сколько стоит доставка в другой город", "post"),
    ("Верните деньги, пожалуйста, товар пришёл разбитым", "money"),
]
JAPANESE = [
    ("私の荷物はどこにありますか。火曜日に届くはずでした。", "post"),
    ("先月すでに支払った請求書が届きました。", "money"),
    ("注文後に配送先の住所を変更するにはどうすればよいですか。", "post"),
    ("パスワードを変更したのにログインできません。", "money"),
]
CLASSIFY = {"name": "classify", "text": "text", "label": "label"}
GENERATE = {"name": "generate", "prompt": "question", "input": "context", "answer": "answer"}
PRETRAIN = {"name": "pretrain"}
MIB = 1 << 20


@dataclass(frozen=True)
class Damaged:
    """A file, and its fate.

    Args:
        content: its bytes, its text, or what makes it at a path.
        source: what the recipe names, where it is not the file; `{}` is the file's path.
        data: more of the recipe's section `data`.
    """

    name: str
    content: bytes | str | Callable[[Path], Any]
    code: int = 0
    says: tuple[str, ...] = ()
    read: int = len(ROWS)
    kept: tuple[str, ...] = tuple(text for text, _ in ROWS)
    dropped: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=lambda: CLASSIFY)
    source: str = "{}"

    def make(self, folder: Path) -> str:
        """Write the file, and return what the recipe names."""
        path = folder / self.name
        if callable(self.content):
            self.content(path)
        else:
            path.write_bytes(self.content.encode() if isinstance(self.content, str) else self.content)
        return self.source.format(path)


def bad(name: str, content: Any, *says: str, code: int = 3, **more: Any) -> Damaged:
    """Return a file that is refused."""
    return Damaged(name, content, code, says, **more)


def good(name: str, content: Any, *says: str, rows: Any = ROWS, **more: Any) -> Damaged:
    """Return a file of which everything is read."""
    texts = tuple(text for text, _ in rows)
    return Damaged(name, content, 0, says, **{"read": len(texts), "kept": texts, **more})


def table(rows: Any = ROWS, delimiter: str = ",", end: str = "\n", quote: str = '"') -> str:
    """Return rows as a CSV whose texts are quoted."""
    lines = [f"text{delimiter}label", *(f"{quote}{text}{quote}{delimiter}{label}" for text, label in rows)]
    return end.join(lines) + end


def lines(rows: Any = ROWS) -> list[str]:
    """Return rows as JSON lines."""
    return [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]


def joined(*more: str, end: str = "\n") -> str:
    """Return the rows as JSON lines, and more lines after them."""
    return end.join([*lines(), *more]) + end


def long_line(before: str) -> Callable[[Path], None]:
    """Return what writes a text that ends in a line of 65 MiB; only when it is asked to."""
    return lambda path: path.write_bytes(before.encode() + b"w" * (65 * MIB)) and None


def _mixed() -> bytes:
    return b"".join(
        line.encode("cp1252" if i in (2, 4) else "utf-8") for i, line in enumerate(table(GERMAN).splitlines(True))
    )


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def _squad(*asked: tuple[str, Any], context: str = "The lamp is blue. The box is red.") -> str:
    qas = [{"id": str(i), "question": question, "answers": answers} for i, (question, answers) in enumerate(asked)]
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]})


OBJECTS = [json.loads(line) for line in lines()]
COLUMNS = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
TABLE, ALLOWED = table(), {"allow": ["line-unreadable"]}
PLAIN = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
_FORMULAS = [
    ("=cmd|'/c calc'!A1", "post"),
    ("@SUM(1+1)*2", "money"),
    ("+1-800-555", "post"),
    ("-2+3 is my size", "money"),
]

ENCODINGS = [
    good("bom-8.csv", TABLE.encode("utf-8-sig")),
    good("bom-16-le.csv", b"\xff\xfe" + TABLE.encode("utf-16-le")),
    good("bom-16-be.csv", b"\xfe\xff" + TABLE.encode("utf-16-be")),
    good("bom-32-le.csv", b"\xff\xfe\x00\x00" + TABLE.encode("utf-32-le")),
    good("bom-32-be.csv", b"\x00\x00\xfe\xff" + TABLE.encode("utf-32-be")),
    good("no-mark-16-le.csv", TABLE.encode("utf-16-le"), "encoding-guessed"),
    good("no-mark-16-be.csv", TABLE.encode("utf-16-be"), "encoding-guessed"),
    good("german.csv", table(GERMAN).encode("cp1252"), "encoding-guessed", rows=GERMAN),
    good("mac.csv", table(GERMAN).encode("mac_roman"), "encoding-guessed", rows=GERMAN),
    good("russian.csv", table(RUSSIAN).encode("cp1251"), "encoding-guessed", rows=RUSSIAN),
    good("koi8.csv", table(RUSSIAN).encode("koi8_r"), "encoding-guessed", rows=RUSSIAN),
    good("japanese.csv", table(JAPANESE).encode("cp932"), "encoding-guessed", rows=JAPANESE),
    good("japanese.jsonl", "\n".join(lines(JAPANESE)).encode("euc_jp"), "encoding-guessed", rows=JAPANESE),
    good("named.csv", table(GERMAN).encode("cp850"), rows=GERMAN, data={"encoding": "cp850"}),
    good("line-by-line.csv", _mixed(), "encoding-mixed", rows=GERMAN, data={"encoding": "utf-8|cp1252"}),
    bad("mixed.csv", _mixed(), "mixed.csv line 3", "2 are not (line 3, 5)", "utf-8|cp1252"),
    bad("one-accent.csv", TABLE.encode() + b"caf\xe9,post\n", "line 8", "cannot be told", 'cp1252 reads "café'),
    bad("not-ascii.csv", TABLE + "café,post\n", "line 8", "0xc3 is not valid ascii", data={"encoding": "ascii"}),
    bad("not-utf-8.csv", TABLE.encode("utf-16"), "line 1", "UTF-16", data={"encoding": "utf-8"}),
    bad("odd-16.csv", TABLE.encode("utf-16")[:-1], "line 7", "cut short"),
    bad("cut-character.csv", (table(GERMAN) + "ü").encode()[:-1], "line 6", "cut short"),
    bad("surrogate.csv", TABLE.encode() + b"half \xed\xa0\x80,post\n", "line 8", "0xed is not valid utf-8"),
    bad("overlong.csv", TABLE.encode() + b"over \xc0\xaf,post\n", "line 8", "0xc0 is not valid utf-8"),
    bad("unknown.csv", TABLE, "encoding", "must be an encoding", code=2, data={"encoding": "utf-9"}),
]

TABLES = [
    good("crlf.csv", table(end="\r\n")),
    good(
        "cr.csv",
        table(end="\r"),
    ),
    good("mixed-ends.csv", TABLE.replace("\n", "\r\n", 3)),
    good("no-last-end.csv", TABLE.rstrip("\n")),
    good("blank-lines.csv", TABLE.replace("\n", "\n\n\n")),
    good("semicolon.csv", table(delimiter=";"), "delimiter-guessed"),
    good("tab.csv", table(delimiter="\t"), "delimiter-guessed"),
    good("bar.csv", table(delimiter="|"), "delimiter-guessed"),
    good("caret.csv", table(delimiter="^"), data={"delimiter": "^"}),
    good(
        "comma-in-header.csv",
        table(delimiter=";")
        .replace("label", "label;sum, EUR", 1)
        .replace("post\n", "post;2,50\n")
        .replace("money\n", "money;2,50\n"),
        "delimiter-guessed",
    ),
    good(
        "apostrophes.csv",
        table([(f"{text}, really", label) for text, label in ROWS], quote="'"),
        "delimiter-guessed",
        rows=[(f"{text}, really", label) for text, label in ROWS],
    ),
    good("trailing-commas.csv", TABLE.replace("\n", ",\n")),
    good("numbered.csv", "".join(f"{'' if i == 0 else i},{line}" for i, line in enumerate(TABLE.splitlines(True)))),
    good("cr.tsv", table(delimiter="\t", end="\r")),
    good(
        "stray-quotes.tsv",
        table([(f'"{text.split()[0]}" {text}', label) for text, label in ROWS], "\t", quote=""),
        rows=[(f'"{text.split()[0]}" {text}', label) for text, label in ROWS],
    ),
    good("formulas.csv", table(_FORMULAS), rows=_FORMULAS),
    good(
        "words-of-nothing.csv",
        table([*ROWS, ("NA", "post"), ("null", "money")]),
        rows=[*ROWS, ("NA", ""), ("null", "")],
    ),
    good("long-text.csv", TABLE + f"{'w' * 300_000},post\n", "long-texts", rows=[*ROWS, ("w" * 300_000, "")]),
    good("joined.csv", PLAIN + "\ufeffmine is blue,post\n", rows=[*ROWS, ("mine is blue", "")]),
    good("controls.csv", PLAIN + "mine\x07 is\x1b blue,post\n", rows=[*ROWS, ("mine is blue", "")]),
    good("same-rows.csv", TABLE + TABLE.split("\n", 1)[1], "duplicates", read=12, dropped={"duplicate": 6}),
    good("no-text.csv", PLAIN + ",post\n   ,money\n", "empty-text", read=8, dropped={"empty text": 2}),
    bad("no-label.csv", PLAIN + "mine is blue,\n", "label-missing", "no-label.csv line 8"),
    bad("long.csv", long_line(TABLE), "long.csv line 8", "A line is longer than 64 MiB"),
    bad("too-many.csv", PLAIN + "a,b,c\n", "line 8", "3 fields, the header has 2"),
    bad("too-few.csv", PLAIN + "alone\n", "line 8", "1 field, the header has 2"),
    bad("ragged.csv", PLAIN + "a,b,c\nd,post\ne\n", "line 8", "1 more rows are like this (line 10)"),
    bad(
        "twice.csv",
        PLAIN.replace("text,label", "text,label,text").replace("\n", ",x\n").replace("text,x\n", "text\n", 1),
        "line 1",
        "a column twice: text",
    ),
    bad("nameless.csv", TABLE.replace("text,label", ",", 1), "line 1", "no header row"),
    bad("header-only.csv", "text,label\n", "a header and no rows"),
    bad("header-and-blanks.csv", "text,label\n\n\r\n\n", "a header and no rows"),
    bad("empty.csv", "", "The file is empty"),
    bad("blank.csv", " \n\t\n", "The file is empty"),
    bad("mark-only.csv", b"\xef\xbb\xbf", "The file is empty"),
    bad("open-quote.csv", TABLE + '"mine is blue,post\nand red,money\n', "line 8", "never closed"),
    bad("swallowed.csv", TABLE + '"mine is,post\nblue",x,post\n', "line 8", "a quote seems to be open"),
    bad("after-quote.csv", TABLE + '"mine" is blue,post\n', "line 8", "text after a closing quote"),
    bad("cut-row.csv", TABLE + '"mine is blue"', "line 8", "1 field"),
    bad("cut-quote.csv", TABLE + '"mine is bl', "line 8", "never closed"),
    bad("nul.csv", PLAIN + "mine\0is blue,post\n", "line 8", "NUL"),
    bad("nuls.csv", b"\0" * 4000, "line 1", "NUL"),
    bad("other-names.csv", TABLE.replace("text,label", "body,team", 1), "no column 'text'", "body, team", code=2),
    bad("one-column.csv", "text\nmine is blue\n", "no column 'label'", code=2),
    bad("page.csv", "<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "no column 'text'", code=2),
    bad("pointer.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n", "a pointer of Git LFS"),
    bad("lines.csv", joined(), "no column 'text'", code=2),
    bad("ragged.tsv", table(delimiter="\t") + "a\tb\tc\n", "line 8", "3 fields"),
    bad("table.json", TABLE, "line 1", "Invalid JSON"),
]

LINES = [
    good("marks.jsonl", "\n".join(f"\ufeff{line}" for line in lines())),
    good("crlf.jsonl", joined(end="\r\n")),
    good("blank-lines.jsonl", joined(end="\n\n \n")),
    good(
        "infinite.jsonl",
        joined('{"text": "mine is blue", "label": "post", "score": -Infinity}'),
        rows=[*ROWS, ("mine is blue", "")],
    ),
    good(
        "half-character.jsonl",
        joined('{"text": "mine \\ud83d is blue", "label": "post"}'),
        rows=[*ROWS, ("mine � is blue", "")],
    ),
    good(
        "escaped-nul.jsonl",
        joined('{"text": "mine\\u0000 is blue", "label": "post"}'),
        rows=[*ROWS, ("mine is blue", "")],
    ),
    good(
        "numbers.jsonl",
        joined('{"text": 1e400, "label": 7}', '{"text": 12345678901234567890123, "label": true}'),
        rows=[*ROWS, ("inf", ""), ("12345678901234567890123", "")],
    ),
    good(
        "cut-allowed.jsonl",
        joined('{"text": "mine is bl'),
        "line-unreadable",
        read=7,
        dropped={"unreadable line": 1},
        data=ALLOWED,
    ),
    good(
        "bytes-allowed.jsonl",
        joined().encode() + b'{"text": "caf\xe9", "label": "post"}\n',
        "line-unreadable",
        read=7,
        dropped={"unreadable line": 1},
        data=ALLOWED,
    ),
    bad("cut.jsonl", joined('{"text": "mine is bl'), "line 7", "Invalid JSON at column", "allow: [line-unreadable]"),
    bad(
        "bytes.jsonl",
        joined().encode() + b'{"text": "caf\xe9", "label": "post"}\n',
        "line 7",
        "0xe9 is not valid utf-8",
    ),
    bad("array-line.jsonl", joined('["mine is blue", "post"]'), "line 7", "must be an object"),
    bad("number-line.jsonl", joined("3"), "line 7", "must be an object"),
    bad("null-line.jsonl", joined("null"), "line 7", "must be an object"),
    bad("two-a-line.jsonl", joined('{"text": "a"} {"text": "b"}'), "line 7", "Extra data"),
    bad("python.jsonl", joined("{'text': 'mine is blue'}"), "line 7", "Invalid JSON at column 2"),
    bad("comma.jsonl", joined('{"text": "mine", "label": "post",}'), "line 7", "Invalid JSON"),
    bad("comment.jsonl", joined("// the end"), "line 7", "Invalid JSON"),
    bad("several-broken.jsonl", joined("{", "}", "{"), "line 7", "2 more lines cannot be read (line 8, 9)"),
    bad("digits.jsonl", joined('{"text": "mine", "label": ' + "9" * 5000 + "}"), "line 7", "cannot be read"),
    bad(
        "deep.jsonl",
        joined(f'{{"text": "mine", "label": "post", "more": {_nested(100_000)}}}'),
        "line 7",
        "nested too deeply",
    ),
    bad(
        "key-twice.jsonl",
        joined('{"text": "mine", "text": "yours", "label": "post"}'),
        "line 7",
        "the key 'text' twice",
    ),
    bad("nan-label.jsonl", joined('{"text": "mine is blue", "label": NaN}'), "label-missing", "nan-label.jsonl line 7"),
    bad("no-keys.jsonl", joined("{}"), "label-missing", "no-keys.jsonl line 7"),
    bad("other-keys.jsonl", joined('{"body": "mine", "team": "post"}'), "label-missing", "other-keys.jsonl line 7"),
    bad("list-text.jsonl", joined('{"text": ["mine"], "label": "post"}'), "line 7", "must hold text"),
    bad("object-label.jsonl", joined('{"text": "mine", "label": {"team": "post"}}'), "line 7", "must hold text"),
    bad("nul.jsonl", joined('{"text": "mi\0ne", "label": "post"}'), "line 7", "NUL"),
    bad("pretty.jsonl", json.dumps([json.loads(line) for line in lines()], indent=2), "line 1", "Invalid JSON"),
    bad("cr.jsonl", joined(end="\r"), "line 1", "Extra data"),
    bad("empty.jsonl", "", "The file is empty"),
    bad("all-broken.jsonl", "mine\nyours\n", "line 1", "1 more line cannot be read"),
    bad(
        "long.jsonl", long_line(joined('{"text": "').rstrip("\n")), "long.jsonl line 7", "A line is longer than 64 MiB"
    ),
]

WHOLE = [
    good("lines.json", joined()),
    good("mark.json", ("\ufeff" + json.dumps(OBJECTS)).encode()),
    good("wide.json", json.dumps(OBJECTS).encode("utf-16")),
    good("columns.json", json.dumps(COLUMNS)),
    good("data.json", json.dumps({"version": 2, "data": OBJECTS})),
    bad("cut.json", json.dumps(OBJECTS, indent=1)[:-80], "cut.json line 20", "Invalid JSON"),
    bad("after.json", json.dumps(OBJECTS) + "\n]", "after.json line 2", "Extra data"),
    bad("number.json", "3", "holds no table"),
    bad("no-rows.json", "[]", "no rows"),
    bad("nothing.json", "{}", "holds no table"),
    bad("items.json", json.dumps([*OBJECTS, 3]), "items.json row 7", "must be an object"),
    bad("uneven.json", json.dumps({**COLUMNS, "label": ["post"]}), "different lengths"),
    bad("deep.json", "[" * 100_000, "deep.json", "nested too deeply"),
    bad("key-twice.json", '[{"text": "a", "label": "b", "label": "c"}]', "the key 'label' twice"),
    bad("digits.json", f'[{{"text": "a", "label": {"9" * 5000}}}]', "cannot be read"),
    bad(
        "nan.json",
        json.dumps([*OBJECTS, {"text": "mine is blue", "label": float("nan")}]),
        "label-missing",
        "nan.json row 7",
    ),
    good(
        "offsets.json",
        _squad(
            ("What is blue?", [{"text": "The lamp", "answer_start": 99}]),
            ("What is red?", [{"text": "The box", "answer_start": None}]),
        ),
        "near-duplicates",
        "answer-misplaced",
        task=GENERATE,
        read=2,
        kept=("What is blue?", "What is red?"),
    ),
    good(
        "unanswered.json",
        _squad(("What is blue?", [{"text": "The lamp", "answer_start": 0}]), ("Why?", [])),
        "answer-missing",
        task=GENERATE,
        read=2,
        kept=("What is blue?",),
        dropped={"no answer": 1},
    ),
    bad(
        "answers.json",
        _squad(("What is blue?", [{"text": 3}])),
        "article 1 paragraph 1 question 1",
        "no text 'text'",
        task=GENERATE,
    ),
    bad("paragraphs.json", '{"data": [{"paragraphs": 3}]}', "article 1", "no list 'paragraphs'", task=GENERATE),
    bad("no-questions.json", _squad(), "no questions", task=GENERATE),
    good("cr.conll", "Ann\tB-PER\rran\tO\r\rBo\tB-PER\rsat\tO\r", task=PRETRAIN, read=2, kept=("Ann ran", "Bo sat")),
    bad(
        "ragged.conll",
        "Ann\tB-PER\nran\tO\n\nBo B-PER\nsat\tO\n",
        "ragged.conll line 4",
        "1 columns, most have 2",
        task=PRETRAIN,
    ),
    bad("documents.conll", "-DOCSTART- O\n\n", "no sentences", task=PRETRAIN),
    good("cr.txt", "one lamp\rtwo lamps\r", task=PRETRAIN, read=1, kept=("one lamp\ntwo lamps",)),
    bad("nul.txt", "one lamp\ntwo\0lamps\n", "nul.txt line 2", "NUL", task=PRETRAIN),
    bad("blank.txt", "\n \f\n", "The file is empty", task=PRETRAIN),
    bad("accent.txt", b"one caf\xe9\n", "accent.txt line 1", "cannot be told", task=PRETRAIN),
]
