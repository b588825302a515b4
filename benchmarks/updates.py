"""CPU time of the tracker's updates on stored detections: through our adapter, and boxmot's alone.

Run in a process of its own, `python -m benchmarks.updates OUTPUT_ROOT EP_ID TRACKER`; prints one
JSON line. The adapter is what the track step runs for a shot: the loop over its looks, with the
conversion of arrays and numbers. Boxmot alone is its `update`, given the very arguments that the
adapter gave it, by a tracker made with the same options. They take turns, shot by shot.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import BenchError
from pipeline.appearance import spread_embeddings, stored_embeddings
from pipeline.episode import EpisodeFolder
from pipeline.footer import read_facts
from pipeline.machine import limit_loaded_libraries
from pipeline.options import Options, ResolvedOptions, Tracker
from pipeline.shot_tracks import ShotDetections, _follow
from pipeline.tables import read_table
from pipeline.track import _Shots
from pipeline.track_splits import changes_of
from pipeline.trackers import import_boxmot, open_tracker

_TURNS = 3
"""Times that both go through the episode; the first of them warms caches and does not count."""

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def measure(folder: EpisodeFolder, tracker: Tracker) -> dict[str, float]:
    """CPU milliseconds a look: `adapter_ms` and `boxmot_ms`; and `looks`, `detections`.

    Raises:
        ResultError: the detections are not there.
        BenchError: boxmot found other tracks than it found for the adapter.
    """
    options = Options(tracker=tracker, stride=1).resolve()
    frames, detections = read_table(folder.frames), read_table(folder.detections)
    embedded = stored_embeddings(folder) if options.embeds else None
    embeddings = None if embedded is None else spread_embeddings(embedded, frames, detections)
    changes = changes_of(read_facts(folder.frames))
    shots = _Shots(frames, detections, embeddings, changes, options)
    import_boxmot()
    adapter_s = boxmot_s = 0.0
    looks = found = 0
    for turn in range(_TURNS):
        for number, shot in enumerate(shots):
            if not len(shot.scores):
                continue
            calls, tracks = _recorded(shot, options, shots.looks_per_s)
            ways = {
                "adapter": _adapter(shot, options, shots.looks_per_s),
                "boxmot": _boxmot(calls, options, shots.looks_per_s),
            }
            # Whoever comes second finds the caches warm: that changes with the shot.
            order = list(ways) if (turn + number) % 2 else list(ways)[::-1]
            seconds = {way: _cpu_s(ways[way]) for way in order}
            if turn == 0:
                if _adapter(shot, options, shots.looks_per_s)() != tracks:
                    raise BenchError("the tracker gave other tracks the second time")
                looks, found = looks + len(calls), found + len(shot.scores)
                continue
            adapter_s += seconds["adapter"]
            boxmot_s += seconds["boxmot"]
    per_look = 1000 / looks / (_TURNS - 1)
    return {
        "adapter_ms": adapter_s * per_look,
        "boxmot_ms": boxmot_s * per_look,
        "looks": looks,
        "detections": found,
    }


def _recorded(
    shot: ShotDetections, options: ResolvedOptions, looks_per_s: float
) -> tuple[list[_Call], dict[int, list[int]]]:
    """What the adapter calls boxmot's `update` with, look by look; and the tracks it finds."""
    adapter: Any = open_tracker(options, looks_per_s)
    update = adapter._tracker.update
    calls: list[_Call] = []

    def record(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return update(*args, **kwargs)

    adapter._tracker.update = record
    return calls, _follow(shot, adapter)


def _adapter(
    shot: ShotDetections, options: ResolvedOptions, looks_per_s: float
) -> Callable[[], dict[int, list[int]]]:
    tracker = open_tracker(options, looks_per_s)
    return lambda: _follow(shot, tracker)


def _boxmot(calls: list[_Call], options: ResolvedOptions, looks_per_s: float) -> Callable[[], None]:
    adapter: Any = open_tracker(options, looks_per_s)
    update = adapter._tracker.update

    def run() -> None:
        for args, kwargs in calls:
            update(*args, **kwargs)

    return run


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> int:
    limit_loaded_libraries()
    root, ep_id, tracker = sys.argv[1:]
    print(json.dumps(measure(EpisodeFolder(Path(root), ep_id), Tracker(tracker))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
