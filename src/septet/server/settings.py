"""What the server allows: every limit of serving in one place."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, fields
from typing import Any

from septet.errors import UsageError

TOKEN = "SEPTET_TOKEN"  # noqa: S105 - the name of the environment variable


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of one server; the first nine are the recipe's `serve` section.

    Args:
        host, port: where it listens; port 0 takes a free one.
        max_batch: inputs the model answers at once.
        max_wait_ms: how long the first input of a batch waits, at most, for as many as came last.
        queue: inputs waiting at most, which is also the most one request may hold; more are refused with 429.
        max_body_bytes, max_depth: the largest request body, and how deep its JSON may nest.
        log, log_text: whether requests are logged, and whether their text is.
        header_timeout_s, body_timeout_s: how long a client may take to send a request's head and its body.
        request_timeout_s: how long an answer may take before the client is told 504.
        write_timeout_s: how long a client may leave an answer unread before the connection is dropped.
        max_connections: open connections at most.
        token: asked of every request but the health checks; needed to listen beyond this machine.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch: int = 32
    max_wait_ms: float = 5.0
    queue: int = 256
    max_body_bytes: int = 1_000_000
    max_depth: int = 20
    log: bool = True
    log_text: bool = False
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    request_timeout_s: float = 60.0
    write_timeout_s: float = 30.0
    max_connections: int = 512
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, section: Any, **given: Any) -> Settings:
        """Return the settings of a recipe's `serve` section (or None), with the values that were given on top."""
        known = {f.name for f in fields(cls)}
        taken = {name: getattr(section, name) for name in known if hasattr(section, name)}
        return cls(**{**taken, **{name: value for name, value in given.items() if value is not None}})

    def check(self) -> Settings:
        """Return these settings, or refuse to open the server to other machines without a token.

        Raises:
            UsageError: the host is not loopback and there is no token.
        """
        if not self.loopback and not self.token:
            raise UsageError(
                "A server that other machines can reach needs a token.",
                received=self.host,
                hint=f"set the environment variable {TOKEN}, or listen on 127.0.0.1",
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the host."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine and nothing else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
