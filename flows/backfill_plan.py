"""What has to be done of a list of episodes: what is done already, what is wrong, what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from flows.request import make_request
from pipeline.episode import EpisodeFolder
from pipeline.episode_list import ListedEpisode
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError, one_line
from pipeline.options import Options, overridden
from pipeline.record import read_record
from pipeline.request import RunRequest


class Outcome(StrEnum):
    """How an episode of a backfill stands."""

    WRONG = "wrong"  # its video is missing or cannot be read
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_STARTED = "not started"  # the backfill was ended before
    TO_DO = "to do"
    COMPLETED = "completed"
    DONE_BEFORE = "done before"


PASSING = {
    *("EpisodeBusy", "RunTimeout", "DiskFull", "OutputError"),
    *("ServerError", "ModelError", "OptionError"),
}
"""Errors that are not the video's: what failed with one is tried again without being asked for."""

GOOD = {Outcome.COMPLETED, Outcome.DONE_BEFORE}


@dataclass(slots=True)
class Episode:
    """One episode on its way through a backfill.

    Attributes:
        given: options of the command and of the row, as far as they were given.
        request: None where the row's video or options are at fault.
        video_seconds: of the header until the episode is done; None where that does not tell.
        seconds: that the run took.
        input: `EpisodeRun.identity`, where it had to be found out.
    """

    listed: ListedEpisode
    given: dict[str, Any]
    request: RunRequest | None = None
    outcome: Outcome = Outcome.TO_DO
    video_seconds: float | None = None
    seconds: float | None = None
    tracks: int | None = None
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    run_id: str = ""
    input: str = ""

    @property
    def place(self) -> str:
        """As a message names it: `line 3, E03`."""
        return ", ".join(filter(None, (self.listed.where, self.listed.ep_id)))

    def fail(self, outcome: Outcome, error: str) -> None:
        """It ends here."""
        self.outcome, self.error = outcome, error

    def take_result(self, outcome: Outcome) -> None:
        """Reads from the run record what the episode has come to."""
        assert self.request is not None
        folder = EpisodeFolder(self.request.output_root.absolute(), self.listed.ep_id)
        record = read_record(folder.record)
        self.outcome = outcome
        self.warnings = list(record.get("warnings", ()))
        self.seconds = record.get("elapsed_seconds")
        summary = record.get("summary", {})
        self.video_seconds = summary.get("video_seconds", self.video_seconds)
        self.tracks = summary.get("tracks")


Confine = Callable[[RunRequest], RunRequest]


def plan(
    listed: Iterable[ListedEpisode],
    options: dict[str, Any],
    output_root: Path | None,
    force: bool,
    confine: Confine = lambda request: request,
) -> list[Episode]:
    """Looks at every episode of a list; starts and writes nothing.

    An episode that is done costs a look at its run record, any other the header of its video.

    Args:
        options: for the episodes whose rows do not say otherwise.
        confine: refuses what may not be read or written (OptionError), see `flows.roots`.

    Raises:
        OptionError: an option that holds for all episodes is wrong.
    """
    Options.parse(options)
    episodes = []
    for row in listed:
        episode = Episode(row, overridden(options, row.options))
        try:
            _look(episode, output_root, force, confine)
        except FacetracksError as error:
            episode.fail(Outcome.WRONG, one_line(error))
        episodes.append(episode)
    return episodes


def _look(episode: Episode, output_root: Path | None, force: bool, confine: Confine) -> None:
    row = episode.listed
    options = Options.parse(episode.given)
    request = confine(make_request(row.video, row.ep_id, output_root, options, "run", force))
    run = EpisodeRun(request)
    episode.request = request
    if run.finished():
        episode.take_result(Outcome.DONE_BEFORE)
    else:
        from pipeline.video import probe  # cv2 and av, which not every caller needs.

        assert request.video is not None
        episode.video_seconds = probe(request.video).duration_s
