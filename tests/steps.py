"""Both steps in this process, for tests that look at what they found."""

from __future__ import annotations

from pathlib import Path

from pipeline.detect import detect_episode
from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer
from pipeline.options import Options
from pipeline.track import track_episode


def both_steps(video: Path, options: dict[str, object]) -> EpisodeFolder:
    """Detects and tracks with one thread; the episode's folder is beside the video."""
    resolved = Options.parse(options).resolve()
    folder, footer = EpisodeFolder(video.parent, video.stem), Footer(video.stem, "0", "0")
    detect_episode(video, folder, footer, resolved, 1, lambda *_: None)
    track_episode(folder, footer, resolved, 1, lambda *_: None)
    return folder
