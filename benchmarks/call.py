"""The work as a Python program calls it, in a process of its own: two ways, for figure 2.

`python -m benchmarks.call direct|plain VIDEO OUTPUT_ROOT THREADS`, with the default options.
`plain` calls the functions of the pipeline one after the other, without Prefect, locks, step
processes or a run record. It has the help that direct mode has: libraries held to one thread
each, and the tracker's libraries loaded while faces are being found.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.machine import single_threaded


def _direct(video: Path, root: Path, threads: int) -> None:
    from flows import run_detect_track

    answer = run_detect_track(video, output_root=root, cpu_threads=threads, force=True)
    if answer["status"] != "completed":
        raise SystemExit(answer["error"]["message"])


def _plain(video: Path, root: Path, threads: int) -> None:
    os.environ.update(single_threaded())
    from pipeline import detect, track
    from pipeline.episode import EpisodeFolder, ep_id_of, fingerprint
    from pipeline.footer import Footer
    from pipeline.hashes import detect_hash, track_hash
    from pipeline.options import Options

    options = Options(cpu_threads=threads).resolve()
    folder = EpisodeFolder(root, ep_id_of(video))
    sha256 = fingerprint(video)
    found = Footer(folder.ep_id, sha256, detect_hash(options))
    tracked = Footer(folder.ep_id, sha256, track_hash(options, found.options_hash, ""))
    detect.warm(threads)
    if threads > 1:
        track.warm(threads)
    detect.detect_episode(video, folder, found, options, threads, _say_nothing)
    track.track_episode(folder, tracked, options, threads, _say_nothing)


def _say_nothing(done: int, total: int | None) -> None:
    """Progress that nobody watches."""


def main() -> int:
    way, video, root, threads = sys.argv[1:]
    {"direct": _direct, "plain": _plain}[way](Path(video), Path(root), int(threads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
