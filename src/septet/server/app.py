"""The HTTP interface: `POST /v1/predict`, `/health/live`, `/health/ready`, `/metrics`.

A request is `{"inputs": [item, …]}`, where an item is a text or an object with the task's columns; one item may also be
sent alone, as a JSON string or as the object itself. The answer is `{"predictions": [{"label", "score", "scores"}, …],
"model": {"name", "sha256"}}`, in the order of the inputs. Every error is `{"error": {"code", "message", "param"}}`.

`build` gives an ASGI app; `serve.py` runs it. Needs the `serve` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from septet.errors import DataError
from septet.server import body, strict
from septet.server.batcher import QueueFullError
from septet.server.metrics import CONTENT_TYPE
from septet.server.refusal import MAX_HEAD_BYTES, ClientGoneError, Refusal, answer_refusal
from septet.server.service import LIVE, METRICS, PREDICT, READY, Service, unfit
from septet.server.settings import is_loopback
from septet.tasks import Prediction

OPEN_PATHS = (LIVE, READY)
_CODES = {404: "not_found", 405: "method_not_allowed"}
_MESSAGES = {
    404: f"There is nothing at this path. Ask POST {PREDICT}; GET {LIVE}, {READY} or {METRICS}.",
    405: f"This path does not take this method. Rows are sent by POST to {PREDICT}; the other paths take GET.",
}


def build(service: Service) -> Guard:
    """Return the ASGI app of a service."""

    async def predict(request: Request) -> Response:
        return await _predict(service, request)

    async def live(_request: Request) -> Response:
        if not service.live:
            raise Refusal(503, "dead", message="The model's thread has ended.")
        return _json({"status": "live"})

    async def ready(_request: Request) -> Response:
        service.require_ready()
        return _json({"status": "ready"})

    async def metrics(_request: Request) -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with service.running():
            yield

    routes = [
        Route(PREDICT, predict, methods=["POST"]),
        Route(LIVE, live),
        Route(READY, ready),
        Route(METRICS, metrics),
    ]
    return Guard(Router(routes, redirect_slashes=False, lifespan=lifespan), service)


class Guard:
    """Stands before every route: who may ask, what is counted, and what an error looks like.

    Args:
        app: the routes.
        service: its settings and metrics.
    """

    def __init__(self, app: Any, service: Service):
        self.app = app
        self.service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        metrics, started, status = self.service.metrics, time.monotonic(), 499

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, counted)
        finally:
            metrics.in_flight.dec()
            seconds = time.monotonic() - started
            metrics.answered(scope["method"], scope["path"], status=status, seconds=seconds)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        begun = False

        async def noted(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._admit(scope)
            await self.app({**scope, "app": self.service}, receive, noted)
        except ClientGoneError:
            return
        except Refusal as refusal:
            await answer_refusal(refusal, receive, send)
        except HTTPException as error:
            await answer_refusal(_refusal_of(error), receive, send)
        except Exception as error:  # the client gets a plain 500; the operator gets the place, not the content
            self.service.note(f"A request failed: {type(error).__name__} at {_place(error)}.")
            if begun:
                raise RuntimeError("the answer broke off") from None
            await answer_refusal(Refusal(500, "internal_error", message="The server failed."), receive, send)

    def _admit(self, scope: Any) -> None:
        headers, settings = _headers(scope), self.service.settings
        if _head_bytes(scope) > MAX_HEAD_BYTES:
            message = f"The request's head is larger than {MAX_HEAD_BYTES} bytes."
            raise Refusal(431, "head_too_large", message=message, close=True)
        if settings.token is not None:
            if scope["path"] not in OPEN_PATHS and not _has_token(headers, settings.token):
                raise Refusal(
                    401,
                    "unauthorized",
                    message="A valid token is needed: Authorization: Bearer …",
                    headers={"www-authenticate": "Bearer"},
                    close=True,
                )
        elif not all(_names_this_machine(host) for host in headers.get("host", [])):
            # a web page whose name was pointed at 127.0.0.1 would otherwise reach a server that has no token
            raise Refusal(
                421, "wrong_host", message="The Host header must name this machine.", param="host", close=True
            )


async def _predict(service: Service, request: Request) -> Response:
    started = time.monotonic()
    model, batcher = service.require_ready()
    content = await body.read(_headers(request.scope), request.receive, settings=service.settings)
    inputs = _inputs(strict.loads(content, service.settings.max_depth), service.settings.queue)
    rows = service.rows(model, inputs)
    try:
        futures = batcher.submit(rows)
    except QueueFullError:
        message = "Too many inputs are waiting already."
        raise Refusal(429, "queue_full", message=message, retry_after_s=1) from None
    predictions = await _answers(request.receive, futures, service=service)
    response = _json({"predictions": [p.to_json() for p in predictions], "model": model.to_json()})
    service.record(model, rows, predictions=predictions, seconds=time.monotonic() - started)
    return response


def _inputs(value: Any, most: int) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, dict):
        raise Refusal(422, "invalid_body", message='The body must be {"inputs": [...]}, one object, or one string.')
    if "inputs" not in value:
        return [value]
    if len(value) > 1:
        raise Refusal(422, "unknown_field", message='Beside "inputs" the body may hold nothing else.')
    inputs = value["inputs"]
    if not isinstance(inputs, list):
        inputs = [inputs]
    if not inputs:
        raise Refusal(422, "no_inputs", message="The list of inputs is empty.", param="inputs")
    if len(inputs) > most:
        message = f"A request holds at most {most} inputs."
        raise Refusal(413, "too_many_inputs", message=message, param="inputs")
    return inputs


async def _answers(
    receive: Any, futures: Sequence[asyncio.Future[Prediction]], *, service: Service
) -> list[Prediction]:
    answers = asyncio.gather(*futures, return_exceptions=True)
    leaving = asyncio.ensure_future(_left(receive))
    timeout = service.settings.request_timeout_s
    try:
        await asyncio.wait({answers, leaving}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            if leaving.done():
                raise ClientGoneError
            raise Refusal(504, "deadline", message=f"No answer within {timeout:g} seconds.", retry_after_s=1)
        return [_checked(answer, i, service=service) for i, answer in enumerate(answers.result())]
    finally:
        leaving.cancel()
        for future in futures:
            future.cancel()


def _checked(answer: Prediction | BaseException, index: int, *, service: Service) -> Prediction:
    if isinstance(answer, DataError):
        raise unfit(answer, index)
    if isinstance(answer, asyncio.CancelledError):
        raise Refusal(503, "not_ready", message="The server is shutting down.", retry_after_s=1)
    if isinstance(answer, BaseException):
        service.note(f"The model failed on an input: {type(answer).__name__} at {_place(answer)}.")
        raise Refusal(500, "prediction_failed", message="The model failed on this input.", param=f"inputs[{index}]")
    return answer


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _head_bytes(scope: Any) -> int:
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _has_token(headers: dict[str, list[str]], token: str) -> bool:
    given = headers.get("authorization", [])
    scheme, _, sent = (given[0] if len(given) == 1 else "").partition(" ")
    same = hmac.compare_digest(sent.strip().encode("latin-1", "replace"), token.encode("utf-8"))
    return scheme.lower() == "bearer" and same


def _names_this_machine(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return is_loopback(name)


def _refusal_of(error: HTTPException) -> Refusal:
    status = error.status_code
    message = _MESSAGES.get(status, "The request cannot be answered.")
    headers = dict(error.headers or {})
    return Refusal(status, _CODES.get(status, "http_error"), message=message, headers=headers, close=True)


def _json(value: Any) -> Response:
    content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return Response(content, media_type="application/json")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
