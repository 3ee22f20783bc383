"""Malformed requests: each gets a 4xx in the one JSON form, or a closed connection, and the server stays healthy."""

import json
import struct

import pytest

POST = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"


def body(content: bytes, head: bytes = JSON) -> bytes:
    return POST + head + b"Content-Length: %d\r\n\r\n" % len(content) + content


BODIES = {
    "empty": (b"", "empty_body"),
    "blank": (b" \n\t ", "empty_body"),
    "open brace": (b"{", "not_json"),
    "null": (b"null", "invalid_body"),
    "true": (b"true", "invalid_body"),
    "number": (b"12", "invalid_body"),
    "bare array": (b'["a"]', "invalid_body"),
    "two values": (b'"a" "b"', "not_json"),
    "trailing comma": (b'{"inputs": ["a",]}', "not_json"),
    "single quotes": (b"{'inputs': ['a']}", "not_json"),
    "comment": (b'/* */{"inputs": ["a"]}', "not_json"),
    "control character": (b'"a\x01b"', "not_json"),
    "NaN": (b'{"inputs": ["a"], "x": NaN}', "not_a_number"),
    "Infinity": (b'{"inputs": [Infinity]}', "not_a_number"),
    "minus Infinity": (b'{"inputs": [-Infinity]}', "not_a_number"),
    "1e999": (b'{"inputs": [1e999]}', "not_a_number"),
    "5000 digits": (b'{"inputs": [' + b"9" * 5000 + b"]}", "not_a_number"),
    "duplicate key": (b'{"inputs": ["a"], "inputs": ["b"]}', "duplicate_key"),
    "duplicate key inside": (b'{"inputs": [{"text": "a", "text": "b"}]}', "duplicate_key"),
    "extra field": (b'{"inputs": ["a"], "top_k": 3}', "unknown_field"),
    "empty list": (b'{"inputs": []}', "no_inputs"),
    "empty object": (b"{}", "invalid_input"),
    "null input": (b'{"inputs": [null]}', "invalid_input"),
    "number input": (b'{"inputs": ["a", 3]}', "invalid_input"),
    "bool input": (b'{"inputs": [true]}', "invalid_input"),
    "list input": (b'{"inputs": [["a"]]}', "invalid_input"),
    "wrong column": (b'{"inputs": [{"txt": "a"}]}', "invalid_input"),
    "column of a wrong type": (b'{"inputs": [{"text": 1}]}', "invalid_input"),
    "column null": (b'{"inputs": [{"text": null}]}', "invalid_input"),
    "lone surrogate": (b'"\\ud800"', "lone_surrogate"),
    "lone surrogate in a key": (b'{"\\uDC00": 1, "text": "a"}', "lone_surrogate"),
    "latin-1": ('"é"'.encode("latin-1"), "not_utf8"),
    "utf-16": ('"a"'.encode("utf-16"), "not_utf8"),
    "byte order mark": (b'\xef\xbb\xbf"a"', "not_json"),
    "random bytes": (bytes(range(128, 256)), "not_utf8"),
    "21 levels": (b"[" * 21 + b"]" * 21, "too_deep"),
    "100000 levels": (b"[" * 100_000, "too_deep"),
    "100000 objects": (b'{"a":' * 100_000, "too_deep"),
    "deep in an input": (b'{"inputs": [' + b'{"text":' * 30 + b'"a"' + b"}" * 30 + b"]}", "too_deep"),
    "too many inputs": (json.dumps({"inputs": ["a"] * 257}).encode(), "too_many_inputs"),
    "half a million lists": (b'{"inputs": [' + b"[]," * 300_000 + b"[]]}", "too_many_inputs"),
    "body over the limit": (b'"' + b"a" * 1_000_001 + b'"', "body_too_large"),
    "body of 12 MB": (b'"' + b"a" * 12_000_000 + b'"', "body_too_large"),
}

