"""The command line: what it prints, where, and with which exit code."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from septet import cli
from septet.errors import DataError, Problems, RecipeError
from septet.interrupt import Interrupted

RECIPE = "data: {train: tickets.csv}\ntask: {name: classify, text: body, label: team}\n"


@pytest.fixture
def septet(capsys):
    """Run the command line in this process; return its exit code, standard output and standard error."""

    def call(*args):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return call


@pytest.fixture
def verb(monkeypatch):
    """Let a verb of the journey be a given function; return what it was called with."""
    from septet import journey

    def replace(name, function):
        calls = []

        def stand_in(*args, **options):
            calls.append((args, options))
            return function(*args, **options)

        monkeypatch.setattr(journey, name, stand_in)
        return calls

    return replace


class Result:
    exit_code = 0

    def to_json(self):
        return {"accuracy": 0.5, "path": Path("/x"), "missing": float("nan")}

    def text(self):
        return "accuracy 0.5"


def failing(error):
    def function(*args, **options):
        raise error

    return function


def run_python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **options
    )


# ---- help ----


def test_help_imports_nothing_heavy():
    code = """
import sys
from septet.cli import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"torch", "pydantic", "transformers", "numpy", "rich", "yaml", "sklearn", "pyarrow"} & set(sys.modules)
    print("HEAVY", sorted(heavy))
"""
    done = run_python(code)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("verb", ["train", "predict", "list", "completion"])
def test_help_of_a_verb_imports_nothing_heavy(verb):
    code = f"""
import sys
from septet.cli import main
try:
    main(["{verb}", "--help"])
except SystemExit:
    print("HEAVY", sorted({{"torch", "pydantic", "transformers", "numpy", "rich", "yaml"}} & set(sys.modules)))
