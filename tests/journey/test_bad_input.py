"""Bad input through the command line: one clear message, the right exit code, no traceback, and nothing lost."""

import io
import json
import shutil
from dataclasses import dataclass

import pytest
import yaml

import small
from septet.cli import main

CSV = "text,label\n" + "".join(
    f"{word} {i},{label}\n" for i in range(12) for word, label in (("invoice", "money"), ("parcel", "post"))
)


@pytest.fixture
def case(tmp_path):
    """A folder with a good recipe; a test spoils one thing and runs it."""
    source = small.recipe(tmp_path)
    (tmp_path / "data.csv").write_text(CSV)
    source["data"] = {"train": "data.csv"}
    source["train"]["max_steps"] = 2
    return Case(tmp_path, source)


class Case:
    def __init__(self, folder, source):
        self.folder = folder
        self.source = source
        self.run_folder = folder / "run"

    def run(self, *more, verb="train"):
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump(self.source))
        arguments = [verb, str(self.folder / "recipe.yaml"), "--run", str(self.run_folder), *more]
        return call(*arguments)


@dataclass
class Result:
    exit_code: int
    stdout: str
    stderr: str


def call(*arguments):
    """Run the command line in this process, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        main([str(a) for a in arguments])
    result = Result(ended.value.code or 0, out.getvalue(), err.getvalue())
    assert "Traceback" not in result.stdout + result.stderr
    assert "Defect" not in result.stderr, result.stderr
    return result


def refused(result, code, *parts):
    assert result.exit_code == code, (result.exit_code, result.stderr)
    for part in parts:
        assert part in result.stderr, result.stderr


def test_the_good_case_runs(case):
    assert case.run().exit_code == 0


def test_a_batch_above_the_rows_is_told_and_what_is_shown_is_what_was_seen(case):
    case.source["train"]["batch"] = 500
    result = case.run()
    assert result.exit_code == 0
    rows = json.loads((case.run_folder / "data.json").read_text())["splits"]["train"]["rows"]
    assert f"train.batch is 500, and an epoch has {rows} rows: every update sees all {rows}" in result.stderr
    steps = [json.loads(line) for line in (case.run_folder / "steps.jsonl").read_text().splitlines()]
    assert [step["rows"] for step in steps] == [rows, rows]
    assert f"in 2 planned updates of {rows} rows" in (case.run_folder / "model" / "README.md").read_text()


def test_a_derived_batch_is_at_most_the_rows(case):
    del case.source["train"]["batch"]
    (case.folder / "data.csv").write_text("\n".join(CSV.split("\n")[:13]) + "\n")
    result = case.run()
    assert result.exit_code == 0 and "batch-above-rows" not in result.stderr
    rows = json.loads((case.run_folder / "data.json").read_text())["splits"]["train"]["rows"]
    assert (
        rows < 16
        and f"batch: {rows}  # why: {rows} training rows: 1 update an epoch"
        in (case.run_folder / "recipe.yaml").read_text()
    )


def test_missing_file(case):
    case.source["data"]["train"] = "dta.csv"
    refused(case.run(), 2, "dta.csv", "data.csv")


def test_empty_file(case):
    (case.folder / "data.csv").write_text("")
    refused(case.run(), 3, "data.csv", "empty")


def test_wrong_column(case):
    case.source["task"]["text"] = "txt"
    refused(case.run(), 2, "txt", "text")


def test_label_column_of_one_value(case):
    (case.folder / "data.csv").write_text(CSV.replace(",money", ",post"))
    refused(case.run(), 3, "label", "post")


def test_unknown_recipe_key(case):
    case.source["train"]["lrr"] = 1e-4
    refused(case.run(), 2, "lrr", "recipe.yaml line", "lr")


def test_wrong_type(case):
    case.source["task"]["label_smoothing"] = "a little"
    case.source["train"]["lr"] = "0.0001"  # the dumper quotes it: text
    refused(case.run(), 2, "train.lr", '"0.0001"', "task.label_smoothing", "recipe.yaml line")


def test_several_problems_are_told_at_once(case):
    case.source["train"].update(lr=-1.0, batch=0)
    case.source["data"]["split"] = {"validation": 0.6, "test": 0.6}
    refused(case.run(), 2, "train.lr", "train.batch", "data.split")


def test_foreign_key(case):
    case.source["train"]["num_train_epochs"] = 3
    refused(case.run(), 2, "num_train_epochs", "train.epochs")


def test_unreadable_encoding(case):
    (case.folder / "data.csv").write_bytes(CSV.encode() + "caf\xe9,post\n".encode("latin-1"))
    refused(case.run(), 3, "data.csv", "utf-8", 'cp1252 reads "café,post"')


def test_broken_csv_row(case):
    (case.folder / "data.csv").write_text(CSV + "too,many,fields\n")
    refused(case.run(), 3, "data.csv", "line 26", "3")


def test_nan_label(case):
    rows = [json.dumps({"text": f"row {i}", "label": "ab"[i % 2]}) for i in range(20)] + [
        '{"text": "odd", "label": NaN}'
    ]
    (case.folder / "data.jsonl").write_text("\n".join(rows) + "\n")
    case.source["data"]["train"] = "data.jsonl"
    refused(case.run(), 3, "data.jsonl", "21")


def test_unknown_label_in_the_test_split(case):
    (case.folder / "test.csv").write_text("text,label\nwhere is it,post\nnew thing,garden\n")
    case.source["data"]["test"] = "test.csv"
    refused(case.run(), 3, "garden")


def test_model_folder_without_weights(case):
    bare = case.folder / "bare"
    shutil.copytree(case.source["model"]["name"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    case.source["model"]["name"] = str(bare)
    refused(case.run(), 3, "no weights", "bare")


@pytest.mark.parametrize(
    ("name", "word"), [("pytorch_model.bin", "pickle"), ("tf_model.h5", "TensorFlow"), ("flax_model.msgpack", "Flax")]
)
def test_weights_in_another_form_only(case, name, word):
    folder = case.folder / "other"
    shutil.copytree(case.source["model"]["name"], folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / name).write_bytes(b"\x80\x04.")
    case.source["model"]["name"] = str(folder)
    refused(case.run(), 3, word, name, "save_pretrained")


def test_no_such_model(case):
    case.source["model"]["name"] = "./nowhere"
    refused(case.run(), 2, "nowhere", "starter")


def test_config_that_asks_for_code(case):
    folder = case.folder / "coded"
    shutil.copytree(case.source["model"]["name"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.py"}}))
    case.source["model"]["name"] = str(folder)
    refused(case.run(), 3, "auto_map", "config.json")


def test_read_only_output(case, monkeypatch):
    import pathlib

    real = pathlib.Path.mkdir

    def mkdir(self, *a, **k):
        if self.name == "run":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *a, **k)

    monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
    refused(case.run(), 1, "permission", "--run DIR")


def test_full_disk_keeps_the_last_checkpoint(case, monkeypatch):
    import septet.engine.state as states
    from septet import durable

    real = durable.write_file
    calls = []

    def save(path, content):
        calls.append(path)
        if path.name == "optimizer.safetensors" and "step-000006" in str(path):
            raise OSError(28, "No space left on device", str(path))
        return real(path, content)

    case.source["train"].update(max_steps=12, save_every=2, eval_every=12)
    monkeypatch.setattr(durable, "write_file", save)
    refused(case.run(), 1, "disk is full", "needed", "free")
    assert states.load_latest(case.run_folder / "checkpoints").state.step == 4
    assert json.loads((case.run_folder / "FAILED.json").read_text())["error"]
    monkeypatch.undo()
    assert case.run("--resume").exit_code == 0


def test_two_runs_in_one_folder(case):
    assert case.run().exit_code == 0
    refused(case.run(), 2, "finished run", "--run DIR")


def test_an_unfinished_run_is_not_overwritten(case):
    assert case.run().exit_code == 0
    (case.run_folder / "DONE").unlink()
    refused(case.run(), 2, "unfinished", "--resume")


def test_a_locked_run_is_refused(case):
    from septet.run import Run

    assert case.run(verb="prepare").exit_code == 0
    with Run(case.run_folder).locked():
        refused(case.run(), 2, "Another process")


def test_resuming_with_another_recipe(case):
    case.source["train"]["max_steps"] = 4
    assert case.run().exit_code == 0
    (case.run_folder / "DONE").unlink()
    case.source["train"]["lr"] = 1e-5
    refused(case.run("--resume"), 2, "train.lr: 0.002 then, 1e-05 now", "--force")


def test_half_precision_on_a_cpu(case):
    case.source["train"]["precision"] = "fp16"
    case.source["train"].pop("device", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        refused(case.run(), 2, "train.precision cannot be fp16", "train.precision=auto")
    assert not (case.run_folder / "steps.jsonl").exists()


@pytest.mark.parametrize(
    ("key", "name", "says"),
    [
        ("train.metric=chrf", "accuracy", "train.metric asks for chrf, a metric of texts"),
        ("evaluate.metrics=[chrf]", "accuracy", "evaluate.metrics asks for chrf, a metric of texts"),
        ("train.metric=acuracy", "accuracy", "train.metric names 'acuracy', which is no metric"),
    ],
)
def test_a_metric_that_cannot_be_computed_is_told_before_the_first_update(case, key, name, says):
    refused(case.run(key), 2, says, name)
    assert not (case.run_folder / "steps.jsonl").exists()


def test_a_flipped_bit_in_the_artifact(case):
    assert case.run().exit_code == 0
    path = case.run_folder / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    refused(call("predict", case.run_folder, case.folder / "data.csv"), 3, "model.safetensors", "sha256")


def test_layers_beyond_the_model(case):
    case.source["method"] = {"name": "layers", "count": 50}
    refused(case.run(), 3, "layers-too-many", "method.count=2")


def test_json_errors_are_json(case):
    case.source["data"]["train"] = "dta.csv"
    result = case.run("--json")
    assert result.exit_code == 2
    assert "dta.csv" in json.loads(result.stdout)["error"]["message"] + str(json.loads(result.stdout)["error"])
