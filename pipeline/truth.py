"""Boxes to score, and boxes to score them by, from the files people have them in.

Tracks: an episode folder, `tracks.parquet`, or MOTChallenge's result format. Truth: MOTChallenge's
`gt.txt`, or a CSV with a header. MOTChallenge counts frames from 1 and gives left, top, width and
height (Milan et al., "MOT16", 2016, section 4.1); here frames count from 0 and boxes are xyxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ResultError, one_line
from pipeline.tables import BOX_SIDES

if TYPE_CHECKING:
    import pandas as pd

TRACK_COLUMNS = ("frame_index", "track_id", *BOX_SIDES)
TRUTH_COLUMNS = ("frame", "shot", "face", *BOX_SIDES, "ignore")
_MOT_COLUMNS = ("frame", "id", "left", "top", "width", "height", "flag")


@dataclass(frozen=True)
class BoxRows:
    """Boxes with an identity, sorted by frame; no identity has two in a frame.

    Attributes:
        path: where they are from.
        frame: `(N,)` int64, 0-based.
        identity: `(N,)` int64.
        boxes: `(N, 4)` float32 xyxy pixels.
        ignore: `(N,)` bool: there, but neither a hit nor a miss. All False for tracks.
        frames: frames of the video, where that is known.
    """

    path: Path
    frame: NDArray[np.int64]
    identity: NDArray[np.int64]
    boxes: NDArray[np.float32]
    ignore: NDArray[np.bool_]
    frames: int | None = None


def read_tracks(path: Path) -> BoxRows:
    """Tracks from an episode folder, a `tracks.parquet`, or a MOTChallenge text file.

    A file without rows is a tracker that found nothing.

    Raises:
        ResultError: it is missing, cannot be read, or has wrong columns or values.
    """
    if path.is_dir():
        path = path / "tracks.parquet"
    _check_there(path, "an episode folder, its tracks.parquet, or a MOTChallenge text file")
    if path.suffix != ".parquet":
        return _mot_rows(path, _read_mot(path), truth=False)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        missing = [name for name in TRACK_COLUMNS if name not in pq.read_schema(path).names]
        if missing:
            raise ResultError(
                f"{path} has no column {missing[0]!r}: give the tracks.parquet of an episode"
            )
        table = pq.read_table(path, columns=[*TRACK_COLUMNS], memory_map=False).to_pandas()
        beside = path.with_name("frames.parquet")
        frames = pq.read_metadata(beside).num_rows if beside.is_file() else None
    except (OSError, pa.ArrowInvalid) as error:
        raise ResultError(f"{path} cannot be read ({one_line(error)}): run again") from None
    return rows_of_tracks(table, path, frames)


def rows_of_tracks(table: pd.DataFrame, path: Path, frames: int | None = None) -> BoxRows:
    """The rows of a `tracks.parquet` that is read already."""
    table = table.rename(columns={"frame_index": "frame", "track_id": "identity"})
    return _rows(path, table.assign(ignore=False), frames)


def read_truth(path: Path) -> BoxRows:
    """Truth from a MOTChallenge `gt.txt`, or from a CSV with the columns `TRUTH_COLUMNS`.

    In the CSV an identity is a face within one shot. In MOTChallenge's format it is an id, and a
    row whose seventh field (the flag whether to consider it) is 0 is to be ignored.

    Raises:
        ResultError: it is missing, cannot be read, has wrong columns or values, or no face that
            counts.
    """
    _check_there(path, f"a MOTChallenge gt.txt, or a CSV with {','.join(TRUTH_COLUMNS)}")
    rows = _truth_csv(path) if _has_header(path) else _mot_rows(path, _read_mot(path), truth=True)
    if rows.ignore.all():
        raise ResultError(f"{path} has no face that counts: there is nothing to score by")
    return rows


def _check_there(path: Path, what: str) -> None:
    if not path.is_file():
        raise ResultError(f"{path} does not exist or is no file: give {what}")


def _has_header(path: Path) -> bool:
    """Whether the file begins with something else than a number."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            float(file.readline().split(",")[0] or "0")
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror}): check the path") from None
    except ValueError:
        return True
    return False


