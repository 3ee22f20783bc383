"""What happens around the steps: validations, early stopping, the best checkpoint, and which splits are opened."""

import json
import sys
import weakref
from types import SimpleNamespace

import pytest

import small
from septet import journey
from septet.course import Course, evaluate_every

PLATEAU = [0.5, 0.7, 0.8, 0.8, 0.801, 0.8, 0.9]
DECLINE = [0.5, 0.9, 0.8, 0.7, 0.6, 0.5]


def train(tmp_path, **changes):
    source = small.recipe(tmp_path, metric="accuracy", save_every=None, **changes)
    return journey.train(source, run=tmp_path / "run")


def plant(monkeypatch, values):
    """Let validation give these accuracies, one after the other."""
    left = iter(values)
    monkeypatch.setattr(Course, "score", lambda self: {"loss": 1.0, "accuracy": next(left)})


def test_three_epochs_give_three_evaluations(tmp_path):
    result = train(tmp_path, eval_every="epoch", epochs=3)
    records = result.run.records("evaluations.jsonl")
    assert [r["epoch"] for r in records] == [1.0, 2.0, 3.0]
    assert result.steps == 21


@pytest.mark.parametrize(("every", "steps"), [(10, [10, 20, 21]), (0.5, [4, 8, 12, 16, 20, 21]), (1.0, [7, 14, 21])])
def test_steps_and_shares_of_an_epoch(tmp_path, every, steps):
    result = train(tmp_path, eval_every=every)
    assert [r["step"] for r in result.run.records("evaluations.jsonl")] == steps


def test_an_int_counts_steps_and_a_float_epochs():
    assert [evaluate_every(v, 40) for v in ("epoch", 1, 1.0, 0.25, 2.0)] == [40, 1, 40, 10, 80]


@pytest.mark.parametrize(
    ("planted", "stopping", "evaluations", "best"),
    [
        (PLATEAU, {"patience": 2, "min_delta": 0.01}, 5, 5),
        (PLATEAU, {"patience": 2, "min_delta": 0.0}, 6, 5),
        (DECLINE, {"patience": 3, "min_delta": 0.0}, 5, 2),
        (DECLINE, {"patience": 1, "min_delta": 0.0}, 3, 2),
        (DECLINE, None, 6, 2),
    ],
)
def test_early_stopping_ends_at_the_stated_evaluation(tmp_path, monkeypatch, planted, stopping, evaluations, best):
    plant(monkeypatch, planted)
    result = train(tmp_path, eval_every=4, early_stopping=stopping)
    assert len(result.run.records("evaluations.jsonl")) == evaluations
    assert result.best == {"step": 4 * best, "metric": "accuracy", "value": planted[best - 1], "loss": 1.0}
    assert result.stopped.startswith("early") == (stopping is not None and evaluations < 6)


@pytest.mark.parametrize(
    ("losses", "best"), [([0.6, 0.5, 0.4, 0.45, 0.9, 0.9], 3), ([0.6, 0.7, 0.6, 0.6, 0.1, 0.1], 1)]
)
def test_of_equal_scores_the_lower_loss_is_kept_and_is_no_gain_to_wait_for(tmp_path, monkeypatch, losses, best):
    left = iter(losses)
    monkeypatch.setattr(Course, "score", lambda self: {"loss": next(left), "accuracy": 0.8})
    result = train(tmp_path, eval_every=4, early_stopping={"patience": 3, "min_delta": 0.0})
    assert len(result.run.records("evaluations.jsonl")) == 4
    assert result.best == {"step": 4 * best, "metric": "accuracy", "value": 0.8, "loss": losses[best - 1]}


def test_the_best_weights_become_the_artifact(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    plant(monkeypatch, DECLINE)
    result = train(tmp_path, eval_every=4)
    best = load_file(str(result.run.checkpoints / "best-000008" / "masters.safetensors"))
    last = load_file(str(result.run.checkpoints / "step-000021" / "masters.safetensors"))
    artifact = load_file(str(result.run.model / "model.safetensors"))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert best[name].equal(artifact[name])
    assert not last[name].equal(artifact[name])


def test_max_time_stops_with_an_artifact(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 20))
    monkeypatch.setattr(sys.modules["septet.course"].time, "perf_counter", lambda: float(next(clock)))
    result = train(tmp_path, max_time="1m")
    assert "max_time" in result.stopped
    assert result.steps < 21
    assert (result.run.model / "manifest.json").exists()


_opened: list[str] = []
_watching = False


def _watch(event, arguments):
    if _watching and event == "open" and isinstance(arguments[0], (str, bytes)):
        _opened.append(str(arguments[0]))


def test_training_never_opens_the_test_split(tmp_path):
    global _watching
    source = small.recipe(tmp_path)
    rows = (tmp_path / "validation.jsonl").read_text().replace("please", "kindly")
    (tmp_path / "test.jsonl").write_text(rows.replace('"text": "', '"text": "held out '))
    source["data"]["test"] = str(tmp_path / "test.jsonl")
    journey.prepare(source, run=tmp_path / "first")
    sys.addaudithook(_watch)
    _opened.clear()
    _watching = True
    try:
        journey.train(source, run=tmp_path / "run")
    finally:
        _watching = False
    names = [path.rsplit("/", 1)[-1] for path in _opened]
    assert "train.parquet" in names, "the watch must see what is opened"
    assert "validation.parquet" in names
    assert not [n for n in names if n.startswith("test")]


