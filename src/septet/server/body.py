"""Reading one request's body: the right type, within its limits, in time, and told apart from a client that left."""

from __future__ import annotations

import asyncio
from typing import Any

from septet.server.refusal import ClientGoneError, Refusal
from septet.server.settings import Settings


async def read(headers: dict[str, list[str]], receive: Any, *, settings: Settings) -> bytes:
    """Return the body of a JSON request.

    Args:
        headers: lower-case names to every value they were sent with.
        receive: the ASGI channel.
        settings: its limits.

    Raises:
        Refusal: 400, 408, 413 or 415.
        ClientGoneError: the connection ended before the body did.
    """
    _check_framing(headers)
    _check_type(headers)
    limit = settings.max_body_bytes
    declared = headers.get("content-length", ["0"])[0]
    if len(declared) > 18 or int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _receive(receive, limit)
    except TimeoutError:
        message = f"The body did not arrive within {settings.body_timeout_s:g} seconds."
        raise Refusal(408, "body_timeout", message=message, close=True) from None


async def _receive(receive: Any, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _check_framing(headers: dict[str, list[str]]) -> None:
    if "transfer-encoding" in headers and "content-length" in headers:
        message = "A request gives Content-Length or Transfer-Encoding, not both."
        raise Refusal(400, "ambiguous_length", message=message, close=True)


def _check_type(headers: dict[str, list[str]]) -> None:
    types = headers.get("content-type", [])
    media, _, parameters = (types[0] if len(types) == 1 else "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        message = "The Content-Type must be application/json in UTF-8."
        raise Refusal(415, "unsupported_media_type", message=message, param="content-type", close=True)
    if [e for e in headers.get("content-encoding", []) if e.strip().lower() != "identity"]:
        message = "A compressed body is not accepted."
        raise Refusal(415, "unsupported_encoding", message=message, param="content-encoding", close=True)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body_too_large", message=f"The body is larger than {limit} bytes.", close=True)
