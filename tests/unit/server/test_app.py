import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_model import Client, FakePredictor, read_answer, wait_for

from septet.errors import MissingExtraError, ModelError, UsageError
from septet.serve import Server
from septet.server.log import read
from septet.server.service import Model
from septet.server.settings import Settings, is_loopback
from septet.tasks import Prediction


def test_answers_texts_objects_and_single_items(serving):
    with serving() as (_, client):
        status, headers, many = client.post({"inputs": ["one", {"text": "two"}]})
        assert (status, headers["content-type"]) == (200, "application/json")
        assert many["model"] == {"name": "fake", "sha256": "0123456789abcdef"}
        assert [p["scores"]["red"] for p in many["predictions"]] == pytest.approx(
            [FakePredictor.score("one"), FakePredictor.score("two")]
        )
        assert many["predictions"][0]["score"] == max(many["predictions"][0]["scores"].values())
        for single in ("one", {"text": "one"}, {"inputs": "one"}, {"inputs": {"text": "one"}}):
            assert client.post(single)[2]["predictions"] == many["predictions"][:1]


def test_health_and_metrics(serving):
    with serving() as (_, client):
        assert json.loads(client.get("/health/live")[2]) == {"status": "live"}
        assert json.loads(client.get("/health/ready")[2]) == {"status": "ready"}
        client.post({"inputs": ["one two", "three"]})
        assert client.metric("septet_predictions_total") == 2
        assert client.metric("septet_input_tokens_total") == 3
        assert client.metric("septet_ready") == 1
        for _ in range(20):
            client.request("BREW", f"/{_}")
        text = client.get("/metrics")[2].decode()
        assert 'method="other",path="other",status="404"' in text
        assert "BREW" not in text
        assert len([line for line in text.splitlines() if not line.startswith("#")]) < 200


def test_not_ready_until_the_model_answers(tmp_path, predictor):
    (tmp_path / "task.json").write_text("{}")
    seen = {}

    def load():
        client = Client(server.port)
        seen.update(live=client.get("/health/live"), ready=client.get("/health/ready"), post=client.post("x"))
        return Model(predictor, "fake", "0" * 16)

    server = Server(tmp_path, settings=Settings(port=0, log=False), load=load)
    with server:
        assert Client(server.port).get("/health/ready")[0] == 200
    assert seen["live"][0] == 200
    assert seen["ready"][0] == 503
    assert json.loads(seen["ready"][2])["error"]["code"] == "not_ready"
    assert (seen["post"][0], seen["post"][1]["retry-after"]) == (503, "1")


def test_a_model_that_does_not_load_ends_the_server_with_its_error(serving):
    def load():
        raise ModelError("The file model.safetensors is not the one that was saved.")

    with pytest.raises(ModelError, match="not the one that was saved"), serving(load=load):
        pass


def test_sixteen_clients_get_their_own_answers(serving, predictor):
    texts = [f"text number {i}" for i in range(320)]

    with serving(max_wait_ms=5) as (_, client), ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: client.post({"inputs": [text]}), texts))
        for text, (status, _, body) in zip(texts, answers, strict=True):
            assert status == 200
            assert body["predictions"][0]["scores"]["red"] == pytest.approx(FakePredictor.score(text))
    assert len(predictor.threads) == 1
    assert max(predictor.batches) > 1


def test_a_failing_input_fails_alone(serving, predictor):
    with serving() as (_, client), ThreadPoolExecutor(8) as pool:
        texts = ["fine 1", "boom", "fine 2", "fine 3"]
        first = pool.submit(client.post, {"inputs": ["slow"]})
        assert predictor.entered.wait(10)
        waiting = {text: pool.submit(client.post, {"inputs": [text]}) for text in texts}
        assert wait_for(lambda: client.metric("septet_queue_inputs") == 4)
        predictor.release.set()
        answers = {text: future.result() for text, future in waiting.items()}
        assert first.result()[0] == 200
        assert predictor.batches[-5:] == [4, 1, 1, 1, 1]
        assert [answers[t][0] for t in texts] == [200, 500, 200, 200]
        error = answers["boom"][2]["error"]
        assert error == {
            "code": "prediction_failed",
            "message": "The model failed on this input.",
            "param": "inputs[0]",
        }
        assert client.metric("septet_prediction_failures_total") == 1
        assert any("ValueError" in note for note in client.notes)
        assert not any("SECRET" in note for note in client.notes)
        assert client.post("nan")[0] == 500