def test_validation_is_cut_from_train_when_only_train_and_test_are_given(tmp_path):
    source = small.recipe(tmp_path, count=80)
    source["data"] = {"train": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "validation.jsonl")}
    result = journey.train(source, run=tmp_path / "run")
    splits = result.run.read_json("data.json")["splits"]
    ledger = result.run.read_json("data.json")["ledger"]
    assert splits["validation"]["rows"] == 8
    assert ledger["test"]["read"] == 12
    assert ledger["validation"]["received"] == 8


def test_validation_equal_to_test_stops_the_run_unless_allowed(tmp_path):
    from septet.errors import CheckError

    source = small.recipe(tmp_path)
    (tmp_path / "test.jsonl").write_text((tmp_path / "validation.jsonl").read_text())
    source["data"]["test"] = str(tmp_path / "test.jsonl")
    source["data"]["overlap"] = "keep"
    with pytest.raises(CheckError, match="validation-is-test"):
        journey.train(source, run=tmp_path / "run")
    source["data"]["allow"] = ["validation-is-test", "data-leak"]
    assert journey.train(source, run=tmp_path / "again").steps > 0


def test_a_resolved_recipe_gives_the_same_model(tmp_path):
    first = journey.train(small.recipe(tmp_path), run=tmp_path / "run")
    second = journey.train(first.run.path / "recipe.yaml", run=tmp_path / "again")
    digests = [
        json.loads((r.run.model / "manifest.json").read_text())["files"]["model.safetensors"] for r in (first, second)
    ]
    assert digests[0] == digests[1]


def test_the_rows_that_the_server_is_tried_with_are_drawn(monkeypatch):
    """A test file sorted by label must not look like drift: Banking77's first 200 rows hold 5 of its 77 labels."""
    from septet.data.store import Prepared

    rows = [{"text": f"row {i}", "label": str(i // 40)} for i in range(3080)]

    class Sorted:
        tests = ("test",)

        def rows(self, split: str):
            return rows

    monkeypatch.setattr(Prepared, "of", classmethod(lambda cls, run: Sorted()))
    drawn = journey._smoke_rows(None)  # type: ignore[arg-type]
    assert len(drawn) == 200 and len({row["label"] for row in drawn}) > 60
    assert drawn == journey._smoke_rows(None)  # type: ignore[arg-type]


def test_without_validation_the_last_weights_are_kept(tmp_path):
    """The finding no-validation says so; nothing is chosen, nothing is watched, and the run ends well."""
    source = small.recipe(tmp_path)
    source["data"] = {"train": source["data"]["train"], "split": {"validation": 0, "test": 0.2}}
    source["train"] |= {"metric": "accuracy"}
    source["evaluate"] = {"baselines": ["majority"], "bootstrap": 100}
    result = journey.run_all(source, run=tmp_path / "run")
    trained = result.stages["train"]
    assert trained.best == {"step": trained.steps, "metric": "accuracy", "value": None, "loss": None}
    assert "no validation split" in trained.text()
    assert trained.run.records("evaluations.jsonl") == []
    assert "monitor" not in result.stages
    assert (tmp_path / "run" / "report.html").exists()
    assert "there was no validation split" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_checkpoint_every_so_many_seconds_changes_nothing_that_is_learnt(tmp_path, monkeypatch):
    """A clock that goes one second an update: saved at 4, 8, ..., and at the validation; the model's bytes are those of the run that saves at its end only."""
    seconds, saved = [0.0], []
    record, save = Course._record, Course.save
    monkeypatch.setattr("septet.course.time", SimpleNamespace(perf_counter=lambda: seconds[0]))

    def tick(self, step):
        seconds[0] += 1.0
        record(self, step)

    def note(self):
        saved.append(self.state.step)
        save(self)

    monkeypatch.setattr(Course, "_record", tick)
    monkeypatch.setattr(Course, "save", note)
    made = {}
    for every, expected in (("4s", [4, 8, 10, 14]), (None, [10, 14])):
        source = small.recipe(tmp_path, epochs=2, eval_every=10, save_every=every)
        made[every] = journey.train(source, run=tmp_path / f"run-{every}").run
        assert saved == expected
        saved.clear()
    weights = [(run.model / "model.safetensors").read_bytes() for run in made.values()]
    assert weights[0] == weights[1]
    costs = made["4s"].read_json("costs.json")["saving"]
    assert costs["saves"] == 4
    assert costs["bytes"] > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_training_held_is_gone_before_the_artifact_is_made(tmp_path, monkeypatch, precision, method):
    import septet.finish as finishing

    held, left, write, release = [], [], finishing.write_model, Course.release

    def before(course):
        tensors = [*course.optimizer.masters.tensors.values(), *course.optimizer.state().values()]
        tensors += [*course.setup.model.parameters(), *course.checkpoints._masters.values()]
        held.extend(weakref.ref(tensor) for tensor in tensors)
        release(course)

    def after(*given):
        left.extend(ref() for ref in held if ref() is not None)
        write(*given)

    monkeypatch.setattr(Course, "release", before)
    monkeypatch.setattr(finishing, "write_model", after)
    source = small.recipe(tmp_path, precision=precision, max_steps=2)
    run = journey.train({**source, "method": method}, run=tmp_path / "run").run
    assert len(held) > 10 and not left
    assert (run.model / "manifest.json").exists()
