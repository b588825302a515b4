"""How a step tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int | None], None]
"""Called with frames done and frames expected (None: unknown)."""
