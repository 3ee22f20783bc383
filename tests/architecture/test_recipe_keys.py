"""A known key that nothing reads would be silence where an error belongs: every key of a recipe is read outside `recipe/`.

A key counts as read where the code takes it from its block (`recipe.train.lr`, `train.lr`), from a name under which a file
takes a block as a whole (`options.rank`, `settings.port`), or names its dotted path in a text (`"train.lr"`).
"""

import ast
from pathlib import Path

import pytest

import septet
from septet.recipe.schema import keys, nested

SOURCE = Path(septet.__file__).parent


BLOCK_NAMES = {"options", "settings", "limits", "stopping"}
# read by another way than by name: the file, and the text in it that does it
OTHERWISE = {
    "data.folder": ("data/sources.py", "recipe.path("),
    "data.train": ("data/sources.py", "getattr(data, split"),
    "data.validation": ("data/sources.py", "getattr(data, split"),
    "data.sample.train": ("prepare.py", "getattr(sample, "),
    "data.sample.validation": ("prepare.py", "getattr(sample, "),
    "data.sample.test": ("prepare.py", "getattr(sample, "),
    "task.history": ("tasks/generate.py", "getattr(self.options, name)"),
    "task.system": ("tasks/generate.py", "getattr(self.options, name)"),
    "task.instruction": ("tasks/generate.py", "getattr(self.options, name)"),
    **{
        f"model.vocabulary.{name}": ("encode.py", "**wanted.model_dump()")
        for name in ("kind", "size", "lowercase", "chat")
    },
    "train.max_time": ("course.py", "train.max_time_s"),
    "train.save_every": ("course.py", "train.save_every_s"),
}


@pytest.fixture(scope="module")
def read() -> tuple[set[tuple[str, str]], set[str]]:
    """What the code outside `recipe/` takes from what, and the texts in it."""
    taken: set[tuple[str, str]] = set()
    texts: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if SOURCE / "recipe" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value
                name = (
                    owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
                )
                taken.add((name, node.attr))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    return taken, texts


def is_read(path: str, taken: set[tuple[str, str]], texts: set[str]) -> bool:
    *_, block, name = path.split(".")
    return path in texts or any((owner, name) in taken for owner in {block, *BLOCK_NAMES})


@pytest.mark.parametrize("path", sorted(path for path, field in keys().items() if nested(field) is None))
def test_every_key_is_read(path, read):
    if path in OTHERWISE:
        file, text = OTHERWISE[path]
        assert text in (SOURCE / file).read_text(), f"nothing reads {path} any more"
    else:
        assert is_read(path, *read), f"nothing reads {path}"


def test_a_key_that_nothing_reads_is_found(read):
    assert not is_read("train.lrr", *read)
    assert not is_read("evaluate.lr", *read)
