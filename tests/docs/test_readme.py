"""What the pages show is true: commands parse, keys exist, recipes load, parts register."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pages import PAGES, ROOT, blocks, commands, name

from septet import registry
from septet.cli import septet
from septet.errors import SeptetError
from septet.recipe import Recipe
from septet.recipe.draft import read
from septet.recipe.schema import SECTIONS

FILES = ("html", "json", "jsonl", "parquet", "py", "safetensors", "sqlite", "yaml")  # `data.json` is a file, not a key


def keys_of_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for command in commands(page):
            if command[0] == "explain" and len(command) > 1 and command[1] != "KEY":
                yield name(page), command[1]


def recipes() -> Iterator[Any]:
    for page in PAGES:
        for place, text in enumerate(blocks(page, "yaml")):
            if re.search(r"^data:", text, re.MULTILINE) and re.search(r"^task:", text, re.MULTILINE):
                yield pytest.param(text, id=f"{name(page)}-{place}")


def parts() -> Iterator[Any]:
    for page in PAGES:
        for text in blocks(page, "python"):
            if found := re.match(r"# (\w+\.py)\n", text):
                yield pytest.param(found[1], text, id=found[1])


@pytest.fixture
def own_parts() -> Iterator[None]:
    """Forget the parts that a test registers."""
    before = dict(registry._codes)
    yield
    registry._codes.clear()
    registry._codes.update(before)


def parse(arguments: list[str]) -> None:
    """Parse a command as the command line does, without running it; raises what it would print."""
    verb, *rest = arguments
    parent = click.Context(septet, info_name="septet")
    if verb.startswith("-"):
        septet.make_context("septet", list(arguments), resilient_parsing=True)
        return
    _, command, _ = septet.resolve_command(parent, [verb])
    if rest and not {"-h", "--help"} & set(rest):  # a verb alone is a mention
        command.make_context(verb, rest, parent=parent)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            parse(command)
        except (click.ClickException, SeptetError) as error:
            wrong.append(f"septet {' '.join(command)}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "command", [["rum", "recipe.yaml"], ["run", "recipe.yaml", "--fast"], ["serve", "runs/x", "--port", "many"]]
)
def test_a_wrong_command_is_found(command: list[str]) -> None:
    with pytest.raises((click.ClickException, SeptetError)):
        parse(command)


@pytest.mark.parametrize(("page", "key"), keys_of_commands())
def test_explained_keys_exist(page: str, key: str) -> None:
    assert Recipe.explain(key)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_keys_in_sentences_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for found in re.finditer(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_]+(?:\.[a-z_]+)*)(?:[=:][^`]*)?`", prose):
        if found[1].rpartition(".")[2] not in FILES:
            Recipe.explain(found[1])


@pytest.mark.parametrize("text", recipes())
def test_recipes_load(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    recipe = Recipe.load(path)
    assert recipe.task.name in registry.names("task")


@pytest.mark.parametrize("text", recipes())
def test_recipes_fit_the_schema(text: str, tmp_path: Path) -> None:
    import jsonschema

    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    jsonschema.validate(read(path).values, Recipe.json_schema())


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(("file", "text"), parts())
def test_parts_of_the_pages_register(file: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(text)
    code = registry.load_code(path)
    assert registry.part(code.kind, code.name)
    assert registry.summary(code.kind, code.name)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_parses(page: Path) -> None:
    for text in blocks(page, "python"):
        if not page.is_relative_to(ROOT / "docs" / "reference"):
            ast.parse(text)


def test_the_readme_has_the_two_commands() -> None:
    lines = [line for text in blocks(ROOT / "README.md", "sh") for line in io.StringIO(text).read().split("\n")]
    assert (
        "python3 -m venv .venv && . .venv/bin/activate && pip install -e '.[starter,serve]' && septet run recipes/quickstart.yaml"
        in lines
    )
    assert "pip install -e '.[dev]' && pytest -q -n 2" in lines


def test_every_finding_in_the_code_is_explained() -> None:
    known = {line[3:] for line in (ROOT / "docs" / "findings.md").read_text().split("\n") if line.startswith("## ")}
    missing = {slug: file for slug, file in slugs().items() if slug not in known}
    assert not missing, f"docs/findings.md has no section on {missing}"


def slugs() -> dict[str, str]:
    """Return the slug of every `Finding("…", …)` in the code, and where it is."""
    found = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Finding"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found[str(node.args[0].value)] = name(path)
    return found
