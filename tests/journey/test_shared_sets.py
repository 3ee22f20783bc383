"""Every real data set through `septet prepare`: as many rows are read as its source says, and the books account for each of them.

In the default suite nearly every file is read whole, and some rows of each split are drawn, cleaned, compared and written; what was not drawn is in the books too.
`-m slow` prepares all rows.
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from septet.cli import main

SHARED = Path(os.environ.get("SEPTET_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")

CLASSIFY = {"name": "classify", "text": "text", "label": "label"}
PAIR = {"name": "classify", "text": ["sentence1", "sentence2"]}
PICTURES = {"name": "classify", "image": "image", "label": "label"}
QUESTIONS = {"name": "generate", "prompt": "question", "input": "context", "answer": "answer"}
PRETRAIN = {"name": "pretrain"}
DRAWN = {"train": 300, "validation": 100, "test": 100}

# folder -> the file, and its rows, of each split; and the task
SETS = [
    (
        "tweet_sentiment",
        {"train": ("train.csv.gz", 47946), "validation": ("validation.csv.gz", 2000), "test": ("test.csv.gz", 12284)},
        CLASSIFY,
    ),
    (
        "sst2",
        {"train": ("train.csv.gz", 60614), "validation": ("validation.csv.gz", 6735), "test": ("test.csv.gz", 872)},
        CLASSIFY,
    ),
    ("ag_news", {"train": ("train.csv.gz", 10001), "test": ("test.csv.gz", 7600)}, CLASSIFY),
    ("banking77", {"train": ("train.csv.gz", 10003), "test": ("test.csv.gz", 3080)}, CLASSIFY),
    (
        "mrpc",
        {"train": ("train.csv.gz", 3576), "validation": ("validation.csv.gz", 500), "test": ("test.csv.gz", 1725)},
        {**PAIR, "label": "label"},
    ),
    (
        "sick",
        {"train": ("train.csv.gz", 4500), "validation": ("validation.csv.gz", 500), "test": ("test.csv.gz", 4927)},
        {**PAIR, "label": "entailment"},
    ),
    *(("xquad", {"train": (f"xquad.{language}.json.gz", 1190)}, QUESTIONS) for language in ("en", "es", "de", "zh")),
    *(
        (
            f"multi30k_en_{language}",
            {
                "train": ("train.jsonl.gz", 29000),
                "validation": ("validation.jsonl.gz", 1014),
                "test": ("test.jsonl.gz", 1000),
            },
            {"name": "generate", "prompt": "en", "answer": language},
        )
        for language in ("de", "fr")
    ),
    ("dialogsum", {"train": ("dev.jsonl.gz", 500)}, {"name": "generate", "prompt": "dialogue", "answer": "summary"}),
    ("dialogsum", {"train": ("test.jsonl.gz", 500)}, {"name": "generate", "prompt": "dialogue", "answer": "summary1"}),
    ("alpaca_en_demo", {"train": ("data.json.gz", 999)}, {"name": "generate"}),
    ("glaive_toolcall_demo", {"train": ("data.json.gz", 300)}, {"name": "generate"}),
    ("kto_en_demo", {"train": ("data.json.gz", 300)}, {"name": "generate"}),
    (
        "gsm8k_train",
        {"train": ("train.jsonl.gz", 7473)},
        {"name": "generate", "prompt": "question", "answer": "answer"},
    ),
    ("t0_prompts", {"train": ("train.jsonl.gz", 9500), "test": ("test.jsonl.gz", 500)}, {"name": "generate"}),
    # no task learns preferences or tags yet: what is learned here are the earlier turns, and lists of tokens as text
    ("dpo_en_demo", {"train": ("data.json.gz", 300)}, {"name": "generate", "messages": "conversations"}),
    (
        "wnut17",
        {
            "train": ("train.jsonl.gz", 3394),
            "validation": ("validation.jsonl.gz", 1009),
            "test": ("test.jsonl.gz", 1287),
        },
        {**PRETRAIN, "text": "tokens"},
    ),
    ("tiny_shakespeare", {"train": ("input.txt", 1)}, PRETRAIN),
    ("wikitext2_valid_test", {"train": ("valid.txt.gz", 1), "test": ("test.txt.gz", 1)}, PRETRAIN),
    ("english_novels", {"train": ("train.txt.xz", 46), "validation": ("validation.txt.xz", 2)}, PRETRAIN),
    ("web_and_wiki_demo", {"train": ("c4_demo.jsonl.gz", 300)}, {**PRETRAIN, "text": "text"}),
    ("web_and_wiki_demo", {"train": ("wiki_demo.txt.gz", 30)}, PRETRAIN),
]
SETS.append(("cifar10_subset", {"train": ("images.zip/train", 8000), "test": ("images.zip/test", 2000)}, PICTURES))
TABLES = {
    "29_Pima": 768,
    "2_annthyroid": 7200,
    "30_satellite": 6435,
    "38_thyroid": 3772,
    "40_vowels": 1456,
    "42_WBC": 223,
    "45_wine": 129,
    "4_breastw": 683,
    "6_cardio": 1831,
    "7_Cardiotocography": 2114,
}
SETS += [
    ("adbench_tabular", {"train": (f"{name}.npz", rows)}, {"name": "classify", "columns": "all", "label": "y"})
    for name, rows in TABLES.items()
]
# the source counts ends of lines, and a series has none at its end; no task learns series yet: what is learned is a value as text
SERIES = {
    "realKnownCause": 69561,
    "realAWSCloudwatch": 67740,
    "artificialWithAnomaly": 24192,
    "artificialNoAnomaly": 20160,
}
ENDS_OF_LINES = {69561: 69560}
SETS += [
    ("nab", {"train": (f"series.zip/{name}", rows)}, {"name": "generate", "prompt": "timestamp", "answer": "value"})
    for name, rows in SERIES.items()
]
SETS.append(("spoken_digits", {"train": ("labels.csv", 2000)}, {"name": "classify", "audio": "file", "label": "digit"}))
LONG = ("english_novels", "wikitext2_valid_test")  # texts of megabytes; of the novels two are read
ALIKE = ("xquad-es", "xquad-de", "multi30k_en_fr-train")  # others of the same form are drawn


def prepare(folder: Path, data: dict, task: dict, model: Path) -> tuple[int, str, Path]:
    """Return the exit code, what was said, and the run."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": data, "task": task, "model": str(model)}))
    run, told = folder / "runs" / "a", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main(["prepare", str(folder / "recipe.yaml"), "--run", str(run)])
    assert "Traceback" not in told.getvalue(), told.getvalue()
    return int(ended.value.code or 0), told.getvalue(), run


