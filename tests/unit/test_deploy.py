import json
import shutil
from pathlib import Path

import pytest
from small_run import make_run

from septet.deploy import deploy
from septet.errors import CheckError, ModelError, UsageError
from septet.exports import Parity
from septet.exports.hf import Hf
from septet.model.artifact import check_manifest, sha256


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("deploy"))


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run, its prepared data beside it."""
    shutil.copytree(made.parent, tmp_path / "runs")
    return tmp_path / "runs" / "one"


def test_the_hf_folder_answers_as_the_model(run):
    result = deploy(run)
    folder = run / "deploy" / "hf"
    record = json.loads((run / "deploy.json").read_text())["exports"]["hf"]
    assert record["parity"]["rows"] == 80
    assert record["parity"]["max_difference"] <= 1e-4
    assert record["parity"]["labels_different"] == 0
    assert {name: file["sha256"] for name, file in record["files"].items()} == {
        p.name: sha256(p) for p in folder.iterdir()
    }
    check_manifest(folder)
    assert "septet serve hf" in (folder / "README.md").read_text()
    assert "80 rows" in result.text()

    import torch
    from transformers import pipeline

    from septet.model.predictor import Predictor

    answer = pipeline("text-classification", model=str(folder), dtype=torch.float32)("late parcel please")
    wanted = Predictor.load(run).predict(["late parcel please"])[0]
    assert answer[0]["label"] == wanted.value
    assert answer[0]["score"] == pytest.approx(wanted.scores[wanted.value], abs=1e-4)
    assert Predictor.load(folder).predict(["late parcel please"])[0].value == wanted.value


def test_again_and_elsewhere(run, tmp_path):
    deploy(run)
    (run / "deploy" / "hf" / "stale").write_text("x")
    deploy(run)
    assert not (run / "deploy" / "hf" / "stale").exists()
    deploy(run, to=tmp_path / "out")
    assert (tmp_path / "out" / "hf" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "deploy.json").is_file()


def test_a_package_that_answers_differently_is_not_kept(run, monkeypatch):
    write = Hf.write

    def other_weights(self, model: Path, out: Path) -> None:
        from safetensors.torch import load_file, save_file

        write(self, model, out)
        state = load_file(out / "model.safetensors")
        state["classifier.weight"] = -state["classifier.weight"]
        save_file(state, out / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(Hf, "write", other_weights)
    with pytest.raises(CheckError, match="answers differently") as caught:
        deploy(run)
    assert caught.value.exit_code == 3
    assert list((run / "deploy").iterdir()) == []
    assert not (run / "deploy.json").exists()


def test_a_failed_package_leaves_the_old_one(run, monkeypatch):
    deploy(run)
    before = (run / "deploy" / "hf" / "manifest.json").read_bytes()
    monkeypatch.setattr(Hf, "verify", lambda *_: Parity(80, 0.5, 0))
    with pytest.raises(CheckError):
        deploy(run)
    assert (run / "deploy" / "hf" / "manifest.json").read_bytes() == before
    assert [p.name for p in (run / "deploy").iterdir()] == ["hf"]


def test_a_damaged_model_is_refused(run):
    with (run / "model" / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ModelError, match=r"config\.json"):
        deploy(run)
    assert not (run / "deploy").exists()


def test_a_folder_of_someone_else_is_left_alone(run, tmp_path):
    (tmp_path / "models" / "hf").mkdir(parents=True)
    (tmp_path / "models" / "hf" / "mine.txt").write_text("years of work")
    with pytest.raises(UsageError, match="Something else is there"):
        deploy(run, to=tmp_path / "models")
    assert (tmp_path / "models" / "hf" / "mine.txt").read_text() == "years of work"


@pytest.mark.parametrize("text", ['{"format": 1, "files": []}', '{"format": 1, "files": 3}', '{"format": 1'])
def test_a_manifest_that_lists_nothing_is_refused(run, text):
    (run / "model" / "manifest.json").write_text(text)
    with pytest.raises(ModelError):
        deploy(run)


def test_a_damaged_record_of_the_data_is_named(run):
    (run / "data.json").write_text('{"prepared": ')
    with pytest.raises(UsageError, match=r"data.json of the run is damaged"):
        deploy(run)


def test_not_a_run(tmp_path):
    with pytest.raises(UsageError):
        deploy(tmp_path)
