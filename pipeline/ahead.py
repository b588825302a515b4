"""Items that several threads make and take in turns, a few of them made ahead.

One thread at a time makes the next item; one that comes meanwhile takes what is ready instead of
waiting. So no thread idles while there is work of either kind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class MadeAhead(Generic[T]):
    """Gives the items of an iterator, in order, to any number of threads."""

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        """
        Args:
            items: run by one thread at a time, not always the same.
            ahead: items that may be ready and not taken yet; at least 1.
        """
        self._items = items
        self._ahead = ahead
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._being_made = False
        self._ended = False

    def take(self) -> T | None:
        """The next item, or None where there is none any more.

        Raises:
            Exception: what the iterator raised; the other threads get what is ready, then None.
        """
        while True:
            with self._changed:
                while self._being_made and not self._ready:
                    self._changed.wait()
                if self._ready and (self._being_made or self._is_enough()):
                    return self._ready.popleft()
                if self._ended:
                    return None
                self._being_made = True
            self._make()

    def close(self) -> None:
        """Nothing more is made or given, to any thread."""
        with self._changed:
            self._ended = True
            self._ready.clear()
            self._changed.notify_all()

    def _is_enough(self) -> bool:
        return self._ended or len(self._ready) >= self._ahead

    def _make(self) -> None:
        item: T | None = None
        try:
            item = next(self._items, None)
        finally:
            with self._changed:
                self._being_made = False
                if item is None:
                    self._ended = True
                elif not self._ended:
                    self._ready.append(item)
                self._changed.notify_all()
