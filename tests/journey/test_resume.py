"""A resume names everything that has changed since the run was begun, refuses, and goes on where it is told to."""

import json
import shutil

import pytest

import small
from septet import journey, registry
from septet.errors import RunError
from septet.resume import MAY, NAME, STAYS, WILL
from septet.run import Run

CODE = '''"""A baseline."""
kind = "baseline"
'''


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was stopped after its third update, and the recipe and code file it was begun with."""
    folder = tmp_path_factory.mktemp("begun")
    code = folder / "mine.py"
    code.write_text(CODE)
    source = small.recipe(folder, save_every=1)
    with small.stopped_after(3):
        journey.train(source, run=folder / "run", code=[str(code)])
    yield folder, source, code
    registry._codes.pop(("baseline", "mine"))


@pytest.fixture
def kept(begun):
    """The same, with every file put back afterwards."""
    folder, source, code = begun
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    yield folder, source, code
    shutil.rmtree(folder)
    copy.rename(folder)


def test_a_refused_resume_leaves_what_the_run_says_of_its_end(kept):
    folder, _, _ = kept
    before = (folder / "run" / "FAILED.json").read_bytes()
    refusal(kept, "train.lr=1e-5")
    assert (folder / "run" / "FAILED.json").read_bytes() == before


def test_a_run_that_goes_on_has_not_failed(kept):
    folder, source, code = kept
    run = folder / "run"
    assert (run / "FAILED.json").exists()
    seen = []

    def listen(event, **facts):
        if event == "step":
            seen.append((run / "FAILED.json").exists())

    journey.train(source, run=run, code=[str(code)], resume=True, listen=listen)
    assert seen and not any(seen)


def refusal(kept, *overrides, **options):
    folder, source, code = kept
    with pytest.raises(RunError) as caught:
        journey.train(source, overrides, run=folder / "run", code=[str(code)], resume=True, **options)
    assert caught.value.exit_code == 2
    assert "--force" in caught.value.hint
    assert "nothing to resume" not in caught.value.what
    return caught.value.what.splitlines()[1:]


@pytest.mark.parametrize(
    ("override", "then", "now", "effect"),
    [
        ("train.lr=1e-4", "0.002", "0.0001", WILL),
        ("train.batch=4", "8", "4", WILL),
        ("train.epochs=2", "3.0", "2.0", WILL),
        ("train.seed=7", "42", "7", WILL),
        ("model.max_length=16", "32", "16", WILL),
        ("method.name=head", "full", "head", WILL),
        ("data.duplicates=keep", "drop", "keep", WILL),
        ("train.token_budget=128", "64", "128", MAY),
        ("train.keep=5", "2", "5", STAYS),
    ],
)
def test_a_changed_key_is_named_with_both_values(kept, override, then, now, effect):
    lines = refusal(kept, override)
    assert lines == [f"  {override.split('=')[0]}: {then} then, {now} now; {effect}"]


def test_a_key_that_was_taken_away_is_named(kept):
    folder, source, code = kept
    left = {**source, "train": {k: v for k, v in source["train"].items() if k != "metric"}}
    assert refusal((folder, left, code)) == [f"  train.metric: log_loss then, auto now; {WILL}"]


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("python", "3.9.0"),
        ("septet", "0.0.9"),
        ("torch", "2.0.0"),
        ("transformers", "4.0.0"),
        ("peft", "0.1.0"),
        ("numpy", "1.0.0"),
        ("tokenizers", None),
        ("instructions", "avx2 amx_bf16"),
        ("accelerators", "NVIDIA H200"),
    ],
)
def test_versions_and_the_machine_are_compared(kept, what, value):
    file = kept[0] / "run" / NAME
    record = json.loads(file.read_text())
    block = record if what in record else record["versions"]
    block[what] = value
    file.write_text(json.dumps(record))
    (line,) = refusal(kept)
    assert what.split()[0] in line.replace("instruction sets", "instructions")
    assert f"{value or 'none'} then" in line
    assert line.endswith(MAY)


COMPUTED = {
    "precision of the computation": "bf16",
    "attention of the model": "sdpa",
    "what computes the model": "kernels, torch",
    "what computes the optimizer's pass": "compiled",
    "C++ compiler": "g++ 9.9.9",
}


@pytest.mark.parametrize("what", COMPUTED)
def test_what_updates_are_computed_by_is_compared(kept, what):
    run = kept[0] / "run"
    record, ended = json.loads((run / NAME).read_text()), (run / "FAILED.json").read_bytes()
    record["computed"][what] = COMPUTED[what]
    (run / NAME).write_text(json.dumps(record))
    (line,) = refusal(kept)
    assert line.startswith(f"  {what}: {COMPUTED[what]} then, ") and line.endswith(MAY)
    assert (run / "FAILED.json").read_bytes() == ended, "a refused resume leaves what the run says of its end"


def test_another_number_of_processes_is_no_difference(kept):
    folder, source, code = kept
    file = folder / "run" / NAME
    record = json.loads(file.read_text())
    record["computed"] |= {"processes": 2, "what computes the model": "kernels, torch"}
    file.write_text(json.dumps(record))
    journey.train(source, run=folder / "run", code=[str(code)], resume=True)
    assert json.loads(file.read_text())["computed"]["processes"] == 1


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("train.jsonl", ["data file train.jsonl (train)", "prepared rows of train"]),
        ("validation.jsonl", ["data file validation.jsonl (validation)", "prepared rows of validation"]),
        ("base/config.json", ["model file config.json"]),
        ("base/chat_template.jinja", ["model file chat_template.jinja"]),
        ("mine.py", ["--code file, baseline mine"]),
    ],
)
def test_files_are_compared_by_their_bytes(kept, file, named):
    path = kept[0] / file
    changed = path.read_text() if path.exists() else ""
    path.write_text(changed.replace('"text": "', '"text": "again ', 1) if file.endswith(".jsonl") else changed + "\n")
    lines = refusal(kept)
    assert [line.strip().split(":")[0] for line in lines] == named
    assert all(line.endswith(WILL) for line in lines)


def test_weights_are_compared_and_everything_is_named_at_once(kept):
    path = kept[0] / "base" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    lines = refusal(kept, "train.lr=1e-4", "train.batch=4")
    assert [line.strip().split(":")[0] for line in lines] == ["train.batch", "train.lr", "model file model.safetensors"]


def test_force_goes_on_and_says_so_for_good(kept):
    folder, source, code = kept
    said = []
    result = journey.train(
        source,
        ["train.epochs=1"],
        run=folder / "run",
        code=[str(code)],
        resume=True,
        force=True,
        listen=lambda event, **facts: said.append(facts.get("text") or getattr(facts.get("finding"), "slug", "")),
    )
    assert result.steps == 7
    assert any("resumed at step" in text for text in said)
    assert "resumed-changed" in said
    run = Run(folder / "run")
    (event,) = [e for e in run.records("events.jsonl") if e["event"] == "forced"]
    assert event["differences"] == [{"what": "train.epochs", "then": "3.0", "now": "1.0", "effect": WILL}]
    assert "resumed-changed" in [finding["slug"] for finding in run.read_json("setup.json")["findings"]]
    assert "train.epochs=1" in (run.path / "recipe.given.yaml").read_text()


def test_a_recipe_that_says_what_was_derived_has_not_changed(kept):
    folder, source, code = kept
    rate = json.loads((folder / "run" / "setup.json").read_text())  # the run has come as far as its first step
    assert rate["findings"] is not None
    resolved = folder / "run" / "recipe.yaml"
    assert refusal((folder, str(resolved), code), "train.lr=1e-4") == [f"  train.lr: 0.002 then, 0.0001 now; {WILL}"]
