"""The Parquet files: their columns, units and footers. This module is the contract.

Footers carry the schema version, the fingerprint of the video and the hash of the options, and
no clock time: the same input and options give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ResultError
from pipeline.files import writing, written_whole
from pipeline.footer import Footer, facts_metadata
from pipeline.model_table import SFACE, Asset

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Left and right as seen in the picture."""

BOX_SIDES = ("x1", "y1", "x2", "y2")

_ROWS_PER_GROUP = 65_536
_ROWS_GATHERED = 1024


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=nullable, metadata={"description": doc})


_EP_ID = _field("ep_id", pa.string(), "episode")
_FRAME = _field("frame_index", pa.int64(), "frame, 0-based, in decoding order")
_PTS = _field("pts_s", pa.float64(), "presentation time on the container's clock, seconds")
_SHOT = _field("shot_id", pa.int32(), "shot, 0-based")
_TRACK = _field("track_id", pa.int64(), "track, 1-based, unique in the episode")
_BOX = [
    _field("x1", pa.float32(), "left edge of the box, pixels of the stored, upright frame"),
    _field("y1", pa.float32(), "top edge, pixels"),
    _field("x2", pa.float32(), "right edge, pixels"),
    _field("y2", pa.float32(), "bottom edge, pixels"),
]

FRAMES = pa.schema(
    [
        _EP_ID,
        _FRAME,
        _PTS,
        _SHOT,
        _field("looked_at", pa.bool_(), "whether the detector saw this frame"),
    ]
)
"""One row a decoded frame."""

DETECTIONS = pa.schema(
    [
        _EP_ID,
        _FRAME,
        _PTS,
        _SHOT,
        _field("det_id", pa.int64(), "detection, 0-based, unique in the episode"),
        *_BOX,
        _field("score", pa.float32(), "the detector's confidence, 0 to 1"),
        *(
            _field(f"{name}_{axis}", pa.float32(), f"{name.replace('_', ' ')} {axis}, pixels")
            for name in LANDMARKS
            for axis in "xy"
        ),
    ]
)
"""One row a face a frame that was looked at."""


def embeddings_schema(embedder: Asset) -> pa.Schema:
    """One row an embedded face; only with `--tracker strongsort`."""
    vector = pa.list_(pa.float32(), embedder.dimensions)
    return pa.schema(
        [
            _field("det_id", pa.int64(), "the detection that was embedded"),
            _field("embedding", vector, f"{embedder.method} vector of length 1"),
        ]
    )


EMBEDDINGS = embeddings_schema(SFACE)
"""With the default embedder."""

TRACKS = pa.schema(
    [
        _EP_ID,
        _FRAME,
        _PTS,
        _SHOT,
        _TRACK,
        _field("det_id", pa.int64(), "the detection; null where interpolated", nullable=True),
        *_BOX,
        _field("score", pa.float32(), "the detection's score; null where interpolated", True),
        _field("interpolated", pa.bool_(), "filled in between two detections of the track"),
    ]
)
"""One row a tracked face a frame, with the detector's own box."""

TRACK_SUMMARY = pa.schema(
    [
        _EP_ID,
        _TRACK,
        _SHOT,
        _field("first_frame", pa.int64(), "first frame of the track"),
        _field("last_frame", pa.int64(), "last frame of the track"),
        _field("first_pts_s", pa.float64(), "presentation time of the first frame, seconds"),
        _field("last_pts_s", pa.float64(), "presentation time of the last frame, seconds"),
        _field("length_s", pa.float64(), "last_pts_s - first_pts_s, seconds"),
        _field("rows", pa.int64(), "rows in tracks.parquet"),
        _field("detections", pa.int64(), "rows that are detections, not interpolated"),
        _field("mean_score", pa.float32(), "mean score of the detections"),
        _field("best_frame", pa.int64(), "frame of the detection with the best score"),
        _field("best_det_id", pa.int64(), "that detection"),
    ]
)
"""One row a track."""


