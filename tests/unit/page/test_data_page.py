"""`data.html`: one file that loads nothing, says what `data.json` holds, and shows markup of the data as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reader import Reader

from septet.errors import UsageError
from septet.page.data import write
from septet.page.places import Places
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lines = [f"{EVIL} words {i} of bob@example.org,team{i % 30},{i}" for i in range(300)]
    lines += ["caf\ufffd here,team1,1", ",team1,2", "only once,team2,3"]
    (folder / "t.csv").write_text("text,label,other\n" + "\n".join(lines) + "\n")
    recipe = Recipe.load(
        {
            "data": {"folder": str(folder), "train": "t.csv"},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
    )
    run = Run(folder / "runs" / "a")
    prepare(recipe, run)
    raw = (run.path / "data.html").read_text()
    return run, recipe, raw, Reader(raw)


def test_it_loads_nothing_and_shows_markup_as_text(prepared):
    _, _, raw, page = prepared
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "srcset", "action") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", raw)
    assert any(value and "default-src 'none'" in value for _, value in page.attributes)
    assert any(EVIL in word for word in page.words)


def test_it_has_its_sections_and_links_lead_somewhere(prepared):
    page = prepared[3]
    ids = [value for name, value in page.attributes if name == "id"]
    assert ids == ["findings", "ledger", "labels", "lengths", "columns", "words", "odd", "samples", "origin"]
    assert {value for name, value in page.attributes if name == "href"} == {f"#{each}" for each in ids}


def test_it_says_what_data_json_says(prepared):
    run, recipe, _, page = prepared
    facts, said = run.read_json("data.json"), " ".join(" ".join(page.words).split())
    train = facts["profile"]["train"]
    assert "303 rows read, 1 dropped, 302 kept" in said
    assert facts["findings"]
    shorten = Places.of(recipe, run.path).shorten
    assert all(shorten(finding["message"]) in said for finding in facts["findings"])
    assert f"{train['vocabulary']['words']:,}" in said
    assert "the other 15 labels" in said
    assert "not used" in said
    assert facts["hash"] in said
    assert "empty text 1" in said


def test_addresses_are_not_shown(prepared):
    assert "example.org" not in prepared[2]
    assert "‹address›" in prepared[2]


def test_it_can_be_written_again_and_is_the_same(prepared):
    run, recipe, raw, _ = prepared
    assert write(run, recipe).read_text() == raw


def test_a_run_without_data_has_no_page(tmp_path: Path):
    with pytest.raises(UsageError, match="data.json"):
        write(Run(tmp_path / "a").create(), Recipe.load({"data": {"train": "x.csv"}, "task": {"name": "pretrain"}}))
