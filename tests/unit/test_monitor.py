import json

import numpy as np
import pytest
from small_run import make_run, texts

from septet.errors import DataError, ModelError, UsageError
from septet.model.predictor import Predictor
from septet.monitor import monitor
from septet.server.identity import model_hash
from septet.server.log import Record, RequestLog


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("monitor"))


@pytest.fixture
def run(made):
    yield made
    for path in made.glob("requests.sqlite*"):
        path.unlink()
    (made / "monitor.json").unlink(missing_ok=True)


def record(run, bodies, *, keep_text=False, model=None):
    """Log the answers to some texts as the server does."""
    wrote: list[int] = []
    log = RequestLog(
        run / "requests.sqlite", keep_text=keep_text, wrote=wrote.append, dropped=lambda *_: None, tell=lambda _: None
    ).start()
    rows = [{"body": body} for body in bodies]
    for row, prediction in zip(rows, Predictor.load(run).predict(rows, embed=True), strict=True):
        log.put(Record(row, prediction, 0.01, model or model_hash(run / "model")))
    log.close()
    assert sum(wrote) == len(rows)


def test_requests_like_the_validation_rows_are_no_drift(run):
    record(run, texts(400)[:150])
    result = monitor(run)
    assert [f.slug for f in result.findings] == ["no-drift"]
    assert (result.exit_code, result.requests, len(result.tests)) == (0, 150, 3)
    saved = json.loads((run / "monitor.json").read_text())
    assert saved == json.loads(json.dumps(result.to_json()))
    assert saved["false_alarm"] == 0.01


def test_other_requests_are_drift_with_their_examples(run):
    record(run, [" ".join("xyzqjk"[i % 5 :] + "abc" * (i % 4)) for i in range(80)], keep_text=True)
    result = monitor(run)
    slugs = [f.slug for f in result.findings]
    assert "drift-text" in slugs
    assert "drift-length" in slugs
    assert result.exit_code == 3
    text = next(f for f in result.findings if f.slug == "drift-text")
    assert text.evidence["p"] <= text.evidence["threshold"]
    assert text.evidence["effect"]["told_apart"] > 0.8
    assert all(example["text"] for example in text.evidence["examples"])
    assert "drift" in result.text()


def test_texts_that_were_not_logged_are_named_by_hash_only(run):
    record(run, ["x y z q"] * 60)
    examples = next(f for f in monitor(run).findings if f.slug == "drift-text").evidence["examples"]
    assert examples
    assert all("text" not in example and len(example["row_hash"]) == 16 for example in examples)
    assert b"x y z q" not in (run / "requests.sqlite").read_bytes()


def test_too_few_requests_are_an_answer(run):
    record(run, texts(49))
    result = monitor(run)
    assert [f.slug for f in result.findings] == ["not-enough-requests"]
    assert result.exit_code == 0
    assert (run / "monitor.json").is_file()


def test_the_window_is_the_newest_requests(run):
    record(run, ["x y z q"] * 60 + texts(400)[:60])
    assert monitor(run).exit_code == 3
    assert monitor(run, window=60).exit_code == 0
    with pytest.raises(UsageError, match="min_requests"):
        monitor(run, window=10)


def test_requests_of_another_model_are_left_out(run):
    record(run, ["x y z q"] * 60, model="0" * 16)
    record(run, texts(400)[:60])
    result = monitor(run)
    assert (result.requests, result.exit_code) == (60, 0)


def test_a_file_of_texts_is_answered_first(run, tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts(400)[:100]))
    (tmp_path / "b.csv").write_text("body\n" + "x y z q\n" * 100)
    assert monitor(run, log=tmp_path / "a.jsonl").exit_code == 0
    found = monitor(run, log=tmp_path / "b.csv")
    assert (found.exit_code, found.distinct) == (3, 1)


def test_what_cannot_be_read_is_named(run, tmp_path):
    with pytest.raises(UsageError, match="request log"):
        monitor(run)
    (tmp_path / "damaged.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(DataError, match="cannot be read"):
        monitor(run, log=tmp_path / "damaged.sqlite")
    profile = run / "model" / "profile.json"
    kept = profile.read_text()
    try:
        profile.write_text("{}")
        with pytest.raises(ModelError, match="profile"):
            monitor(run)
        profile.unlink()
        with pytest.raises(ModelError, match=r"profile\.json"):
            monitor(run)
    finally:
        profile.write_text(kept)


def test_the_server_is_proven_and_its_requests_can_be_watched(run):
    pytest.importorskip("uvicorn", reason="needs the serve extra")
    from septet.data.store import Prepared
    from septet.run import Run
    from septet.serve import smoke

    rows = Prepared.of(Run.open(run)).rows("validation")[:60]
    too_long = {**rows[0], "body": "word " * 200_000}  # no request can hold it
    facts = smoke(Run.open(run), [*rows, too_long])
    assert (facts["rows"], facts["logged"], facts["labels_different"]) == (60, 60, 0)
    assert facts["max_difference"] <= 1e-4
    result = monitor(run)
    assert (result.requests, result.exit_code) == (60, 0)


def test_embeddings_come_back_as_they_were(run):
    from septet.server.log import read

    bodies = texts(20)
    record(run, bodies)
    wanted = np.stack([p.embedding for p in Predictor.load(run).predict([{"body": b} for b in bodies], embed=True)])
    np.testing.assert_array_equal(read(run / "requests.sqlite").embeddings.astype(np.float16), wanted)