class TableWriter:
    """Takes rows as they come and writes them in row groups of a fixed size."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, path: Path) -> None:
        """
        Args:
            path: the file as a person knows it, for error messages.
        """
        self.rows = 0
        self._writer = writer
        self._path = path
        self._schema = schema
        self._given: list[Mapping[str, Any]] = []
        self._given_rows = 0
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def append(self, columns: Mapping[str, Any]) -> None:
        """Adds rows. Arrow costs by the call more than by the row, so that calls are gathered.

        Args:
            columns: all columns of the schema, arrays or lists of one length; not changed later.
        """
        rows = len(columns[self._schema.names[0]])
        self.rows += rows
        self._given.append(columns)
        self._given_rows += rows
        if self._given_rows >= _ROWS_GATHERED:
            self._take_in()

    def _take_in(self) -> None:
        """Makes a table of what was given."""
        if not self._given:
            return
        arrays = [
            _array([columns[field.name] for columns in self._given], field.type)
            for field in self._schema
        ]
        self._given.clear()
        self._given_rows = 0
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        while self._waiting_rows >= _ROWS_PER_GROUP:
            self._flush(_ROWS_PER_GROUP)

    def annotate(self, facts: Mapping[str, Any]) -> None:
        """Puts facts into the file's footer, for `read_facts`."""
        self._writer.add_key_value_metadata(facts_metadata(facts))

    def _flush(self, rows: int) -> None:
        table = pa.concat_tables(self._waiting).combine_chunks()
        with writing(self._path):
            self._writer.write_table(table.slice(0, rows))
        self._waiting = [table.slice(rows)]
        self._waiting_rows = table.num_rows - rows

    def finish(self) -> None:
        """Writes what is left, and the footer.

        Raises:
            DiskFull, OutputError: it cannot be written.
        """
        self._take_in()
        if self._waiting_rows:
            self._flush(self._waiting_rows)
        with writing(self._path):
            self._writer.close()


def _array(parts: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """One array of several; all are lists, or all numpy's, or all Arrow's."""
    if isinstance(parts[0], pa.Array):
        joined: pa.Array[Any] = pa.concat_arrays(parts).cast(kind)
        return joined
    if isinstance(parts[0], np.ndarray):
        return pa.array(np.concatenate(parts), kind, from_pandas=False)
    return pa.array([*chain.from_iterable(parts)], kind, from_pandas=False)


def warm() -> None:
    """Imports what pyarrow imports when it is first given an array, or asked for a table: 0.5 s."""
    import pandas
    import pyarrow.compute
    import pyarrow.dataset

    assert pandas and pyarrow.compute and pyarrow.dataset


@contextmanager
def table_writer(path: Path, schema: pa.Schema, footer: Footer) -> Iterator[TableWriter]:
    """A file that appears whole when the block ends, and not at all where it fails.

    Raises:
        DiskFull, OutputError: it cannot be written.
    """
    stamped = schema.with_metadata(footer.metadata())
    with written_whole(path) as temporary:
        with writing(path):
            parquet = pq.ParquetWriter(temporary, stamped, compression="zstd")
        try:
            writer = TableWriter(parquet, stamped, path)
            yield writer
            writer.finish()
        except BaseException:
            with suppress(OSError):
                parquet.close()
            raise


def read_table(path: Path) -> pa.Table:
    """All rows of a file of ours.

    Raises:
        ResultError: it is missing or damaged.
    """
    try:
        return pq.read_table(path, memory_map=False)
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist: run `facetracks detect VIDEO` first") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise ResultError(f"{path} cannot be read ({error}): run again with --force") from None


def column(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    """A column without nulls, as a numpy array."""
    return np.asarray(table.column(name).to_numpy())


def plain_type(field: pa.Field[Any]) -> str:
    """The column's type, in a word for people: `int64`, `float32?` where it can be null."""
    if pa.types.is_fixed_size_list(field.type):
        return f"float32[{field.type.list_size}]"
    kind = str(field.type)
    return {"float": "float32", "double": "float64"}.get(kind, kind) + "?" * field.nullable
