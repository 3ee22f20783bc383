"""Refusals: what a client is told when its request is not answered.

Every error of the server has one form, `{"error": {"code", "message", "param"}}`. A message never holds what the
client sent: it may be read in logs.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

MAX_HEAD_BYTES = 16_384
LINGER_BYTES = 8_000_000
LINGER_S = 2.0


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault
    """A request that gets an error for an answer.

    Args:
        status: the HTTP status.
        code: a stable word for programs.
        message: one sentence for people.
        param: the field at fault, such as `inputs[3].text`.
        retry_after_s: when to try again; sent as `Retry-After`.
        close: the connection cannot be used again, since the request was not read to its end.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        message: str,
        param: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.close = close
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["retry-after"] = str(retry_after_s)

    def body(self) -> bytes:
        return error_json(self.code, self.message, param=self.param)


class ClientGoneError(Exception):
    """The client closed the connection; nobody waits for an answer."""


def error_json(code: str, message: str, *, param: str | None = None) -> bytes:
    """Return the one form in which every error is told."""
    return json.dumps({"error": {"code": code, "message": message, "param": param}}).encode()


async def answer_refusal(refusal: Refusal, receive: Any, send: Any) -> None:
    """Send a refusal; where the request was not read to its end, read on for a moment before closing.

    A connection closed with unread bytes is reset, and the client would lose the answer that says why.
    """
    body = refusal.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in refusal.headers.items()]
    if refusal.close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": refusal.close})
    if refusal.close:
        await _linger(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _linger(receive: Any) -> None:
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b"")) + 1
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
    except TimeoutError:
        return
