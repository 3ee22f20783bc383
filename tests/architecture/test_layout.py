"""The shape of the code: imports point one way, nothing dangerous is called, files and functions stay short, findings have a page."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import septet
from septet import registry

SOURCE = Path(septet.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# lower never imports higher; parts of one layer may import each other
LAYERS = [
    {"errors"},
    {"recipe", "registry", "report", "durable", "run", "progress", "cache", "interrupt", "launch"},
    {"data", "metrics"},
    {"inputs", "model", "tasks", "methods", "baselines", "exports", "augmenters"},
    {"engine", "optimizers"},
    {
        "init",
        "label",
        "tokenizer",
        "prepare",
        "preview",
        "check",
        "train",
        "finish",
        "search",
        "evaluate",
        "compare",
        "deploy",
        "serve",
        "predict",
        "monitor",
        "retrain",
        "setup",
        "encode",
        "mixing",
        "augment",
        "teacher",
        "show",
        "chat",
        "course",
        "doubt",
        "meaning",
        "rehearse",
        "review",
        "perceive",
        "hasten",
        "resume",
        "selftest",
        "timetable",
        "appraise",
    }
    | {"server", "watch", "labelling", "diagnose", "page", "scoring", "signs", "testing"},
    {"begin"},
    {"journey"},
    {"api"},
    {"cli", "display", "complete", "__main__", "__init__", "studio"},
]


def layer(name: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


def own(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> set[str]:
    """Return our modules that a file imports anywhere, by their first name, types alone left out."""
    skipped = {
        id(n)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for n in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "septet":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("septet."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("septet.")}
    return found


def test_every_name_has_its_layer():
    unknown = {own(path) for path in FILES if layer(own(path)) is None}
    assert not unknown, f"say in LAYERS where these belong: {sorted(unknown)}"


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.name != "__init__.py" or p.parent != SOURCE],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_imports_point_one_way(path):
    mine = own(path)
    for name in imports(TREES[path]):
        above = layer(name)
        if above is not None:
            assert above <= (layer(mine) or 0), f"{path.relative_to(SOURCE)} imports septet.{name}, which is above it"


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


FORBIDDEN = {
    "eval",
    "exec",
    "__import__",
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "yaml.load",
    "os.system",
    "os.popen",
    "joblib.load",
    "marshal.loads",
    "dill.load",
}


def dangers(path: Path, tree: ast.AST) -> list[str]:
    """Return the calls and texts of a file that could run code or open the machine."""
    found = []
    for name, call in calls(tree):
        if name in FORBIDDEN or name.split(".")[-1] in ("extractall", "unpack_archive"):
            found.append(name)
        if name.endswith(".exec_module") and path.name != "registry.py":
            found.append(name)
        for keyword in call.keywords:
            if keyword.arg in ("shell", "trust_remote_code", "allow_pickle") and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                found.append(f"{keyword.arg}=")
    for node in ast.walk(tree):
        names = (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        found += [
            name for name in names if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "marshal", "shelve")
        ]
        if isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            found.append("0.0.0.0")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_dangerous(path):
    assert dangers(path, TREES[path]) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(x)",
        "eval('1')",
        "exec(code)",
        "subprocess.run(x, shell=True)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "archive.extractall()",
        "yaml.load(x)",
        "host = '0.0.0.0'",
        "spec.loader.exec_module(m)",
    ],
)
def test_a_danger_would_be_found(text):
    assert dangers(Path("x.py"), ast.parse(text))


def test_each_test_file_has_its_own_name():
    """Folders of tests are no packages: of two files of one name in one process pytest refuses the second."""
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


def test_the_optimizer_has_one_spelling():
    """The recipe's key and the field's term; another spelling beside it is found by no search."""
    root, other = Path(__file__).parents[2], "optimi" + "ser"
    folders = ("src", "tests", "docs", "recipes", "bench")
    found = [*root.glob("*.md"), *(path for name in folders for path in (root / name).rglob("*"))]
    kinds = (".py", ".md", ".yaml", ".toml", ".cpp", ".css")
    looked = [p for p in found if p.suffix in kinds and "results" not in p.relative_to(root).parts]
    assert len(looked) > 600
    assert not [p for p in looked if other in p.read_text(encoding="utf-8", errors="replace").lower()]


def test_files_and_functions_stay_short():
    long = [f"{p.relative_to(SOURCE)}: {n} lines" for p in FILES if (n := len(p.read_text().splitlines())) > 400]
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno + 1 > 60:
                long.append(f"{path.relative_to(SOURCE)}: {node.name} has {node.end_lineno - node.lineno + 1} lines")
    assert not long, long


HEAVY = {"torch", "transformers", "peft", "sklearn", "datasets", "tokenizers", "accelerate"}


@pytest.mark.parametrize("folder", sorted(registry.FOLDERS.values()))
def test_plug_in_files_import_torch_inside_functions(folder):
    for path in sorted((SOURCE / folder).glob("*.py")):
        tree = TREES[path]
        inside = {
            id(n)
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.If))
            for n in ast.walk(node)
        }
        for node in ast.walk(tree):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            heavy = {name.split(".")[0] for name in names} & HEAVY
            assert not heavy or id(node) in inside, f"{path.relative_to(SOURCE)} imports {heavy} at its top"


def slugs() -> dict[str, str]:
    """Return every slug that a `Finding(...)` in the code names, and its file."""
    found = {}
    for path, tree in TREES.items():
        for name, call in calls(tree):
            first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "slug"), None)
            if name.split(".")[-1] == "Finding" and isinstance(first, ast.Constant):
                found[first.value] = str(path.relative_to(SOURCE))
    return found


def test_every_finding_has_its_page():
    page = SOURCE.parent.parent / "docs" / "findings.md"
    if not page.exists():
        pytest.skip("the docs are not beside the package")
    sections = re.findall(r"^## (\S+)$", page.read_text(), re.MULTILINE)
    assert len(slugs()) >= 10
    missing = {slug: file for slug, file in slugs().items() if slug not in sections}
    assert not missing, f"docs/findings.md has no section for {missing}"
    assert len(sections) == len(set(sections)), "a slug has two sections"
