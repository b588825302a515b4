"""The episode lock in Redis: a lease that the holder renews, so that a dead one holds nothing.

For runs on machines that do not share a file lock. The lock itself is redis-py's; its token says
who holds it.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import suppress

from redis import RedisError
from redis.exceptions import LockError
from redis.lock import Lock

from deployments.redis_client import connect, unreachable
from pipeline.episode import EpisodeFolder
from pipeline.lock import Holder
from pipeline.runtime import logger

LEASE_S = 20.0
"""A killed holder's lease ends after this."""

_RENEW_S = 5.0


class EpisodeLease:
    """Held from `acquire` to `release`; renewed by a thread. Makes a `pipeline.lock.Lease`."""

    def __init__(self, url: str, folder: EpisodeFolder, holder: Holder) -> None:
        self._url = url
        self._ep_id = folder.ep_id
        self._holder = holder
        self._client = connect(url)
        name = f"facetracks:episode:{folder.root.resolve()}:{folder.ep_id}"
        self._lock = Lock(self._client, name, timeout=LEASE_S, thread_local=False)
        self._done = threading.Event()

    def acquire(self) -> None:
        """Takes the lease.

        A run that crashed and was queued again may meet its own lease; it waits for that to end.

        Raises:
            EpisodeBusy: another run holds it.
            ServerError: Redis cannot be reached.
        """
        give_up = time.monotonic() + LEASE_S + _RENEW_S
        try:
            while not self._take():
                text = self._client.get(self._lock.name)
                if text is None:
                    continue  # Freed between the two questions.
                other = Holder.from_json(text) or Holder("run", host="unknown", pid=0)
                if other.run != self._holder.run or not other.run or time.monotonic() > give_up:
                    raise other.busy(self._ep_id)
                time.sleep(0.5)
        except RedisError as error:
            raise unreachable(self._url, error) from None
        # In this context, so that what the thread logs is the run's.
        work = contextvars.copy_context().run
        threading.Thread(target=work, args=(self._keep,), daemon=True, name="lease").start()

    def _take(self) -> bool:
        return bool(self._lock.acquire(blocking=False, token=self._holder.to_json()))

    def _keep(self) -> None:
        """Renews the lease. Redis may be gone for a while, or forget everything: work goes on."""
        while not self._done.wait(_RENEW_S):
            try:
                self._lock.extend(LEASE_S, replace_ttl=True)
            except LockError:
                with suppress(RedisError):
                    if not self._take():
                        logger.warning("another run has taken the lease of '%s'", self._ep_id)
                        return
            except RedisError:
                continue

    def release(self) -> None:
        self._done.set()
        with suppress(RedisError, LockError):
            self._lock.release()
        self._client.close()
