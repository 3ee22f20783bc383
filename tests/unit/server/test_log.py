import sqlite3
import stat
import threading

import numpy as np
import pytest
from fake_model import wait_for

from septet.errors import DataError, UsageError
from septet.server import log as logs
from septet.server.log import Record, RequestLog, read, row_hash
from septet.tasks import Prediction


class Told:
    def __init__(self):
        self.wrote = 0
        self.dropped: dict[str, int] = {}
        self.notes: list[str] = []

    def count(self, number):
        self.wrote += number

    def drop(self, reason, number):
        self.dropped[reason] = self.dropped.get(reason, 0) + number


def record(text="hello", *, embedding=True, model="m"):
    vector = np.arange(4, dtype=np.float16) if embedding else None
    return Record(
        {"text": text, "_row": 1}, Prediction(1, "red", {"red": 0.75, "blue": 0.25}, vector, 7, 2), 0.01, model
    )


def open_log(path, told, **given):
    return RequestLog(path, wrote=told.count, dropped=told.drop, tell=told.notes.append, **given).start()


def test_records_come_back_as_they_were(tmp_path):
    told = Told()
    log = open_log(tmp_path / "new" / "requests.sqlite", told)
    log.put(record("a"))
    log.put(record("b", embedding=False))
    log.close()
    found = read(log.path)
    assert (told.wrote, told.dropped, told.notes) == (2, {}, [])
    assert (found.labels, found.texts, found.models) == (["red", "red"], [None, None], ["m", "m"])
    assert found.tokens.tolist() == [9, 9]
    np.testing.assert_array_equal(found.embeddings[0], [0, 1, 2, 3])
    assert np.isnan(found.embeddings[1]).all()
    assert found.hashes == [row_hash({"text": "a"}), row_hash({"text": "b"})]
    with sqlite3.connect(log.path) as connection:
        row = connection.execute("SELECT score, scores, latency_s, text FROM requests").fetchone()
    assert row == (0.75, '{"red": 0.75, "blue": 0.25}', 0.01, None)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_text_is_kept_only_when_asked_for(tmp_path):
    for keep in (False, True):
        log = open_log(tmp_path / f"{keep}.sqlite", Told(), keep_text=keep)
        log.put(record("my secret"))
        log.put(Record({"a": "x", "b": "y"}, record().prediction, 0.0, "m"))
        log.close()
        assert read(log.path).texts == (["my secret", '{"a": "x", "b": "y"}'] if keep else [None, None])
        assert (b"my secret" in log.path.read_bytes()) == keep


def test_the_newest_rows_of_one_model(tmp_path):
    log = open_log(tmp_path / "a.sqlite", Told(), keep_text=True)
    for i in range(10):
        log.put(record(str(i), model="new" if i % 2 else "old"))
    log.close()
    assert read(log.path, last=2).texts == ["8", "9"]
    assert read(log.path, last=2, model="old").texts == ["6", "8"]


def test_old_rows_are_pruned(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "BATCH", 10)
    log = open_log(tmp_path / "a.sqlite", Told(), keep_text=True, max_rows=30)
    for i in range(200):
        log.put(record(str(i)))
    log.close()
    found = read(log.path).texts
    assert 30 <= len(found) <= 60
    assert found[-1] == "199"


def test_a_full_disk_is_told_once_counted_and_tried_again(tmp_path, monkeypatch):
    full = True
    original = logs._open

    def small(path):
        connection = original(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 1 if full else 10_000}")
        return connection

    monkeypatch.setattr(logs, "_open", small)
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    told = Told()
    log = open_log(tmp_path / "a.sqlite", told, keep_text=True)
    for _ in range(3):
        for _ in range(20):
            log.put(record("x" * 2000))
        assert wait_for(lambda: log._queue.empty())
    assert wait_for(lambda: told.dropped.get("write_failed", 0) == 60)
    assert len(told.notes) == 1
    assert "full" in told.notes[0]
    full = False
    log.put(record("after"))
    log.close()
    assert read(log.path).texts == ["after"]


@pytest.mark.parametrize("kind", ["folder is a file", "file is a folder", "damaged"])
def test_a_place_that_cannot_be_written_is_told_once(tmp_path, kind):
    path = tmp_path / "a" / "requests.sqlite"
    if kind == "folder is a file":
        path.parent.write_text("")
    elif kind == "file is a folder":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.write_bytes(b"not a database" * 1000)
    told = Told()
    log = open_log(path, told)
    log.put(record())
    log.close()
    assert (told.wrote, told.dropped, len(told.notes)) == (0, {"write_failed": 1}, 1)


def test_put_never_waits(tmp_path, monkeypatch):
    gate = threading.Event()
    original = logs._open
    monkeypatch.setattr(logs, "_open", lambda path: (gate.wait(10), original(path))[1])
    monkeypatch.setattr(logs, "QUEUE", 50)
    told = Told()
    log = open_log(tmp_path / "a.sqlite", told)
    for _ in range(1000):
        log.put(record())
    assert told.dropped["queue_full"] >= 1000 - 50 - logs.BATCH
    gate.set()
    log.close()
    assert told.wrote + told.dropped["queue_full"] == 1000


def test_two_writers_share_a_log(tmp_path):
    both = [open_log(tmp_path / "a.sqlite", Told()) for _ in range(2)]
    for i in range(300):
        both[i % 2].put(record(str(i)))
    for log in both:
        log.close()
    assert len(read(tmp_path / "a.sqlite")) == 300


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(UsageError):
        read(tmp_path / "none.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE other (a)")
    with pytest.raises(DataError):
        read(tmp_path / "other.sqlite")


def test_serving_goes_on_when_the_log_cannot_be_written(serving, tmp_path):
    (tmp_path / "model.requests.sqlite").mkdir()
    with serving() as (_, client):
        for i in range(3):
            assert client.post(f"text {i}")[0] == 200
        assert wait_for(lambda: client.metric("septet_log_records_dropped_total") == 3)
        assert sum("not logged" in note for note in client.notes) == 1


def test_a_server_without_log_asks_for_no_embeddings(serving, tmp_path, predictor):
    seen = []
    original = predictor.predict
    predictor.predict = lambda rows, *, embed=False: (seen.append(embed), original(rows, embed=embed))[1]
    with serving(log=False) as (_, client):
        assert client.post("text")[0] == 200
    assert seen == [True, False]
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_log_keeps_texts_as_the_model_may_keep_them(serving, tmp_path):
    with serving(log_text=True) as (_, client):
        assert client.post("I am a@b.example.com")[0] == 200
    assert read(tmp_path / "model.requests.sqlite").texts == ["I am <EMAIL>"]
