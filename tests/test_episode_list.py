"""Lists of episodes: what each kind of source gives, and how each fault is told.

The videos are empty files; nothing here decodes.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.episode_list import COLUMNS, VIDEO_ENDINGS, ListedEpisode, read_list
from pipeline.errors import FacetracksError, ListError, error_named
from pipeline.options import Options

BOM = b"\xef\xbb\xbf"


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _names(source: str | Path, start: Path) -> list[str]:
    return [str(episode.video.relative_to(start)) for episode in read_list(source).episodes]


def _fault(source: str | Path) -> str:
    """The message of the refusal, which has to be one printable line that names the source."""
    with pytest.raises(ListError) as caught:
        read_list(source)
    message = str(caught.value)
    assert message.isprintable()
    assert Path(source).name in message or not Path(source).name.isprintable()
    assert caught.value.exit_code == 2
    return message


def test_a_folder_gives_its_videos_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "season 1"
    _touch(folder, "b.mp4", "a.MKV", "Ä.webm", ".hidden.mp4", "notes.txt", "deeper/c.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "gone.mp4").symlink_to(folder / "not there")
    listed = read_list(folder)
    assert _names(folder, folder) == ["a.MKV", "b.mp4", "gone.mp4", "Ä.webm"]
    assert (listed.source, listed.name) == (folder, "season 1")
    assert listed.episodes[0] == ListedEpisode("", folder / "a.MKV", "a", {})


@pytest.mark.parametrize("ending", VIDEO_ENDINGS)
def test_every_video_ending_counts(tmp_path: Path, ending: str) -> None:
    _touch(tmp_path, f"a{ending}", f"b{ending.upper()}", f"c{ending}.part")
    assert _names(tmp_path, tmp_path) == [f"a{ending}", f"b{ending.upper()}"]
    assert _names(tmp_path / f"a{ending}", tmp_path) == [f"a{ending}"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("s1/*.mp4", ["s1/a.mp4", "s1/b.mp4"]),
        ("s1/*", ["s1/a.mp4", "s1/b.mp4"]),
        ("s?/[ac].mp4", ["s1/a.mp4", "s2/c.mp4"]),
        ("**/*.mp4", ["s1/a.mp4", "s1/b.mp4", "s1/x/y/d.mp4", "s2/c.mp4"]),
        ("**", ["s1/a.mp4", "s1/b.mp4", "s1/x/y/d.mp4", "s2/c.mp4"]),
        ("**/**/c.mp4", ["s2/c.mp4"]),
    ],
)
def test_a_pattern_gives_the_videos_that_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    _touch(tmp_path, "s1/b.mp4", "s1/a.mp4", "s1/a.txt", "s1/.h.mp4", "s2/c.mp4", "s1/x/y/d.mp4")
    (tmp_path / "s1" / "folder.mp4").mkdir()
    assert _names(tmp_path / pattern, tmp_path) == expected
    monkeypatch.chdir(tmp_path)
    assert _names(pattern, tmp_path) == expected


def test_a_relative_pattern_does_not_read_the_working_folder_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "a[1]/x.mp4")
    monkeypatch.chdir(tmp_path / "a[1]")
    assert _names("*.mp4", tmp_path / "a[1]") == ["x.mp4"]
    assert read_list("*.mp4").name == "a[1]"


def test_a_name_that_looks_like_a_pattern_but_exists_is_a_name(tmp_path: Path) -> None:
    _touch(tmp_path, "a[1].mp4", "a1.mp4", "f*/b.mp4")
    assert _names(tmp_path / "a[1].mp4", tmp_path) == ["a[1].mp4"]
    assert _names(tmp_path / "f*", tmp_path) == ["f*/b.mp4"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("lists/week 1.csv", "week 1"), ("s1", "s1"), ("s1/a.mp4", "a"), ("s1/*.mp4", "s1"),
        ("?1/a.mp4", "root"), ("s1/**/*.mp4", "s1"), ("lists/..hid..den.csv", "hid.den"),
        ("lists/a\\b\x01.csv", "a_b_"), ("lists/e\u0301.csv", "\u00e9"), ("link", "link"),
        ("s1/..", "list"),
    ],
)  # fmt: skip
def test_the_name_of_a_list(tmp_path: Path, source: str, name: str) -> None:
    root = tmp_path / "root"
    _touch(root, "s1/a.mp4", "b.mp4")
    (root / "link").symlink_to("s1")
    path = root / source
    if path.parent.name == "lists":
        path.parent.mkdir()
        path.write_text("video\n../s1/a.mp4\n")
    assert read_list(path).name == name


def test_a_source_may_be_a_string_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "s/a.mp4")
    monkeypatch.chdir(tmp_path)
    listed = read_list("s")
    assert listed.source == tmp_path / "s"
    assert listed.episodes[0].video == tmp_path / "s" / "a.mp4"


ROWS: list[dict[str, Any]] = [
    {"video": "a b.mp4", "ep_id": "pilot", "stride": 3, "tracker": "strongsort"},
    {"video": "/abs/é.mkv", "ep_id": None, "stride": None, "tracker": None},
]


def _write_table(path: Path, rows: Sequence[dict[str, Any]], delimiter: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, tuple[Callable[[Path, Sequence[dict[str, Any]]], object], str, int]] = {
    ".csv": (lambda path, rows: _write_table(path, rows, ","), "line", 2),
    ".TSV": (lambda path, rows: _write_table(path, rows, "\t"), "line", 2),
    ".json": (lambda path, rows: path.write_text(json.dumps(rows, indent=1)), "entry", 1),
    ".jsonl": (lambda path, rows: path.write_text("\n".join(map(json.dumps, rows))), "line", 1),
    ".ndjson": (lambda path, rows: path.write_text("\n".join(map(json.dumps, rows))), "line", 1),
    ".parquet": (lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path), "row", 1),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_every_table_says_the_same(tmp_path: Path, ending: str) -> None:
    write, word, first = WRITERS[ending]
    path = tmp_path / f"list{ending}"
    write(path, ROWS)
    assert read_list(path).episodes == (
        ListedEpisode(
            f"{word} {first}", tmp_path / "a b.mp4", "pilot", {"stride": 3, "tracker": "strongsort"}
        ),
        ListedEpisode(f"{word} {first + 1}", Path("/abs/é.mkv"), "é", {}),
    )


@pytest.mark.parametrize("ending", [".txt", ".list", ".lst", ".TXT", "", ".other"])
def test_a_text_list_has_a_path_a_line(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list{ending}"
    path.write_bytes(BOM + "a b.mp4\r\n\r\n  # no\n\tdir/é.mkv \n#x\n/abs/c#1.mp4".encode())
    assert [(episode.where, episode.video) for episode in read_list(path).episodes] == [
        ("line 1", tmp_path / "a b.mp4"),
        ("line 4", tmp_path / "dir/é.mkv"),
        ("line 6", Path("/abs/c#1.mp4")),
    ]


def test_relative_paths_start_where_the_list_was_given_not_where_it_is_stored(
    tmp_path: Path,
) -> None:
    _touch(tmp_path, "stored/x")
    (tmp_path / "stored" / "real.txt").write_text("a.mp4\n~/b.mp4\n")
    (tmp_path / "list.txt").symlink_to("stored/real.txt")
    assert _names(tmp_path / "list.txt", tmp_path) == ["a.mp4", "~/b.mp4"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Windows line ends and a byte order mark.
        (b"\xef\xbb\xbfvideo,stride\r\na.mp4,2\r\n", [("line 2", "a.mp4", {"stride": 2})]),
        # Blank lines and rows of empty cells, as spreadsheets write them.
        (b"\n\nvideo,stride\n\na.mp4\n,,\n \nb.mp4,\n", [("line 5", "a.mp4", {}),
                                                         ("line 8", "b.mp4", {})]),
        # Cells of several lines are counted as lines of the file.
        (b'video,ep_id\n"a\nb.mp4",x\nc.mp4,y\n', [("line 2", "a\nb.mp4", {}),
                                                   ("line 4", "c.mp4", {})]),
        # Spaces in the header, '-' for '_', and separators at the end of lines.
        (b" video , det-size,\na.mp4, 320 ,\n", [("line 2", "a.mp4", {"det_size": 320})]),
        # Quotes, and a name with spaces around it, which CSV keeps.
        (b'video\n"say ""hi"", x.mp4"\n" y.mp4 "\n', [("line 2", 'say "hi", x.mp4', {}),
                                                      ("line 3", " y.mp4 ", {})]),
        # Text becomes what the option is.
        (b"video,min_score,profile\na.mp4,.5,low_power\n",
         [("line 2", "a.mp4", {"min_score": 0.5, "profile": "low_power"})]),
    ],
)  # fmt: skip
def test_a_csv_file_is_read_as_people_and_programs_write_them(
    tmp_path: Path, text: bytes, expected: list[tuple[str, str, dict[str, Any]]]
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text)
    found = [
        (e.where, str(e.video.relative_to(tmp_path)), e.options) for e in read_list(path).episodes
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", '["a.mp4", {"video": "b.mp4", "ep_id": 7, "min-score": NaN, "stride": ""}]'),
        ("l.jsonl", '"a.mp4"\r\n\r\n{"video": "b.mp4", "ep_id": " 7 ", "stride": null}\r\n'),
    ],
)
def test_json_entries_may_be_paths_and_ids_numbers(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert [(e.video.name, e.ep_id, e.options) for e in read_list(tmp_path / name).episodes] == [
        ("a.mp4", "a", {}),
        ("b.mp4", "7", {}),
    ]


def test_parquet_columns_may_have_any_fitting_type(tmp_path: Path) -> None:
    table = pa.table(
        {
            "video": pa.array(["a.mp4", "b.mp4"]).dictionary_encode(),
            "ep_id": pa.array([1, None], pa.int64()),
            "stride": pa.array([2.0, float("nan")]),
            "min_face": pa.array([None, 3], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "l.parquet")
    first, second = read_list(tmp_path / "l.parquet").episodes
    assert (first.ep_id, first.options) == ("1", {"stride": 2})
    assert (second.ep_id, second.options) == ("b", {"min_face": 3.0})
    assert type(first.options["stride"]) is int


def test_options_are_plain_and_belong_to_one_episode(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("video,device,max_gap_s\na.mp4,cpu,2\nb.mp4,cpu,2\n")
    first, second = read_list(tmp_path / "l.csv").episodes
    assert json.loads(json.dumps(first.options)) == {"device": "cpu", "max_gap_s": 2.0}
    assert Options.parse(first.options).max_gap_s == 2.0
    first.options.clear()
    assert second.options


def test_a_missing_or_unreadable_video_stays_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "l.txt").write_text(f"gone/a.mp4\nloop.mp4\nloop.mp4/x.mp4\n{'n' * 100}/b.mp4\n.\n")
    assert len(read_list(tmp_path / "l.txt").episodes) == 5


def test_ids_that_differ_in_case_are_two(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a/pilot.mp4\nb/Pilot.mp4\n")
    assert [e.ep_id for e in read_list(tmp_path / "l.txt").episodes] == ["pilot", "Pilot"]


def test_list_errors_can_be_carried_across_processes() -> None:
    assert isinstance(error_named("ListError", "x"), ListError)
    assert issubclass(ListError, FacetracksError)


@pytest.mark.parametrize("source", ["gone.csv", "gone.mp4", "gone/x.csv", "file/x.csv"])
def test_a_source_that_is_not_there(tmp_path: Path, source: str) -> None:
    _touch(tmp_path, "file")
    assert "cannot be read, No" in _fault(tmp_path / source)


@pytest.mark.parametrize("source", ["", "a\0b.csv", "a\udcffb.csv", "a\ud800*"])
def test_a_source_that_is_no_path(source: str) -> None:
    with pytest.raises(ListError, match="is no path in UTF-8"):
        read_list(source)


@pytest.mark.parametrize("name", ["l.csv", "l.parquet", "l.txt", "l", "l.mp4"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "not a regular file" in _fault(tmp_path / name)
    assert "not a regular file" in _fault("/dev/zero")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["l.csv", "l.parquet", "folder"])
def test_a_source_that_may_not_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.touch()
    path.chmod(0)
    try:
        assert "Permission denied" in _fault(path)
    finally:
        path.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails to read")
def test_a_list_that_fails_to_read() -> None:
    assert "Input/output error" in _fault("/proc/self/mem")


def test_a_video_with_an_unknown_ending_is_not_read_as_a_list(tmp_path: Path) -> None:
    with (tmp_path / "big.video").open("wb") as file:
        file.truncate(200_000_000)
    assert "too large for a list" in _fault(tmp_path / "big.video")


@pytest.mark.parametrize(
    "source", ["folder.csv", "*.avi", "gone/*.mp4", "[.mp4", "e.txt", "e.csv", "e.json", "e.jsonl",
               "header.csv", "none.json", "comment.txt", "none.parquet"],
)  # fmt: skip
def test_nothing_to_do_is_a_fault(tmp_path: Path, source: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    _touch(tmp_path, "folder.csv/x.txt", "e.txt", "e.csv", "e.json", "e.jsonl")
    (tmp_path / "header.csv").write_text("video\n\n")
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "comment.txt").write_text("# a.mp4\n")
    pq.write_table(pa.table({"video": pa.array([], pa.string())}), tmp_path / "none.parquet")
    message = _fault(tmp_path / source)
    assert "lists no videos" in message
    assert ".mkv" in message


CONTENT_FAULTS: list[tuple[str, str | bytes, list[str]]] = [
    # Not UTF-8: Latin-1, UTF-16, NUL; bytes are counted from 1 in their line.
    ("l.txt", b"a.mp4\nb\xe9.mp4\n", ["line 2, byte 2: 0xe9 is not UTF-8"]),
    ("l.csv", BOM + b"video\n\xff.mp4\n", ["line 2, byte 1: 0xff"]),
    ("l.txt", "a.mp4".encode("utf-16"), ["line 1, byte 1: 0xff"]),
    ("l.json", '["a.mp4"]'.encode("utf-16-be"), ["line 1, byte 1: 0x00"]),
    ("l.jsonl", b'"a.mp4"\n"a\0.mp4"', ["line 2, byte 3: 0x00"]),
    # Broken CSV.
    ("l.csv", 'video\n"a".mp4\n', ["line 2: broken CSV", "quotes"]),
    ("l.csv", 'video\na.mp4\n"b.mp4\n\nc.mp4\n', ["line 3: broken CSV", "quotes"]),
    ("l.csv", "video\n" + "a" * 200_000, ["line 2: broken CSV (field larger"]),
    ("l.csv", "video,ep_id\na.mp4,x\na,b.mp4,y\n", ["line 3: a cell under no column", "quote"]),
    # Headers.
    ("l.csv", "path,stride\na.mp4,2\n", ["unknown column 'path'", ", ".join(COLUMNS)]),
    ("l.csv", "video,Stride,x\na.mp4,2,3\n", ["'Stride', 'x'", "did you mean 'stride'?"]),
    ("l.csv", "video;ep_id\na.mp4;x\n", ["unknown column 'video;ep_id'"]),
    ("l.csv", ",video\n0,a.mp4\n", ["a cell under no column name"]),
    ("l.csv", "ep_id,stride\nx,2\n", ["no column 'video'"]),
    ("l.csv", "video,det-size,det_size\na.mp4,1,2\n", ["column 'det_size' is there twice"]),
    # Broken JSON.
    ("l.json", '["a.mp4",\n "b.mp4"\n "c.mp4"]', ["line 3, column 2: broken JSON", "delimiter"]),
    ("l.json", '{"video": "a"}\n{"video": "b"}', ["line 2, column 1", ".jsonl"]),
    ("l.json", '{"episodes": []}', ["not an array"]),
    ("l.json", "[" * 100_000, ["unusable JSON"]),
    ("l.json", f"[{'9' * 5000}]", ["unusable JSON"]),
    ("l.jsonl", '"a.mp4"\n\n{"video": }\n', ["line 3, column 11: broken JSON"]),
    ("l.jsonl", '["a.mp4"]\n', ["line 1: no video (['a.mp4'])"]),
    ("l.json", '[{"video": "a.mp4", "video": "b"}]', ["entry 1: column 'video' is there twice"]),
    ("l.json", '["a.mp4", {"video": "b.mp4", "strid": 1}]', ["entry 2: unknown column 'strid'"]),
    # Broken Parquet.
    ("l.parquet", b"", ["broken Parquet"]),
    ("l.parquet", b"PAR1 nonsense PAR1", ["broken Parquet"]),
    # Rows without a video, or with something else in its place.
    ("l.csv", "video,ep_id\na.mp4,x\n ,y\n", ["line 3: no video"]),
    ("l.json", '[{}, null, 5, {"video": null}, {"video": ["a"]}, "\\u0000", "\\ud800"]',
     ["entry 1: no video", "entry 2: no video", "entry 3: no video (5)", "entry 4",
      "entry 5: no video (['a'])", "and 2 more"]),
    ("l.json", '["a\\u0000.mp4"]', ["entry 1: no video ('a\\x00.mp4')"]),
    ("l.json", '["a\\udcff.mp4"]', ["entry 1: no video ('a\\udcff.mp4')"]),
    # Ids that cannot be.
    ("l.csv", "video,ep_id\na.mp4,x/y\n", ["line 2: ep_id 'x/y' cannot name a folder"]),
    ("l.csv", f"video,ep_id\na.mp4,{'x' * 181}\n", ["line 2: ep_id is longer than 180 bytes"]),
    ("l.txt", f"{'x' * 200}.mp4\n", ["line 1: ep_id is longer"]),
    ("l.json", '[{"video": "a.mp4", "ep_id": 1.0}]', ["entry 1: ep_id must be text (got 1.0)"]),
    ("l.json", '[{"video": "a.mp4", "ep_id": true}]', ["ep_id must be text (got True)"]),
    # Options that cannot be.
    ("l.csv", "video,stride\na.mp4,2\nb.mp4,0\n", ["line 3: stride: ", "(got '0')"]),
    ("l.csv", "video,min-score\na.mp4,high\n", ["line 2: min_score: ", "(got 'high')"]),
    ("l.jsonl", '{"video": "a.mp4", "stride": {"a": [1]}}', ["line 1: stride: "]),
    ("l.csv", f"video,tracker\na.mp4,{'x' * 9999}\n", ["line 2: tracker: "]),
    # The same id for two files, also if only spelt differently in Unicode.
    ("l.txt", "s1/x.mp4\n\ns2/x.mkv\n", ["line 3: ep_id 'x' is also that of line 1", "column"]),
    ("l.csv", "video,ep_id\na.mp4,e\u0301\nb.mp4,\u00e9\n", ["line 3: ep_id 'é'", "line 2"]),
    ("l.csv", "video,ep_id\na.mp4,b\nb.mp4,\n", ["line 3: ep_id 'b' is also that of line 2"]),
    # The same file twice, there or not.
    ("l.txt", "there.mp4\nlink.mp4\n", ["line 2: the same file as line 1: remove one"]),
    ("l.txt", "there.mp4\nhard.mp4\n", ["line 2: the same file as line 1"]),
    ("l.csv", "video,ep_id\nthere.mp4,x\nloop/there.mp4,y\n", ["line 3: the same file as line 2"]),
    ("l.txt", "gone.mp4\nloop/../{here}/gone.mp4\n", ["line 2: the same file as line 1"]),
    ("l.txt", "there.mp4\nl.txt\n", ["line 2: the list names itself"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "says"),
    CONTENT_FAULTS,
    ids=[f"{number}-{fault[0]}" for number, fault in enumerate(CONTENT_FAULTS)],
)
def test_a_fault_in_a_list_is_told_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, says: list[str]
) -> None:
    (tmp_path / "there.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to("there.mp4")
    (tmp_path / "hard.mp4").hardlink_to(tmp_path / "there.mp4")
    (tmp_path / "loop").symlink_to(".")
    if isinstance(content, str):
        content = content.replace("{here}", tmp_path.name).encode()
    (tmp_path / name).write_bytes(content)
    message = _fault(tmp_path / name)
    assert len(message) < 4000
    for words in says:
        assert words in message


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"video": ["a.mp4"], "ep_id": [1.0]}, "row 1: ep_id must be text (got 1.0)"),
        ({"video": ["a.mp4", None]}, "row 2: no video"),
        ({"video": [b"a.mp4"]}, "row 1: no video (b'a.mp4')"),
        ({"file": ["a.mp4"]}, "unknown column 'file'"),
        ({"stride": [1]}, "no column 'video'"),
        ({"video": ["a.mp4"], "stride": [251]}, "row 1: stride: "),
    ],
)
def test_a_fault_in_a_parquet_list(
    tmp_path: Path, columns: dict[str, list[Any]], says: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    assert says in _fault(tmp_path / "l.parquet")


def test_parquet_columns_with_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["video", "video"])
    pq.write_table(table, tmp_path / "l.parquet")
    assert "column 'video' is there twice" in _fault(tmp_path / "l.parquet")


def test_the_first_five_faults_are_told_and_the_others_counted(tmp_path: Path) -> None:
    rows = "".join(f"{n}.mp4,{0 if n % 2 else 1}\n" for n in range(20))
    (tmp_path / "l.csv").write_text(f"video,stride\n{rows}")
    message = _fault(tmp_path / "l.csv")
    assert [f"line {n}:" in message for n in (3, 5, 7, 9, 11, 13)] == [True] * 5 + [False]
    assert message.endswith("; and 5 more")


@pytest.mark.parametrize("source", ["", "*.m*", "**/*.mp4"])
def test_videos_of_one_folder_or_pattern_that_clash(tmp_path: Path, source: str) -> None:
    _touch(tmp_path, "x.mp4", "x.mkv", "deeper/x.mp4")
    with pytest.raises(ListError, match=r"'.*x\.mp4': ep_id 'x' is also that of '.*/x\.m"):
        read_list(tmp_path / source)


def test_a_name_in_a_folder_that_is_not_utf8(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.mp4")).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert "a\\udcff.mp4': no video" in _fault(tmp_path)


def test_a_list_whose_name_has_line_breaks_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb.csv").touch()
    assert "a\\nb.csv" in _fault(tmp_path / "a\nb.csv")


NAMES = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" ,;\"'#\t"), max_size=30
).filter(lambda name: name.strip() not in ("", ".", "..") and "/" not in name)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    delimiter=st.sampled_from([(".csv", ","), (".tsv", "\t")]),
    stride=st.none() | st.integers(1, 250),
    score=st.none() | st.floats(0, 1),
)
def test_what_a_csv_writer_writes_is_read_back(
    names: list[str], delimiter: tuple[str, str], stride: int | None, score: float | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"list{delimiter[0]}")
        rows = [
            {"video": name, "ep_id": f"e{number}", "stride": stride, "min_score": score}
            for number, name in enumerate(names)
        ]
        _write_table(path, rows, delimiter[1])
        found = read_list(path).episodes
        assert [str(episode.video) for episode in found] == [f"{folder}/{name}" for name in names]
        assert [episode.ep_id for episode in found] == [row["ep_id"] for row in rows]
        options = {"stride": stride, "min_score": score}
        expected = {name: value for name, value in options.items() if value is not None}
        assert all(episode.options == expected for episode in found)
