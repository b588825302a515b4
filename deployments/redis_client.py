"""Redis as the lease, the progress of runs and the local stack use it."""

from __future__ import annotations

from redis import Redis, RedisError

from deployments.settings import without_password
from pipeline.errors import ServerError

PROGRESS_KEY = "facetracks:progress:{}"
"""Redis key of a run's progress, with its id: JSON of step, done, total, seconds."""


def connect(url: str, timeout_s: float = 3.0) -> Redis:
    """A client that gives up instead of waiting for ever."""
    return Redis.from_url(url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s)


def unreachable(url: str, error: Exception) -> ServerError:
    """Redis is not there: what, where, and what to do."""
    return ServerError(
        f"Redis at {without_password(url)} cannot be reached ({type(error).__name__}): "
        "start it (`facetracks stack up`, or what FACETRACKS_REDIS_URL names), then run again"
    )


def answers(url: str) -> bool:
    """Whether a PING comes back within a second or two."""
    try:
        with connect(url, timeout_s=1.0) as client:
            return bool(client.ping())
    except (RedisError, OSError, ValueError):
        return False