def check_books(ledger: dict, rows: dict[str, int]) -> None:
    """Check that as many rows were read as there are, and that each is accounted for."""
    assert {split: book["read"] for split, book in ledger.items() if book["read"]} == rows
    for book in ledger.values():
        gone = sum(book["dropped"].values()) + sum(book["moved"].values())
        assert book["read"] + book["received"] == book["kept"] + gone
    assert sum(rows.values()) == sum(book["kept"] + sum(book["dropped"].values()) for book in ledger.values())


def check(name: str, files: dict, task: dict, folder: Path, model: Path, **data: object) -> None:
    source = (SHARED / name / "SOURCE.md").read_text()
    for _, rows in files.values():  # documents of plain text are counted in other words
        rows = ENDS_OF_LINES.get(rows, rows)
        assert task["name"] == "pretrain" or re.search(rf"\b({rows}|{rows:,})[ ,]", source)
    paths = {split: str(SHARED / name / file) for split, (file, _) in files.items()}
    if files["train"][0].startswith("wiki_demo"):
        data["documents"] = "line"
    if name == "spoken_digits":
        data["media"] = str(SHARED / name / "recordings.zip")
    if files["train"][1] == 1:  # one document is not cut into splits
        data["split"] = {"validation": 0, "test": 0}
    code, said, run = prepare(folder, {**paths, **data, "allow": ["label-unseen"]}, task, model)
    assert code == 0, said
    facts = json.loads((run / "data.json").read_text())
    check_books(facts["ledger"], {split: rows for split, (_, rows) in files.items()})
    slugs = {each["slug"] for each in facts["findings"]}
    assert not slugs & {"encoding-guessed", "line-unreadable"}
    assert ("row-malformed" in slugs) == (name == "dpo_en_demo")


def ids(case: tuple) -> str:
    file = case[1]["train"][0]
    return f"{case[0]}-{file.split('.')[-3 if case[0] == 'xquad' else 0] if case[0] != 'nab' else Path(file).name}"


def test_every_set_is_here():
    assert {name for name, *_ in SETS} == {path.name for path in SHARED.iterdir() if path.is_dir()}


@pytest.mark.parametrize("case", [case for case in SETS if case[0] not in LONG and ids(case) not in ALIKE], ids=ids)
def test_the_books_of_rows_that_are_drawn(case, tmp_path, tiny_bert):
    drawn = {split: min(DRAWN[split], rows) for split, (_, rows) in case[1].items() if case[2] != PRETRAIN}
    check(*case, tmp_path, tiny_bert, **({"sample": drawn} if drawn else {}))


def test_the_books_of_novels(tmp_path, tiny_bert):
    check(
        "english_novels",
        {"train": ("validation.txt.xz", 2)},
        PRETRAIN,
        tmp_path,
        tiny_bert,
        split={"validation": 0, "test": 0},
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", SETS, ids=ids)
def test_the_books_of_all_rows(case, tmp_path, tiny_bert):
    check(*case, tmp_path, tiny_bert)
