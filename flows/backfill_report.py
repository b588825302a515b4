"""What a backfill came to, as a table: a file, rows for a page, lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.backfill_plan import GOOD, Episode, Outcome
from pipeline.files import make_folder, writing, written_whole

if TYPE_CHECKING:
    import pyarrow as pa

FAILED_BEFORE = " (in an earlier run; --retry-failed tries it again)"

_ROWS_ON_A_PAGE = 1000
_LINES = 200
_NEVER_NULL = {"ep_id", "state", "warnings", "error", "where", "video"}
_GOOD = {outcome.value for outcome in GOOD}
_ORDER = {outcome: number for number, outcome in enumerate(Outcome)}


def report_path(output_root: Path, name: str) -> Path:
    """Where the table of the backfill of that name is."""
    return output_root.absolute() / f"backfill-{name}.parquet"


def rows(episodes: list[Episode], ui_url: str | None = None) -> list[dict[str, Any]]:
    """A row an episode, what went wrong first, else in the order of the list."""
    ordered = sorted(episodes, key=lambda episode: _ORDER[episode.outcome])
    return [_row(episode, ui_url) for episode in ordered]


def _row(episode: Episode, ui_url: str | None) -> dict[str, Any]:
    pace = None
    if episode.outcome in GOOD and episode.seconds and episode.video_seconds:
        pace = round(episode.video_seconds / episode.seconds, 2)
    run = None
    if episode.run_id:
        run = f"{ui_url}/runs/flow-run/{episode.run_id}" if ui_url else episode.run_id
    return {
        "ep_id": episode.listed.ep_id,
        "state": episode.outcome.value,
        "video_seconds": episode.video_seconds,
        "times_real_time": pace,
        "tracks": episode.tracks,
        "warnings": "; ".join(episode.warnings),
        "error": episode.error,
        "run": run,
        "where": episode.listed.where,
        "video": str(episode.listed.video),
        "input": episode.input or None,
    }


def counts(table: Iterable[dict[str, Any]]) -> dict[str, int | float]:
    """The summary of a table.

    Returns:
        `episodes`, a number for each state there is (`done_before`, ...), and `video_seconds` of
        those that are done.
    """
    table = list(table)
    found: dict[str, int | float] = {"episodes": len(table)}
    for outcome in Outcome:
        if number := sum(row["state"] == outcome.value for row in table):
            found[outcome.value.replace(" ", "_")] = number
    done = (row["video_seconds"] or 0.0 for row in table if row["state"] in _GOOD)
    return {**found, "video_seconds": round(sum(done), 3)}


def schema() -> pa.Schema:
    """Of the table."""
    import pyarrow as pa

    columns = [
        ("ep_id", pa.string(), "episode"),
        ("state", pa.string(), "completed, done before, wrong, failed, cancelled or not started"),
        ("video_seconds", pa.float64(), "length of the video, seconds"),
        ("times_real_time", pa.float64(), "that, over the seconds the episode's run took"),
        ("tracks", pa.int64(), "tracks found"),
        ("warnings", pa.string(), "such as frames that could not be read"),
        ("error", pa.string(), "why the episode is not done"),
        ("run", pa.string(), "page of its run in the Prefect UI; queued mode"),
        ("where", pa.string(), "line, row or entry of the list"),
        ("video", pa.string(), "path of the video"),
        ("input", pa.string(), "SHA-256 of video, options and output folder, where one was run"),
    ]
    return pa.schema(
        [
            pa.field(name, kind, name not in _NEVER_NULL, {"description": what})
            for name, kind, what in columns
        ]
    )


def failed_before(path: Path) -> dict[str, tuple[str, str]]:
    """Of the last backfill of that name: input and error of each episode that failed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read().to_pylist()
    except (OSError, pa.ArrowInvalid):
        return {}
    return {
        row["ep_id"]: (row["input"], row["error"].removesuffix(FAILED_BEFORE))
        for row in table
        if row.get("input") and row["state"] == Outcome.FAILED.value
    }


def write(path: Path, table: list[dict[str, Any]]) -> None:
    """Writes the table, whole or not at all.

    Raises:
        DiskFull, OutputError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_folder(path.parent)
    with written_whole(path) as temporary, writing(path):
        pq.write_table(pa.Table.from_pylist(table, schema()), temporary, compression="zstd")


def page_rows(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows for a page, which does not show thousands well; those of interest come first."""
    shown = [
        {name: row[name] for name in row if name not in ("run", "video", "input")}
        for row in table[:_ROWS_ON_A_PAGE]
    ]
    for line, row in zip(shown, table, strict=False):
        line["run"] = f"[run]({row['run']})" if row["run"] else ""
    return shown


def terminal_lines(table: list[dict[str, Any]], longest: int = 60) -> list[str]:
    """The table for a terminal: all of it, or where it is long, what went wrong and a few more."""
    wrong = [row for row in table if row["state"] not in _GOOD]
    number = min(max(len(wrong), longest // 2), _LINES)
    shown = table if len(table) <= longest else table[:number]
    head = ("episode", "state", "video", "x real time", "tracks", "")
    lines = [head, *(_cells(row) for row in shown)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=False))
        ]
        text.append("  ".join([*cells, line[-1]]).rstrip())
    if hidden := len(table) - len(shown):
        text.append(f"... and {hidden} more: see the table's file")
    return text


def failure_text(episodes: list[Episode], report: Path, named: int = 3) -> str:
    """One line: how many failed, the first of them, where to read on."""
    bad = sorted(
        (episode for episode in episodes if episode.outcome not in GOOD),
        key=lambda episode: _ORDER[episode.outcome],
    )
    words = [f"{episode.place}: {episode.error}" for episode in bad[:named]]
    more = f"; and {len(bad) - named} more" if len(bad) > named else ""
    verb = "was" if len(bad) == 1 else "were"
    start = f"{len(bad)} of {len(episodes)} episodes {verb} not done"
    return f"{start}: {'; '.join(words)}{more}; see {report}"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(value: float | None, pattern: str) -> str:
        return "" if value is None else format(value, pattern)

    words = row["error"] or row["warnings"]
    if row["error"] and row["where"]:
        words = f"{row['where']}: {words}"
    # The page has it as a link in Markdown.
    run = (row["run"] or "").removeprefix("[run](").removesuffix(")")
    video = number(row["video_seconds"], ".1f")
    return (
        row["ep_id"],
        row["state"],
        f"{video} s" if video else "",
        number(row["times_real_time"], ".1f"),
        number(row["tracks"], "d"),
        "; ".join(filter(None, (words, run))),
    )
