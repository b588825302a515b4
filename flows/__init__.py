"""What a person starts.

The functions are imported when first used: `facetracks --help` needs none of what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "run_detect_track": ("flows.launch", "run_detect_track"),
    "run_detect_track_async": ("flows.launch", "run_detect_track_async"),
    "follow_run": ("flows.queue_status", "follow"),
}

__all__ = ["follow_run", "run_detect_track", "run_detect_track_async"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flows' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
