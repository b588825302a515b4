"""The list of episodes of a backfill, read from a folder, a pattern, one video or a list file.

A list file is read by its ending: `.csv`, `.tsv`, `.json` (an array), `.jsonl` or `.ndjson` (one
entry a line), `.parquet`; any other is text, one path a line, where blank lines and lines that
start with `#` are skipped. The columns are `video`, `ep_id` and the names of the options, with
'-' or '_'. Empty, null and NaN mean: not given. A relative path starts at the list's folder.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

from pipeline.episode import check_ep_id, ep_id_of
from pipeline.errors import FacetracksError, ListError, one_line
from pipeline.options import Options

_ENDINGS = ".mp4 .m4v .mkv .mov .avi .ts .mts .m2ts .mpg .mpeg .webm .wmv .flv .mxf .ogv .vob .y4m"
VIDEO_ENDINGS = tuple(_ENDINGS.split())
"""What makes a file in a folder count as a video; upper or lower case."""

COLUMNS = ("video", "ep_id", *Options.model_fields)
_KNOWN = f"the columns are {', '.join(COLUMNS)}"
_LARGEST_LIST_BYTES = 100_000_000
_FAULTS_SHOWN = 5
_WILDCARD = re.compile(r"[*?[]")
_NO_PATH = re.compile("[\0\ud800-\udfff]")

Row = tuple[str, Any]  # where it is; a tuple of its pairs of column and value, or only its video


@dataclass(frozen=True, slots=True)
class ListedEpisode:
    """One episode of a list; nobody has looked whether its video can be read.

    `where` is 'line 3', 'entry 3' (JSON array) or 'row 3' (Parquet), from 1, or empty. `video` is
    absolute, links are not followed. `ep_id` can name a folder; no other of the list has it.
    `options` are those given for this episode alone, as plain values that `Options` accepts.
    """

    where: str
    video: Path
    ep_id: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EpisodeList:
    """Episodes in the order of the list; `source` is absolute, `name` can name a file."""

    source: Path
    name: str
    episodes: tuple[ListedEpisode, ...]


def read_list(source: str | os.PathLike[str]) -> EpisodeList:
    """The episodes that `source` lists.

    A folder gives the videos directly in it. A pattern (`*`, `?`, `[...]`, `**` for any depth)
    gives the videos that match. Neither gives folders, hidden files or other endings than
    `VIDEO_ENDINGS`. A link that leads nowhere counts as a video, to be reported as missing.

    Raises:
        ListError: it cannot be read, lists nothing, or has faults; the first five are named.
    """
    given = os.fsdecode(source)
    if not given or _NO_PATH.search(given):
        raise ListError(f"{given!r} is no path in UTF-8: give a folder, pattern, video or list")
    path = Path(given).absolute()
    try:
        name, rows = _open(given, path)
        return EpisodeList(path, _safe_name(name), _Reader(path).take(rows))
    except OSError as error:
        raise ListError(f"{str(path)!r} cannot be read, {error.strerror}: check the path") from None
    except ListError as error:
        raise ListError(f"{str(path)!r}: {error}") from None


def _open(given: str, path: Path) -> tuple[str, Iterable[Row]]:
    """The name of the list, and its rows."""
    if _WILDCARD.search(given) and not path.exists() and not path.is_symlink():
        fixed = takewhile(lambda part: not _WILDCARD.search(part), Path(given).parts)
        names = glob.glob(given, recursive=True)  # noqa: PTH207 - Path's does not follow links
        return Path(*fixed).absolute().name, _video_rows(map(Path, names))
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return path.name, _video_rows(list(path.iterdir()))
    if not stat.S_ISREG(mode):
        raise ListError("not a regular file: give a folder, a video or a list")
    if path.name.lower().endswith(VIDEO_ENDINGS):
        return path.stem, [("", str(path))]
    if path.stat().st_size > _LARGEST_LIST_BYTES:
        raise ListError(f"too large for a list of episodes; videos have to end in {_ENDINGS}")
    return path.stem, _file_rows(path.read_bytes(), path.suffix.lower())


def _video_rows(paths: Iterable[Path]) -> Iterator[Row]:
    for path in sorted({path.absolute() for path in paths}):
        is_video = path.name.lower().endswith(VIDEO_ENDINGS) and not path.name.startswith(".")
        if is_video and not os.path.isdir(path):  # noqa: PTH112 - Path's raises at a closed folder
            yield "", str(path)


def _file_rows(data: bytes, ending: str) -> Iterator[Row]:
    if ending == ".parquet":
        return _parquet_rows(data)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if ending in (".csv", ".tsv"):
        return _csv_rows(data, "," if ending == ".csv" else "\t")
    if ending == ".json":
        return _json_rows(data)
    return _line_rows(data, is_json=ending in (".jsonl", ".ndjson"))


def _decoded(data: bytes) -> str:
    try:
        text, wrong = data.decode(), data.find(b"\0")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong < 0:
        return text
    line, byte = data.count(b"\n", 0, wrong) + 1, wrong - data.rfind(b"\n", 0, wrong)
    raise ListError(f"line {line}, byte {byte}: {data[wrong]:#04x} is not UTF-8: save it as UTF-8")


def _line_rows(data: bytes, is_json: bool) -> Iterator[Row]:
    for number, line in enumerate(_decoded(data).split("\n"), 1):
        text = line.strip()
        if text and is_json:
            yield f"line {number}", _parsed(line, number)
        elif text and not text.startswith("#"):
            yield f"line {number}", text


def _csv_rows(data: bytes, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_decoded(data), newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ListError(f"{where}: broken CSV ({error}): check the quotes there") from None
        while cells and not cells[-1].strip():
            cells.pop()
        if cells is None:
            return
        if cells and header:
            yield where, tuple(zip_longest(header, cells, fillvalue=""))
        elif cells:
            header = _columns(cells, is_header=True)


def _json_rows(data: bytes) -> Iterator[Row]:
    entries = _parsed(_decoded(data).rstrip() or "[]")
    if not isinstance(entries, list):
        raise ListError("not an array: write [...] around objects with the key 'video'")
    yield from ((f"entry {number}", entry) for number, entry in enumerate(entries, 1))


def _parsed(text: str, line: int = 1) -> Any:
    """The JSON value, objects as tuples of pairs; `line` is where the text starts."""
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        hint = "correct it (an array goes in .json, one entry a line in .jsonl)"
        raise ListError(f"{place}: broken JSON ({error.msg}): {hint}") from None
    except (ValueError, RecursionError) as error:
        raise ListError(f"line {line}: unusable JSON ({one_line(error)}): correct it") from None


def _parquet_rows(data: bytes) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = _columns(file.schema_arrow.names, is_header=True)
        columns = [column.to_pylist() for column in file.read(use_threads=False).columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ListError(f"broken Parquet ({one_line(error)}): write it again") from None
    for number, values in enumerate(zip(*columns, strict=True), 1):
        yield f"row {number}", tuple(zip(names, values, strict=True))


def _columns(names: Sequence[str], is_header: bool = False) -> list[str]:
    """The proper names of those columns; refuses unknown ones, and one given twice."""
    columns = [name.strip().replace("-", "_") for name in names]
    if "" in columns:
        raise ListError("a cell under no column name: name it, or quote text with separators")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        near = get_close_matches(unknown[0].lower(), COLUMNS, n=1)
        hint = "".join(f" (did you mean {name!r}?)" for name in near)
        raise ListError(f"unknown column {_first(list(map(repr, unknown)), ', ')}{hint}: {_KNOWN}")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ListError(f"column {twice!r} is there twice: keep one")
    if is_header and "video" not in columns:
        raise ListError(f"no column 'video' with the path of each video: {_KNOWN}")
    return columns


def _safe_name(name: str) -> str:
    """A name that passes `check_ep_id`, as like the given one as can be."""
    name = re.sub(r"[/\\\x00-\x1f\x7f]", "_", unicodedata.normalize("NFC", name))
    name = re.sub(r"\.{2,}", ".", name).lstrip(".").encode()[:180].decode(errors="ignore")
    return check_ep_id(name if name.strip() else "list")


def _first(texts: Sequence[str], separator: str) -> str:
    more = len(texts) - _FAULTS_SHOWN
    return separator.join(texts[:_FAULTS_SHOWN]) + (f"{separator}and {more} more" * (more > 0))


def _is_given(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value == value


def _path_text(value: Any) -> str:
    if not isinstance(value, str) or _NO_PATH.search(value):
        raise ListError(f"no video ({value!r}): give a path as UTF-8 text, or remove the entry")
    return value


def _ep_id(value: Any, video: Path) -> str:
    if value is None:
        return ep_id_of(video)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ListError(f"ep_id must be text (got {value!r}): store that column as text")
    return check_ep_id(str(value).strip())


def _identity(path: Path) -> object:
    """Device and inode; of what is not there, the real folder and the name."""
    try:
        found = path.stat()
    except OSError:
        return os.path.realpath(path.parent), path.name
    return found.st_dev, found.st_ino


class _Reader:
    """Turns rows into `episodes`; collects the faults and raises them together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.episodes: list[ListedEpisode] = []
        self._itself = _identity(path)
        self._faults: list[str] = []
        self._seen: dict[object, str] = {}
        self._options: dict[str, dict[str, Any]] = {}

    def take(self, rows: Iterable[Row]) -> tuple[ListedEpisode, ...]:
        try:
            for where, entry in rows:
                self._take_row(where, entry if isinstance(entry, tuple) else (("video", entry),))
        except ListError as error:
            self._faults.append(str(error))
        if self._faults or not self.episodes:
            nothing = f"lists no videos: add some (files that end in {_ENDINGS})"
            raise ListError(_first(self._faults, "; ") or nothing)
        return tuple(self.episodes)

    def _take_row(self, where: str, pairs: tuple[tuple[str, Any], ...]) -> None:
        try:
            columns = _columns([name for name, _ in pairs])
            values = {c: v for c, (_, v) in zip(columns, pairs, strict=True) if _is_given(v)}
            video = self.path.parent / _path_text(values.pop("video", None))
            ep_id = _ep_id(values.pop("ep_id", None), video)
            episode = ListedEpisode(where, video, ep_id, self._plain_options(values))
            self._check_new(episode)
            self.episodes.append(episode)
        except FacetracksError as error:
            self._faults.append(f"{where or repr(pairs[0][1])}: {error}"[:600])

    def _plain_options(self, given: dict[str, Any]) -> dict[str, Any]:
        key = repr(given) if given else ""
        if key not in self._options:
            plain = {k: v.strip() if isinstance(v, str) else v for k, v in given.items()}
            self._options[key] = Options.parse(plain).model_dump(mode="json", include=set(given))
        return dict(self._options[key])

    def _check_new(self, episode: ListedEpisode) -> None:
        """Refuses the list itself, and a file or ep_id that was listed before."""
        place = episode.where or repr(str(episode.video))
        file = _identity(episode.video)
        if episode.where and file == self._itself:
            raise ListError("the list names itself: give the path of a video")
        same = self._seen.setdefault(file, place)
        if same != place:
            raise ListError(f"the same file as {same}: remove one")
        same = self._seen.setdefault(episode.ep_id, place)
        if same != place:
            hint = "give each its own in an ep_id column (CSV, JSON, Parquet)"
            raise ListError(f"ep_id {episode.ep_id!r} is also that of {same}, another file: {hint}")
