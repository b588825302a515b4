"""What the local stack of a home is: its addresses, its secrets, and how to find them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

from deployments.settings import Settings
from pipeline.errors import ServerError


@dataclass(frozen=True)
class StackState:
    """What a home remembers, in `stack.json`.

    Attributes:
        redis_port: None where a Redis of somebody else is used.
        redis_password: of our own Redis.
        output_root, media_roots: what the worker goes by.
        registered: fingerprint of what the server was last told of.
    """

    host: str
    server_port: int
    redis_port: int | None
    redis_password: str
    output_root: str = ""
    media_roots: list[str] = field(default_factory=list)
    registered: str = ""

    @property
    def api_url(self) -> str:
        return f"http://{self.host}:{self.server_port}/api"

    @property
    def ui_url(self) -> str:
        return f"http://{self.host}:{self.server_port}"

    @classmethod
    def read(cls, home: Path) -> Self | None:
        try:
            return cls(**json.loads((home / "stack.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, home: Path) -> None:
        path = home / "stack.json"
        aside = path.with_suffix(".part")
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(asdict(self), indent=2) + "\n")
        aside.replace(path)

    def redis_url(self, settings: Settings) -> str:
        """With its password.

        Raises:
            ServerError: it is somebody else's, and nothing says where.
        """
        if settings.redis_url is not None:
            return settings.redis_url.get_secret_value()
        if self.redis_port is None:
            raise ServerError(
                "this stack was started with a Redis of somebody else's: "
                "set FACETRACKS_REDIS_URL as it was then"
            )
        return f"redis://:{quote(self.redis_password)}@{self.host}:{self.redis_port}/0"


def api_url(settings: Settings) -> str:
    """Where the Prefect server is: `PREFECT_API_URL`, else the home's stack.

    Raises:
        ServerError: neither is there.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    state = StackState.read(settings.home)
    if state is None:
        raise ServerError(
            "no Prefect server is configured: start one with `facetracks stack up`, "
            "or set PREFECT_API_URL"
        )
    return state.api_url


def redis_url(settings: Settings) -> str | None:
    """Where Redis is: `FACETRACKS_REDIS_URL`, else the home's stack, else nowhere.

    Raises:
        ServerError: it is not the stack's own, and nothing says where.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    state = StackState.read(settings.home)
    return state.redis_url(settings) if state else None


def new_password() -> str:
    """Random; may stand in a URL and in redis.conf as it is."""
    return secrets.token_urlsafe(24)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_ports(host: str, count: int) -> list[int]:
    """Ports that nobody listens on, each another."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((host, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports
