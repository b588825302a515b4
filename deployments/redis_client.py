"""Redis as the lease, the progress of runs and the local stack use it."""

from __future__ import annotations

from contextlib import suppress

from redis import AuthenticationError, Redis, RedisError

from deployments.settings import without_password
from pipeline.errors import ServerError, one_line

PROGRESS_KEY = "facetracks:progress:{}"
"""Redis key of a run's progress, with its id: JSON of step, done, total, seconds."""


def connect(url: str, timeout_s: float = 3.0) -> Redis:
    """A client that gives up instead of waiting for ever."""
    return Redis.from_url(url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s)


_ADVICE = "start it (`facetracks stack up`, or what FACETRACKS_REDIS_URL names), then run again"


def unreachable(url: str, error: Exception, advice: str = _ADVICE) -> ServerError:
    """Redis is not there, or does not let us in: what, where, and what to do."""
    where = f"Redis at {without_password(url)}"
    if isinstance(error, AuthenticationError):
        return ServerError(
            f"{where} refuses the password ({one_line(error)}): "
            "check the one in FACETRACKS_REDIS_URL"
        )
    return ServerError(f"{where} cannot be reached ({type(error).__name__}): {advice}")


def check(url: str, advice: str = _ADVICE) -> None:
    """Asks for a PING.

    Args:
        advice: what to do where Redis is not there.

    Raises:
        ServerError: none comes back within a second or two.
    """
    try:
        with connect(url, timeout_s=1.0) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        raise unreachable(url, error, advice) from None


def answers(url: str) -> bool:
    """Whether a PING comes back within a second or two."""
    with suppress(ServerError):
        check(url)
        return True
    return False
