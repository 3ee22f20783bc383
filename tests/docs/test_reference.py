"""The generated pages are what docs/build.py makes now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pages import ROOT, name


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build.pages()


def test_pages_are_up_to_date(made: dict[Path, str]) -> None:
    stale = [name(path) for path, text in made.items() if not path.exists() or path.read_text() != text]
    assert not stale, f"{', '.join(stale)} out of date; run: python docs/build.py"


def test_every_key_of_a_recipe_has_its_row(made: dict[Path, str]) -> None:
    from septet.recipe.schema import keys

    page = made[ROOT / "docs" / "reference" / "recipe.md"]
    missing = [key for key in keys() if not key.endswith((".name",)) and f"| `{key}` |" not in page]
    assert not missing


def test_every_verb_has_its_section(made: dict[Path, str]) -> None:
    from septet.cli import septet

    page = made[ROOT / "docs" / "reference" / "cli.md"]
    assert not [verb for verb in septet.commands if f"### {verb}\n" not in page]


def test_findings_are_sorted() -> None:
    slugs = [line[3:] for line in (ROOT / "docs" / "findings.md").read_text().split("\n") if line.startswith("## ")]
    assert slugs == sorted(slugs)
    assert len(slugs) == len(set(slugs))
