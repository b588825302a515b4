"""The errors a person can cause or meet: one line each, what was wrong, with what, and what to do.

`exit_code` is what the command line ends with; the README lists them.
"""

from __future__ import annotations


class FacetracksError(Exception):
    """Base of all expected failures. `str(error)` is one line for a person."""

    exit_code = 1
    detail = ""


class OptionError(FacetracksError):
    """An option has a value that cannot be used."""

    exit_code = 2


class ListError(FacetracksError):
    """A list of episodes has a fault, so nothing in it is started."""

    exit_code = 2


class VideoError(FacetracksError):
    """The input is no video that can be read."""

    exit_code = 2


class ModelError(FacetracksError):
    """A model file is missing, or is not the file it should be."""

    exit_code = 2


class OutputError(FacetracksError):
    """The outputs cannot be written where they were asked for."""

    exit_code = 2


class ResultError(FacetracksError):
    """Stored results that a step needs are missing or do not fit."""

    exit_code = 2


class DiskFull(FacetracksError):
    """There is no room left for the outputs."""

    exit_code = 1


class EpisodesFailed(FacetracksError):
    """A backfill has come to its end, and some of its episodes have not."""

    exit_code = 1


class StepFailed(FacetracksError):
    """A step ended in a way that is not the user's doing.

    Attributes:
        detail: the traceback or last words of the process, for `--debug`.
    """

    exit_code = 1

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ServerError(FacetracksError):
    """The Prefect server or Redis is not there, or refuses."""

    exit_code = 5

    def __init__(self, message: str, wrong_input: bool = False) -> None:
        super().__init__(message)
        if wrong_input:
            self.exit_code = 2


class EpisodeBusy(FacetracksError):
    """Another run holds this episode."""

    exit_code = 3


class RunTimeout(FacetracksError):
    """The run took longer than it was allowed to."""

    exit_code = 4


class RunCancelled(FacetracksError):
    """The run was told to stop."""

    exit_code = 130


def _all_errors(base: type[FacetracksError]) -> dict[str, type[FacetracksError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= _all_errors(child)
    return found


def error_named(name: str, message: str) -> FacetracksError:
    """The error of that class name; used to carry errors across processes."""
    return _all_errors(FacetracksError).get(name, StepFailed)(message)


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