REQUESTS = {
    "no content type": (body(b'"a"', b""), 415),
    "text/plain": (body(b'"a"', b"Content-Type: text/plain\r\n"), 415),
    "pickle": (body(b"\x80\x04K\x01.", b"Content-Type: application/vnd.bentoml+pickle\r\n"), 415),
    "two content types": (body(b'"a"', JSON + JSON), 415),
    "latin-1 charset": (body(b'"a"', b"Content-Type: application/json; charset=latin-1\r\n"), 415),
    "gzip body": (body(b"\x1f\x8b\x08", JSON + b"Content-Encoding: gzip\r\n"), 415),
    "length and chunks": (POST + JSON + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "negative length": (POST + JSON + b"Content-Length: -1\r\n\r\n", 400),
    "length of letters": (POST + JSON + b"Content-Length: abc\r\n\r\n", 400),
    "two lengths": (POST + JSON + b'Content-Length: 3\r\nContent-Length: 4\r\n\r\n"a"', 400),
    "length of 40 digits": (POST + JSON + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", (400, 413)),
    "length of 2 GB": (POST + JSON + b"Content-Length: 2000000000\r\n\r\n", 413),
    "length shorter than the body": (
        POST.replace(b"Connection: close\r\n", b"") + JSON + b'Content-Length: 3\r\n\r\n"abcdefgh"',
        400,
    ),
    "length longer than the body": (POST + JSON + b'Content-Length: 30\r\n\r\n"a"', 0),
    "chunks over the limit": (
        POST
        + JSON
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"10000\r\n"
        + b" " * 65536
        + b"\r\n" * 1
        + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20,
        413,
    ),
    "broken chunk": (POST + JSON + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", 400),
    "unknown transfer encoding": (POST + JSON + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
    "unknown path": (b"GET /admin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "path with dots": (b"GET /health/../metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "double slash": (b"POST //v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "NUL in the path": (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    "GET on predict": (b"GET /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "OPTIONS on predict": (b"OPTIONS /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "DELETE on health": (b"DELETE /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "TRACE": (b"TRACE /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "no host": (b"GET /health/live HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
    "not HTTP": (b"hello\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 505)),
    "websocket": (
        b"GET /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n",
        405,
    ),
    "header of 70 KB": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "1000 headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long-Name: some value\r\n" * 1000 + b"\r\n", 431),
    "folded header": (b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: a\r\n b\r\n\r\n", 404),
    "NUL in a header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400),
    "path of 60 KB": (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "expect something else": (POST + JSON + b"Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n", (400, 417)),
    "hangs up at once": (b"", 0),
}


def check(client, answer, wanted):
    status, headers, content = answer
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    content = content[
        : int(headers.get("content-length", 0))
    ]  # a body's surplus is a second request with its own answer
    assert status in wanted, (status, content[:300])
    if status and content:
        assert headers["content-type"] == "application/json"
        assert set(json.loads(content)["error"]) == {"code", "message", "param"}
    assert b"Traceback" not in content
    assert client.get("/health/ready")[0] == 200


@pytest.fixture(scope="module")
def abused(tmp_path_factory):
    """One server takes the whole corpus."""
    import fake_model

    from septet.serve import Server
    from septet.server.service import Model
    from septet.server.settings import Settings

    folder = tmp_path_factory.mktemp("abuse") / "model"
    folder.mkdir()
    (folder / "task.json").write_text("{}")
    model = Model(fake_model.FakePredictor(), "fake", "0" * 16)
    notes = []
    settings = Settings(port=0, header_timeout_s=1, body_timeout_s=5)
    with Server(folder, settings=settings, load=lambda: model, listen=lambda e, **f: notes.append(f)) as server:
        yield fake_model.Client(server.port)
    assert notes == []


@pytest.mark.parametrize("name", BODIES)
def test_bodies(abused, name):
    content, code = BODIES[name]
    status, headers, answer = abused.post(content)
    assert 400 <= status < 500
    assert answer["error"]["code"] == code
    assert headers["content-type"] == "application/json"
    assert abused.get("/health/ready")[0] == 200


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(abused, name):
    content, wanted = REQUESTS[name]
    check(abused, abused.raw(content, shut=name.startswith(("length longer", "hangs"))), wanted)


def test_reset_in_the_middle(abused):
    import socket

    for content in (POST, POST + JSON + b"Content-Length: 100\r\n\r\n{", body(b'"a"')):
        with abused.connect() as connection:
            connection.sendall(content)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert abused.get("/health/ready")[0] == 200


def test_refusals_do_not_repeat_what_was_sent(abused):
    for value in ({"inputs": [{"canary": "canary"}]}, {"inputs": [["canary"]]}, {"canary": 1, "inputs": ["canary"]}):
        assert "canary" not in json.dumps(abused.post(value)[2])
    assert b"canary" not in abused.get("/canary")[2]
    assert b"canary" not in abused.get("/metrics")[2]


def test_odd_but_valid_requests_are_answered(abused):
    for content in (b'"\\u0000"', b'""', '"😀 ﷽ \u202e"'.encode(), b' {"inputs":["\\ud83d\\ude00"]} '):
        assert abused.post(content)[0] == 200
    deep = {"text": "a", "more": {}}
    assert abused.post(deep)[0] == 200
    expecting = POST + JSON + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n" + b'"a"'
    assert abused.raw(expecting)[0] in (100, 200)
    chunked = POST + JSON + b'Transfer-Encoding: chunked\r\n\r\n3\r\n"a"\r\n0\r\n\r\n'
    assert abused.raw(chunked)[0] == 200
    assert abused.request("HEAD", "/health/live")[0] == 200