def _truth_csv(path: Path) -> BoxRows:
    table = _read_csv(path, header=0)
    for name in TRUTH_COLUMNS:
        if name not in table.columns:
            raise ResultError(
                f"{path} has no column {name!r}: its first line should be {','.join(TRUTH_COLUMNS)}"
            )
    numbers = [name for name in TRUTH_COLUMNS if name != "face"]
    table[numbers] = _as_numbers(path, table[numbers], first_line=2)
    _check_frames(path, table["frame"], first=0)
    if not table["ignore"].isin((0, 1)).all():
        raise ResultError(f"{path}: ignore has to be 0 or 1 in every row")
    identity = table.groupby(["shot", "face"]).ngroup()
    return _rows(path, table.assign(identity=identity, ignore=table["ignore"] == 1), None)


def _read_mot(path: Path) -> pd.DataFrame:
    table = _read_csv(path, header=None)
    if len(table.columns) and len(table.columns) < len(_MOT_COLUMNS):
        raise ResultError(
            f"{path} has {len(table.columns)} columns, MOTChallenge's format at least "
            f"{len(_MOT_COLUMNS)}: {','.join(_MOT_COLUMNS)}"
        )
    table = table.iloc[:, : len(_MOT_COLUMNS)]
    table.columns = [*_MOT_COLUMNS[: len(table.columns)]]
    return table.reindex(columns=[*_MOT_COLUMNS])


def _mot_rows(path: Path, table: pd.DataFrame, truth: bool) -> BoxRows:
    table = _as_numbers(path, table, first_line=1)
    _check_frames(path, table["frame"], first=1)
    return _rows(
        path,
        table.assign(
            frame=table["frame"] - 1,
            identity=table["id"],
            x1=table["left"],
            y1=table["top"],
            x2=table["left"] + table["width"],
            y2=table["top"] + table["height"],
            # In results the seventh field is a score.
            ignore=(table["flag"] == 0) & truth,
        ),
        None,
    )


def _read_csv(path: Path, header: int | None) -> pd.DataFrame:
    import pandas as pd

    try:
        table: pd.DataFrame = pd.read_csv(path, header=header, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} is no table of numbers ({one_line(error)})") from None
    return table


def _as_numbers(path: Path, table: pd.DataFrame, first_line: int) -> pd.DataFrame:
    """The table as floats; names the first line with something else."""
    import pandas as pd

    numbers: pd.DataFrame = table.apply(pd.to_numeric, errors="coerce").astype("float64")
    wrong = np.argwhere(~np.isfinite(numbers.to_numpy()))
    if len(wrong):
        row, column = wrong[0]
        name, value = table.columns[column], table.iat[row, column]
        raise ResultError(f"{path}, line {row + first_line}: {name} is {value!r}, not a number")
    return numbers


def _check_frames(path: Path, frame: pd.Series[float], first: int) -> None:
    wrong = frame[(frame < first) | (frame % 1 != 0)]
    if len(wrong):
        raise ResultError(
            f"{path}: frame {wrong.iloc[0]:g} is out of range: "
            f"this format counts frames from {first} in whole numbers"
        )


def _rows(path: Path, table: pd.DataFrame, frames: int | None) -> BoxRows:
    frame = np.asarray(table["frame"], np.int64)
    identity = np.asarray(table["identity"], np.int64)
    order = np.lexsort((identity, frame))
    frame, identity = frame[order], identity[order]
    twice = np.flatnonzero((frame[1:] == frame[:-1]) & (identity[1:] == identity[:-1]))
    if len(twice):
        raise ResultError(
            f"{path}: one identity has two boxes in frame {frame[twice[0]]} (counted from 0)"
        )
    boxes: NDArray[Any] = table[[*BOX_SIDES]].to_numpy(np.float32).reshape(-1, 4)[order]
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ResultError(f"{path}: a box is empty: x2 and y2 have to be larger than x1 and y1")
    return BoxRows(path, frame, identity, boxes, np.asarray(table["ignore"], bool)[order], frames)
