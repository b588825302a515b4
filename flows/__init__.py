"""What a person starts.

`run_detect_track` and `run_detect_track_async` are imported when first used: Prefect takes
seconds to import, and `facetracks --help` needs none of it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["run_detect_track", "run_detect_track_async"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from flows import launch

        return getattr(launch, name)
    raise AttributeError(f"module 'flows' has no attribute '{name}'")
