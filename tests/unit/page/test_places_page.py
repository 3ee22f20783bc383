"""Pages name paths from the run's folder or the data's: where a machine keeps its folders is not on them."""

from pathlib import Path

import pytest

import invented_run
from septet.evaluate import evaluate
from septet.page.html import text
from septet.page.places import Places
from septet.recipe import Recipe


def places(tmp_path: Path, **data: object) -> Places:
    source = {"data": {"train": "a.csv", "folder": str(tmp_path / "shop")} | data, "model": "starter"}
    task = {"task": {"name": "classify", "text": "text", "label": "label"}}
    return Places.of(Recipe.load(source | task), tmp_path / "shop" / "runs" / "first")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("{0}/shop/a.csv line 17", "a.csv line 17"),
        ("in {0}/shop/runs/first/model, 3 files", "in model, 3 files"),
        ("<code>{0}/shop</code>", "<code>.</code>"),
        ("['{0}/shop/a.csv', '{0}/far/away/b.csv']", "['a.csv', '…/away/b.csv']"),
        ("{0}/far/away/b.csv", "…/away/b.csv"),
        ("sqlite:///{0}/shop/s.db", "sqlite:///s.db"),
        ("{0}/shopping/a.csv", "{0}/shopping/a.csv"),
        ("x{0}/shop/a.csv", "x{0}/shop/a.csv"),
        ("https://a.b{0}/shop/a", "https://a.b{0}/shop/a"),
    ],
)
def test_folders_are_left_out(tmp_path, told, shown):
    found = places(tmp_path, validation=f"{tmp_path}/far/away/b.csv", test="${NOT_SET_ANYWHERE}/c.csv")
    assert found.shorten(told.format(tmp_path)) == shown.format(tmp_path)


def test_the_users_folder_and_escaped_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "o'neill & co"))
    assert places(tmp_path).shorten(text(f"kept in {tmp_path}/o'neill & co/.cache")) == "kept in ~/.cache"


def test_the_root_stands_for_nothing(tmp_path):
    source = {
        "data": {"train": "/a.csv", "folder": "/"},
        "task": {"name": "classify", "text": "text", "label": "label"},
    }
    found = Places.of(Recipe.load(source), tmp_path / "run")
    assert "/" not in found.folders and found.shorten("1 / 2, /a.csv </p>") == "1 / 2, /a.csv </p>"


def test_no_page_names_a_folder_of_the_machine(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.8)
    run = invented_run.write(tmp_path, labels=2, rows=(60, 20, 30), overrides=("evaluate.baselines=[majority]",))
    environment = run.read_json("env.json")
    run.write_json("env.json", environment | {"disk": {"folder": str(run.path)}})
    evaluate(run)
    for name in ("report.html", "data.html"):
        page = (run.path / name).read_text()
        assert str(tmp_path) not in page and str(Path.cwd()) not in page