def test_a_lone_client_waits_for_nobody_and_a_crowd_for_each_other(serving, predictor):
    with serving(max_wait_ms=2000) as (_, client), ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        assert client.post("alone")[0] == 200
        assert time.monotonic() - started < 1.9
        first = pool.submit(client.post, {"inputs": ["slow"]})
        assert predictor.entered.wait(10)
        crowd = [pool.submit(client.post, {"inputs": [f"a {i}"]}) for i in range(6)]
        assert wait_for(lambda: client.metric("septet_queue_inputs") == 6)
        predictor.release.set()
        assert [f.result()[0] for f in [first, *crowd]] == [200] * 7
        assert [f.result()[0] for f in [pool.submit(client.post, f"b {i}") for i in range(6)]] == [200] * 6
        assert predictor.batches[-2:] == [6, 6]


def test_a_full_queue_refuses_at_once(serving, predictor):
    with serving(queue=3, max_batch=1) as (_, client), ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.post, {"inputs": ["slow"]})
        assert predictor.entered.wait(10)
        waiting = [pool.submit(client.post, {"inputs": [f"w{i}"]}) for i in range(3)]
        assert wait_for(lambda: client.metric("septet_queue_inputs") == 3)
        status, headers, body = client.post({"inputs": ["one too many"]})
        assert (status, headers["retry-after"], body["error"]["code"]) == (429, "1", "queue_full")
        predictor.release.set()
        assert [f.result()[0] for f in [first, *waiting]] == [200] * 4
        assert client.post({"inputs": ["1", "2", "3", "4"]})[2]["error"]["code"] == "too_many_inputs"


def test_clients_that_left_are_dropped(serving, predictor):
    with serving(max_batch=1) as (_, client), ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, {"inputs": ["slow"]})
        assert predictor.entered.wait(10)
        body = b'{"inputs": ["gone"]}'
        head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with client.connect() as connection:
            connection.sendall(head.encode() + body)
            assert wait_for(lambda: client.metric("septet_queue_inputs") == 1)
        assert wait_for(lambda: 'status="499"' in client.get("/metrics")[2].decode())
        predictor.release.set()
        assert first.result()[0] == 200
        assert wait_for(lambda: client.metric("septet_inputs_dropped_total") == 1)
        assert client.metric("septet_predictions_total") == 1


def test_an_answer_that_takes_too_long_is_given_up(serving, predictor):
    with serving(request_timeout_s=0.2) as (_, client):
        status, _, body = client.post("slow")
        assert (status, body["error"]["code"]) == (504, "deadline")
        predictor.release.set()
        assert client.post("fine")[0] == 200


def test_keep_alive_serves_many_requests(serving):
    import http.client

    with serving() as (server, _):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for i in range(5):
            connection.request("POST", "/v1/predict", json.dumps(f"t{i}"), {"Content-Type": "application/json"})
            assert connection.getresponse().read()
        sock = connection.sock
        connection.request("GET", "/health/live")
        assert connection.getresponse().read()
        assert connection.sock is sock
        connection.close()


def test_a_token_guards_everything_but_health(serving):
    with serving(token="sésame") as (_, client):
        assert client.get("/health/live")[0] == 200
        assert client.get("/health/ready")[0] == 200
        for path in ("/metrics", "/v1/predict", "/nowhere", "//metrics", "/metrics/", "/health/live/../metrics"):
            status, headers, body = client.get(path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(body)["error"]["code"] == "unauthorized"
        for wrong in ("Bearer", "Bearer wrong", "Basic sésame", "sésame"):
            assert client.request("GET", "/metrics", Authorization=wrong)[0] == 401
        assert client.request("GET", "/metrics?token=sésame".replace("é", "%C3%A9"))[0] == 401
        right = client.request("GET", "/metrics", Authorization="Bearer sésame")
        assert right[0] == 200


def test_without_a_token_only_this_machine_is_served():
    with pytest.raises(UsageError, match="SEPTET_TOKEN"):
        Settings(host="0.0.0.0").check()
    assert Settings(host="0.0.0.0", token="x").check()
    assert [is_loopback(h) for h in ("localhost", "127.0.0.9", "::1", "[::1]")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "10.0.0.1", "::", "example.com", "127.0.0.1.evil.com")] == [False] * 5


