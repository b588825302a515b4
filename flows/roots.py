"""Where a queued run may read and write: whoever may start a run is not trusted with paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.episode import EpisodeFolder, check_ep_id, ep_id_of
from pipeline.errors import OptionError
from pipeline.request import RunRequest


def confine(request: RunRequest, media_roots: tuple[Path, ...], output_root: Path) -> RunRequest:
    """The request with its video's links resolved, if it stays within the roots.

    Raises:
        OptionError: the video lies under no media root, there is none, or the outputs would lie
            outside the output root.
    """
    ep_id = request.ep_id
    video = request.video
    if video is not None and request.operation != "track":
        ep_id = ep_id_of(video) if ep_id is None else ep_id
        video = resolve_media(video, media_roots)
    root = check_output_root(request.output_root, output_root)
    if ep_id is not None:
        folder = EpisodeFolder(root, check_ep_id(ep_id))
        for path in (folder.path, folder.lock.parent):
            if not _is_under(path, (output_root,)):
                raise OptionError(f"{path} is a link to outside of {output_root}: remove the link")
    return replace(request, video=video, ep_id=ep_id)


def check_output_root(root: Path, output_root: Path) -> Path:
    """The folder `root`, if it lies under the workers' output root.

    Raises:
        OptionError: it does not.
    """
    if not _is_under(root, (output_root,)):
        raise OptionError(
            f"output_root {root} is not under {output_root}: leave it out, "
            "or give a folder under FACETRACKS_OUTPUT_ROOT"
        )
    return root


def resolve_media(video: Path, media_roots: tuple[Path, ...]) -> Path:
    """The video's path without links, if it lies under a media root.

    Raises:
        OptionError: it does not, or no root is configured.
    """
    if not media_roots:
        raise OptionError(
            "no media root is configured, so queued runs may read nothing: set "
            "FACETRACKS_MEDIA_ROOTS for the worker (with a local stack: set it, then "
            "`facetracks stack down` and `facetracks stack up`)"
        )
    if not video.is_absolute() or not _is_under(video, media_roots):
        roots = ", ".join(map(str, media_roots))
        raise OptionError(
            f"{video} is not under a media root ({roots}): move it there, "
            "or add its folder to FACETRACKS_MEDIA_ROOTS"
        )
    return video.resolve()


def _is_under(path: Path, roots: tuple[Path, ...]) -> bool:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null byte
        return False
    return any(resolved.is_relative_to(root.resolve()) for root in roots)
