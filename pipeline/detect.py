"""The detect step: a video in, `frames.parquet` and `detections.parquet` out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.episode import EpisodeFolder
from pipeline.files import make_folder
from pipeline.footer import Footer
from pipeline.frame_source import FrameSource, Look
from pipeline.look import Detections, LookThreads
from pipeline.lost_frames import lost_frames
from pipeline.machine import limit_loaded_libraries
from pipeline.model_table import SFACE
from pipeline.models import identity_of
from pipeline.options import DETECT_FIELDS, ResolvedOptions
from pipeline.progress import Progress
from pipeline.request import StepRequest
from pipeline.sessions import as_record
from pipeline.tables import DETECTIONS, FRAMES, embeddings_schema, table_writer
from pipeline.video import VideoInfo, VideoReader, probe


def detect_episode(
    video: Path,
    folder: EpisodeFolder,
    footer: Footer,
    options: ResolvedOptions,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Finds every face and every cut of a video and writes both tables (and embeddings).

    Earlier results in the folder are replaced only at the end, by whole files.

    Returns:
        The facts that also stand in the footer of the frames table: `video` (the probe),
        `frames`, `frames_lost`, `duration_s`, `looks`, `shots`,
        `transitions` (`FaceComparer.records`), `detections`, ...; and those of
        `sessions.as_record`, and `first_frame_at`, the clock time at which the first frame was
        there to look at.

    Raises:
        VideoError, OptionError, ModelError, DiskFull, OutputError: see there.
    """
    info = probe(video)
    networks = options.networks()
    make_folder(folder.path)
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(video, info, decoder_threads(threads)))
        open_table = stack.enter_context
        # The first opened appears last: where there are detections, the other files are there.
        table = open_table(table_writer(folder.detections, DETECTIONS, footer))
        frames = open_table(table_writer(folder.frames, FRAMES, footer))
        if options.embeds:
            schema = embeddings_schema(networks["embedder"])
            embeddings = open_table(table_writer(folder.embeddings, schema, footer))
        source = FrameSource(reader, info, options, folder.ep_id)
        detections = Detections(table, folder.ep_id, options.embeds)
        first_at: list[str] = []
        looks = _noting_first(source.looks(frames), first_at)
        work = LookThreads(looks, info.expected_frames, detections, options, threads, progress)
        work.run()
        transitions = source.transitions.found
        for comparison in detections.comparisons(source.transitions.settled(inf)):
            work.comparer.compare(comparison)
        if options.embeds:
            det_ids = sorted(detections.embedded)
            vectors = [detections.embedded[det_id] for det_id in det_ids]
            embeddings.append({"det_id": det_ids, "embedding": vectors})
        if work.comparer.used:
            networks["comparison"] = SFACE
        facts = {
            "video": info.as_record(),
            "frames": source.read,
            "frames_lost": lost_frames(video, info, source.read, source.last_pts_s),
            "irregular_times": reader.irregular_times,
            "duration_s": _duration_s(source.last_pts_s, info),
            "looks": detections.looks,
            "shots": source.shots,
            "fades": sum(change.kind == "fade" for change in transitions),
            "dissolves": sum(change.kind == "dissolve" for change in transitions),
            "transitions": [*work.comparer.records(transitions)],
            "whips": [*work.comparer.records(source.transitions.whips.found)],
            "not_compared": work.comparer.missing,
            "detections": table.rows,
            "embedded": options.embeds,
            "embeddings": len(detections.embedded),
            "models": {role: identity_of(network) for role, network in networks.items()},
            "options": options.model_dump(mode="json", include={*DETECT_FIELDS}),
        }
        frames.annotate(facts)
        _forget_results_of_old_detections(folder, options.embeds)
    progress(source.read, source.read)
    return {**facts, **as_record(work.device), "first_frame_at": first_at[0]}


def _noting_first(looks: Iterator[Look], at: list[str]) -> Iterator[Look]:
    """The same looks; when the first came is put in `at`. The tables carry no clock times."""
    for look in looks:
        if not at:
            at.append(datetime.now(UTC).isoformat(timespec="milliseconds"))
        yield look


def warm(_: int) -> None:
    """Imports the rest of what detection needs, before there is anything to detect."""
    limit_loaded_libraries()
    tables.warm()


def run_step(request: StepRequest, progress: Progress) -> dict[str, Any]:
    """The step as `pipeline.child` calls it."""
    assert request.video is not None, "detection needs a video"
    return detect_episode(
        Path(request.video),
        request.folder,
        request.footer,
        request.options,
        request.threads,
        progress,
    )


def _duration_s(last_pts_s: float, info: VideoInfo) -> float:
    """From the first frame to the end of the last one."""
    return last_pts_s - float(info.start_pts * info.time_base) + float(1 / info.frame_rate)


def decoder_threads(threads: int) -> int:
    """Threads for FFmpeg's decoder: one serves four detectors."""
    return max(1, threads // 4)


def _forget_results_of_old_detections(folder: EpisodeFolder, keep_embeddings: bool) -> None:
    """Removes what was made from the detections that are about to be replaced."""
    stale = [folder.record, folder.tracks, folder.track_summary]
    if not keep_embeddings:
        stale.append(folder.embeddings)
    for path in stale:
        path.unlink(missing_ok=True)
