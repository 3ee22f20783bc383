"""HTTP on the wire: what uvicorn's own protocol leaves open.

Deadlines on a request's head (the app itself keeps the one on the body), a cap on connections, JSON for requests that
are not HTTP at all, and connections that are dropped when their client does not read. uvicorn holds a half-sent
request for ever; a middleware never sees it, so it is ended here. `Listener` is uvicorn's server with the exit code of
a process that was asked to stop: 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from septet.server.refusal import MAX_HEAD_BYTES, error_json
from septet.server.service import Service

CLOSE_S = 2.0


class Protocol(H11Protocol):
    """One connection.

    Args:
        service: its limits and metrics.
        arguments: uvicorn's own.
    """

    def __init__(self, *, service: Service, **arguments: Any):
        super().__init__(**arguments)
        self._service = service
        self._head_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio turns Nagle's algorithm off only for sockets that name their protocol, and accepted ones do not:
        # head and body leave as two packets, and the second would wait 40 ms for the client's acknowledgement
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self._service.settings.max_connections:
            self._service.metrics.connections_refused.inc()
            self._end(503, "too_many_connections", message="Too many connections are open.")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.is_closing():
            self._head_deadline = _cancelled(self._head_deadline)
        elif self._head_deadline is None:
            self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        wait_s = self._service.settings.write_timeout_s
        self._write_deadline = self._write_deadline or self.loop.call_later(wait_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._write_deadline = _cancelled(self._write_deadline)
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.loop.call_later(self._service.settings.write_timeout_s, self.transport.abort)
        elif self.conn.trailing_data[0] and self._head_deadline is None:
            self._await_head()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; uvicorn calls this while it handles h11's error."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if status == 431:
            self._end(431, "head_too_large", message=f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        else:
            self._end(status, "not_http", message="The request is not valid HTTP/1.1.")

    def _await_head(self) -> None:
        wait_s = self._service.settings.header_timeout_s
        self._head_deadline = self.loop.call_later(wait_s, self._head_late, wait_s)

    def _head_late(self, wait_s: float) -> None:
        self._end(408, "head_timeout", message=f"The request's head did not arrive within {wait_s:g} seconds.")

    def _end(self, status: int, code: str, *, message: str) -> None:
        """Say why, where no answer has begun yet, and close."""
        self._clear()
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error_json(code, message)
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            response = h11.Response(status_code=status, headers=headers)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._service.metrics.answered("other", "other", status=status, seconds=0.0)
        self.transport.close()
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def _clear(self) -> None:
        self._head_deadline = _cancelled(self._head_deadline)
        self._write_deadline = _cancelled(self._write_deadline)


class Listener(uvicorn.Server):
    """uvicorn's server; SIGTERM and SIGINT end it gracefully and the process goes on to exit 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listener(app: Any, service: Service) -> Listener:
    """Return a server for an app; run it with `await listener.serve(sockets=[socket])`."""
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False

    def protocol(**arguments: Any) -> Protocol:
        return Protocol(service=service, **arguments)

    config = uvicorn.Config(
        app,
        http=cast(Any, protocol),
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(service.settings.request_timeout_s) + 5,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    return Listener(config)


def _cancelled(handle: asyncio.TimerHandle | None) -> None:
    if handle is not None:
        handle.cancel()