"""
    assert "HEAVY []" in run_python(code).stdout


def test_help_lists_the_verbs_in_the_order_of_the_journey(septet):
    code, out, _ = septet("--help")
    assert code == 0
    rows = [
        line.replace("1-7", "").replace("2-3", "").strip(" 1234567").split(" ")[0]
        for line in out.split("Start:")[1].splitlines()
    ]
    verbs = [row for row in rows if row in cli.septet.commands]
    assert verbs == [
        "init",
        "label",
        "tokenizer",
        "prepare",
        "check",
        "train",
        "evaluate",
        "deploy",
        "predict",
        "chat",
        "serve",
        "monitor",
        "run",
        "list",
        "explain",
        "schema",
        "completion",
        "selftest",
    ]
    assert set(verbs) == set(cli.septet.commands)


def test_every_verb_has_help_and_json(septet):
    for name in cli.septet.commands:
        code, out, _ = septet(name, "--help")
        assert code == 0
        assert "--json" in out
        assert "--debug" in out


def test_version(septet):
    from importlib.metadata import version

    assert septet("--version") == (0, f"septet {version('septet')}\n", "")


def test_no_verb_shows_the_help(septet):
    code, out, _ = septet()
    assert code == 0
    assert "The seven stages" in out


# ---- calls ----


def test_a_verb_gets_recipe_overrides_and_options(septet, verb):
    calls = verb("train", lambda *args, **options: Result())
    code, out, err = septet(
        "train",
        "r.yaml",
        "train.lr=1e-4",
        "method=lora",
        "--run",
        "runs/x",
        "--resume",
        "--code",
        "a.py",
        "--code",
        "b.py",
    )
    assert (code, out, err) == (0, "accuracy 0.5\n", "")
    args, options = calls[0]
    assert args == ("r.yaml", ("train.lr=1e-4", "method=lora"))
    assert options.pop("listen")
    assert options == {"run": "runs/x", "resume": True, "force": False, "profile": False, "code": ("a.py", "b.py")}


@pytest.mark.parametrize(
    ("line", "name", "given", "options"),
    [
        (
            ["prepare", "r.yaml"],
            "prepare",
            ("r.yaml", ()),
            {"run": None, "code": (), "show": None, "review": None, "dry_run": False},
        ),
        (
            ["prepare", "r.yaml", "--show", "3"],
            "prepare",
            ("r.yaml", ()),
            {"run": None, "code": (), "show": 3, "review": None, "dry_run": False},
        ),
        (["check", "r.yaml", "a=1"], "check", ("r.yaml", ("a=1",)), {"run": None, "code": ()}),
        (
            ["run", "r.yaml"],
            "run_all",
            ("r.yaml", ()),
            {"run": None, "resume": False, "force": False, "profile": False, "code": ()},
        ),
        (["evaluate", "d", "--on", "t.csv"], "evaluate", ("d",), {"on": "t.csv"}),
        (["deploy", "d", "--to", "o"], "deploy", ("d",), {"to": "o"}),
        (["predict", "d", "-", "-o", "o.jsonl"], "predict", ("d", "-"), {"out": "o.jsonl", "skip": 0}),
        (["serve", "d", "--port", "0", "--log-text"], "serve", ("d",), {"host": None, "port": 0, "log_text": True}),
        (["serve", "d"], "serve", ("d",), {"host": None, "port": None, "log_text": None}),
        (["monitor", "d", "--log", "l.sqlite"], "monitor", ("d",), {"log": "l.sqlite", "window": None}),
        (["monitor", "d", "--window", "9"], "monitor", ("d",), {"log": None, "window": 9}),
    ],
)
def test_each_verb_calls_its_step_of_the_journey(septet, verb, line, name, given, options):
    calls = verb(name, lambda *args, **options: Result())
    assert septet(*line)[0] == 0
    args, called = calls[0]
    called.pop("listen")
    assert (args, called) == (given, options)


def test_json_is_one_document_and_all_else_goes_to_standard_error(septet, verb):
    def noisy(*args, listen, **options):
        print("a library prints")
        listen("note", text="a note")
        return Result()

    verb("train", noisy)
    code, out, err = septet("train", "r.yaml", "--json")
    assert code == 0
    assert json.loads(out) == {"accuracy": 0.5, "path": "/x", "missing": None}
    assert "a library prints" in err
    assert "a note" in err


def test_the_exit_code_of_a_result_is_kept(septet, verb):
    class Drift(Result):
        exit_code = 3

    verb("monitor", lambda *args, **options: Drift())
    assert septet("monitor", "d")[:2] == (3, "accuracy 0.5\n")
    assert septet("monitor", "d", "--json")[0] == 3


# ---- errors ----


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("The row is broken.", where="a.csv line 3"), 3, "DataError: The row is broken.\n  a.csv line 3\n"),
        (RecipeError("No.", hint="yes"), 2, "RecipeError: No.\n  try: yes\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/model"), 1, "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "No permission"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x/y.csv"), 2, "/x/y.csv"),
        (MemoryError(), 1, "out of memory"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "Defect: ZeroDivisionError: division by zero\n  try: this is a defect; run again with --debug\n",
        ),
    ],
)
def test_an_error_is_told_once_without_traceback(septet, verb, error, code, says):
    verb("train", failing(error))
    found, out, err = septet("train", "r.yaml")
    assert found == code
    assert out == ""
    assert says in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(septet, verb):
    verb("train", failing(ZeroDivisionError("division by zero")))
    for line in (["train", "r.yaml", "--debug"], ["--debug", "train", "r.yaml"]):
        code, _, err = septet(*line)
        assert code == 1
        assert "Traceback" in err


def test_errors_are_json_too(septet, verb):
    verb("train", failing(DataError("Broken.", where="a.csv line 3", hint="mend it")))
    code, out, err = septet("train", "r.yaml", "--json")
    assert code == 3
    assert json.loads(out) == {
        "error": {"type": "DataError", "message": "Broken.", "where": "a.csv line 3", "hint": "mend it"}
    }
    assert "Broken." in err


def test_several_problems_are_listed_in_json(septet, verb):
    verb("train", failing(Problems([RecipeError("One."), DataError("Two.")])))
    code, out, err = septet("train", "r.yaml", "--json")
    assert code == 3
    assert [each["message"] for each in json.loads(out)["error"]["problems"]] == ["One.", "Two."]
    assert "One." in err and "Two." in err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "what was saved is kept."),
        (Interrupted(signal.SIGTERM), 143, "SIGTERM came before an update was made; nothing is lost."),
    ],
)
def test_an_interruption_says_how_to_resume(septet, verb, tmp_path, error, code, says):
    def interrupted(*args, listen, **options):
        listen("run", path=tmp_path)
        raise error

    verb("train", interrupted)
    (tmp_path / "steps.jsonl").touch()
    command = f"septet train r.yaml --run {tmp_path} --resume"
    assert septet("train", "r.yaml") == (code, "", f"Interrupted: {says}\n  try: {command}\n")
    status, out, _ = septet("train", "r.yaml", "--json")
    assert status == code
    told = json.loads(out)["error"]
    assert (told["type"], told["message"]) == ("Interrupted", says)
    assert told["hint"] == f"septet train r.yaml --json --run {tmp_path} --resume"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["trian"], "did you mean train"),
        (["train"], "RECIPE"),
        (["train", "r.yaml", "--rnu", "x"], "--run"),
        (["serve", "d", "--port", "99999"], "port"),
        (["prepare", "r.yaml", "--resume"], "--resume"),
        (["completion", "cmd"], "bash"),
        (["list", "tusk"], "task"),
        (["explain", "train.lrr"], "train.lr"),
    ],
)
def test_wrong_usage_is_exit_code_2(septet, line, says):
    code, out, err = septet(*line)
    assert code == 2
    assert out == ""
    assert err.startswith("UsageError: ")
    assert says in err


def test_wrong_usage_under_json(septet):
    code, out, _ = septet("train", "--json")
    assert code == 2
    assert json.loads(out)["error"]["type"] == "UsageError"


def test_a_broken_pipe_is_silent():
    done = subprocess.run(
        f"{sys.executable} -m septet schema | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("{")


def test_bad_recipes_through_the_real_command(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + "train:\n  lrr: 1\n  epochs: -1\n")
    done = subprocess.run(
        [sys.executable, "-m", "septet", "prepare", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert f"{path} line 4" in done.stderr
    assert f"{path} line 5" in done.stderr
    assert "Traceback" not in done.stderr
    assert [found.name for found in tmp_path.iterdir()] == ["recipe.yaml"]


# ---- looking up ----


def test_list_names_and_summaries(septet):
    code, out, _ = septet("list", "method")
    assert code == 0
    assert {line.split(" ")[0] for line in out.splitlines()} >= {"full", "head", "layers", "lora"}
    assert septet("list", "methods")[1] == out
    listed = json.loads(septet("list", "method", "--json")[1])
    assert {"name", "summary"} == set(listed[0])


def test_list_takes_a_plug_in_file(septet, tmp_path):
    (tmp_path / "mine.py").write_text('"""My own method."""\nkind = "method"\nclass Mine: ...\n')
    code, out, _ = septet("list", "method", "--code", tmp_path / "mine.py")
    from septet import registry

    registry._codes.pop(("method", "mine"))
    assert code == 0
    assert "mine" in out and "My own method." in out


def test_listing_and_explaining_import_no_torch():
    code = "import sys\nfrom septet.cli import main\ntry:\n    main({})\nexcept SystemExit:\n    print('TORCH', 'torch' in sys.modules)"
    for line in (["list", "method"], ["list", "task"], ["explain", "method.rank"], ["schema"], ["list", "metric"]):
        done = run_python(code.format(line))
        assert "TORCH False" in done.stdout, (line, done.stderr)


def test_explain_and_schema(septet):
    assert "Peak learning rate" in septet("explain", "train.lr")[1]
    assert json.loads(septet("explain", "train.lr", "--json")[1])["key"] == "train.lr"
    assert json.loads(septet("schema")[1])["title"] == "Septet recipe"


def test_the_place_of_an_error_is_short():
    from septet.errors import DataError

    error = DataError("Too few.", where="x" * 100_000)
    assert len(str(error)) < 700
