"""A small predictor that answers by the text alone, and a real server in a thread around it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np

from septet.errors import DataError
from septet.tasks import Prediction


class FakePredictor:
    """Two labels; the score of a text is a function of the text. `boom` raises, `slow` waits for `release`."""

    def __init__(self):
        self.task = SimpleNamespace(labels=["red", "blue"], texts=["text"])
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.release = threading.Event()
        self.entered = threading.Event()

    def parse(self, value, where="input"):
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, dict):
            raise DataError("An input is an object with text.", where=where, received=value)
        if "text" not in value:
            raise DataError("The field 'text' is missing.", where=where, received=sorted(value))
        if not isinstance(value["text"], str):
            raise DataError("A text was expected.", where=f"{where}.text", received=value["text"])
        return {"text": value["text"]}

    def kept(self, row):
        return {"text": row["text"].replace("a@b.example.com", "<EMAIL>")}

    @staticmethod
    def score(text: str) -> float:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32

    def predict(self, rows, *, embed=False, listen=None):
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(rows))
        texts = [row["text"] for row in rows]
        if any("boom" in text for text in texts):
            raise ValueError(f"cannot read SECRET in {texts}")
        if any("slow" in text for text in texts):
            self.entered.set()
            assert self.release.wait(10)
        return [self._one(text, embed) for text in texts]

    def _one(self, text, embed):
        red = self.score(text)
        scores = {"red": red, "blue": 1 - red}
        if "nan" in text:
            scores = {"red": float("nan"), "blue": float("nan")}
        vector = np.full(4, red, np.float16) if embed else None
        return Prediction(0, max(scores, key=scores.__getitem__), scores, vector, tokens=len(text.split()))


class Client:
    """Raw bytes to a server, and its answer as (status, headers, body)."""

    def __init__(self, port: int):
        self.port = port

    @contextlib.contextmanager
    def connect(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            yield connection

    def raw(self, content: bytes, *, shut: bool = False) -> tuple[int, dict[str, str], bytes]:
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(content)
                if shut:
                    connection.shutdown(socket.SHUT_WR)
            return read_answer(connection)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str):
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def get(self, path: str):
        return self.request("GET", path)

    def post(self, value, path: str = "/v1/predict"):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, headers, content = self.request("POST", path, body, Content_Type="application/json")
        return status, headers, json.loads(content)

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples; 0 where it has none."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.get("/metrics")[2].decode())
        return sum(s.value for family in families for s in family.samples if s.name == name)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return one answer read until the connection closes; status 0 where it closed without any."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not head:
        return 0, {}, b""
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def wait_for(condition, seconds: float = 10.0) -> bool:
    """Return whether a condition became true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