def test_a_host_header_of_another_name_is_refused(serving):
    with serving() as (server, client):
        raw = b"GET /metrics HTTP/1.1\r\nHost: evil.example:%d\r\nConnection: close\r\n\r\n" % server.port
        assert client.raw(raw)[0] == 421
        assert client.raw(raw.replace(b"evil.example", b"localhost"))[0] == 200


def test_a_taken_port_is_named(serving, tmp_path):
    with serving() as (server, _), pytest.raises(UsageError, match=str(server.port)):
        Server(tmp_path / "model", settings=Settings(port=server.port), load=lambda: None)


def test_slow_clients_are_ended_and_others_served(serving):
    with serving(header_timeout_s=0.3, body_timeout_s=0.3) as (_, client):
        with client.connect() as silent, client.connect() as head, client.connect() as body:
            head.sendall(b"GET /health/live HTTP/1.1\r\nHost:")
            body.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            assert client.post("fine")[0] == 200
            assert read_answer(silent)[0] == 408
            assert json.loads(read_answer(head)[2])["error"]["code"] == "head_timeout"
            assert json.loads(read_answer(body)[2])["error"]["code"] == "body_timeout"
        assert client.post("fine")[0] == 200


def test_a_client_that_does_not_read_its_answer_is_dropped(serving, predictor):
    wide = {f"label {i}": 1e-6 for i in range(3000)}
    predictor._one = lambda text, embed: Prediction(0, "label 0", wide, None, 1)
    body = json.dumps({"inputs": ["a"] * 200}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(write_timeout_s=0.3, log=False) as (server, client), socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(head.encode() + body)
        answered = 'status="200"'
        assert wait_for(lambda: f'path="/v1/predict",{answered}' in client.get("/metrics")[2].decode(), 30)
        assert client.metric("septet_http_requests_in_flight") == 1  # this very question


def test_connections_are_capped(serving):
    with serving(max_connections=3) as (_, client):
        held = [client.connect() for _ in range(3)]
        sockets = [h.__enter__() for h in held]
        assert wait_for(lambda: client.get("/health/live")[0] == 503)
        for h in held:
            h.__exit__(None, None, None)
        assert len(sockets) == 3
        assert wait_for(lambda: client.get("/health/live")[0] == 200)


SCRIPT = """
import sys
sys.path[:0] = [{here!r}]
from fake_model import FakePredictor
from septet.serve import Server
from septet.server.service import Model
from septet.server.settings import Settings
fake = FakePredictor()
import threading
class Slow(FakePredictor):
    def predict(self, rows, **_):
        import time
        if any("slow" in r["text"] for r in rows):
            print("busy", flush=True)
            time.sleep(1.0)
        return super().predict([dict(r, text=r["text"].replace("slow", "done")) for r in rows], embed=True)
model = Model(Slow(), "fake", "0" * 16)
Server({folder!r}, settings=Settings(port=0), load=lambda: model, ready=lambda url: print(url, flush=True)).run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_answers_what_is_under_way_and_exits_0(tmp_path, number):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "task.json").write_text("{}")
    script = SCRIPT.format(here=str(Path(__file__).parent), folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    client = Client(port)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, {"inputs": ["slow"]})
        assert process.stdout.readline() == "busy\n"
        process.send_signal(number)
        assert answer.result()[0] == 200
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "ended\n", "")
    assert len(read(tmp_path / "model.requests.sqlite")) == 1


def test_ending_takes_no_longer_than_the_requests_under_way(serving):
    started = time.monotonic()
    with serving() as (_, client), client.connect() as idle:
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("package", ["uvicorn", "starlette", "prometheus_client"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    for name in [n for n in sys.modules if n.startswith(("septet.server", package))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"septet\[serve\]"):
        Server(tmp_path, settings=Settings(port=0), load=lambda: None)
