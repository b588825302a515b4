"""Prefect's message broker in Redis, whose consumers are back as soon as Redis is.

Those of prefect-redis wait up to 78 s between their attempts, each on its own. One that has found
a Redis without its memory trims the stream to what it has read itself, and what the others, not
yet back, would have read is gone: a run's crash among it, and the run is never queued again.

`PREFECT_MESSAGING_BROKER` names this module.
"""

from __future__ import annotations

import asyncio
import time

from prefect.logging import get_logger
from prefect.server.utilities.messaging import MessageHandler
from prefect_redis.messaging import Consumer as _Consumer
from prefect_redis.messaging import Publisher, break_topic, ephemeral_subscription
from redis.asyncio import Redis
from redis.exceptions import RedisError

__all__ = ["Consumer", "Publisher", "break_topic", "ephemeral_subscription"]

_AGAIN_S = 1.0
_SAY_SO_EVERY = 60


class Consumer(_Consumer):  # type: ignore[misc]  # it comes without types
    """Waits for a Redis that is gone by asking every second; trims nothing soon after."""

    async def _ensure_stream_and_group(self, redis_client: Redis) -> None:
        await self._wait_for(redis_client)
        await super()._ensure_stream_and_group(redis_client)

    async def _run_without_consumer_group(
        self, handler: MessageHandler, redis_client: Redis
    ) -> None:
        await self._wait_for(redis_client)
        await super()._run_without_consumer_group(handler, redis_client)

    async def _wait_for(self, redis_client: Redis) -> None:
        attempt = 0
        while True:
            try:
                await redis_client.ping()
                break
            except (RedisError, OSError) as error:
                if attempt % _SAY_SO_EVERY == 0:
                    get_logger(__name__).warning("%s waits for Redis: %s", self.name, error)
                attempt += 1
                await asyncio.sleep(_AGAIN_S)
        # The next trim comes a full interval (60 s) from now, when the others have read theirs.
        self._last_trimmed = time.monotonic()
