"""What a step costs the machine: CPU time of its process tree, memory, heat, frequency."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from typing import Any

import psutil

WINDOW_S = 1.0
"""Length of the windows of which the busiest is a step's peak."""

_READ_WITHIN_S = 0.01
_READ_AGAIN = 5

_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "x86_pkg_temp", "cpu", "soc")
"""Parts of the names by which Linux's drivers for Intel, AMD and ARM processors go."""

_BOARD_SENSORS = ("acpitz",)
"""What tells of the processor's surroundings, where it does not tell of itself."""


def temperature_c() -> float | None:
    """The hottest temperature of the CPU in degrees Celsius; None where the machine tells none."""
    read = getattr(psutil, "sensors_temperatures", None)  # not on macOS
    if read is None:
        return None
    try:
        by_driver = read()
    except (OSError, ValueError):
        return None
    for wanted in (_CPU_SENSORS, _BOARD_SENSORS):
        found = [
            float(sensor.current)
            for driver, sensors in by_driver.items()
            if any(name in driver.lower() for name in wanted)
            for sensor in sensors
            if sensor.current and sensor.current > 0  # A sensor that is off says 0.
        ]
        if found:
            return max(found)
    return None


def frequency_mhz() -> float | None:
    """The CPUs' present clock in MHz, their mean; None where the machine does not tell."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError, AttributeError):
        return None
    return float(frequency.current) if frequency and frequency.current else None


class ProcessTree:
    """This process and its descendants."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._all = [self._me]
        self._largest_bytes = 0

    def look(self) -> None:
        """Finds the descendants, which takes milliseconds, and notes how large all are."""
        self._all = [self._me, *self._me.children(recursive=True)]
        for process in self._all:
            with suppress(psutil.Error):
                self._largest_bytes = max(self._largest_bytes, process.memory_info().rss)

    def read(self) -> tuple[float, float]:
        """The monotonic clock, and the CPU time by then.

        User and system time of those found, and of theirs that were waited for.
        """
        for _ in range(_READ_AGAIN):
            started = time.monotonic()
            total = 0.0
            for process in self._all:
                with suppress(psutil.Error):
                    total += sum(process.cpu_times()[:4])
            ended = time.monotonic()
            # Interrupted in its midst, it does not tell what was used by when.
            if ended - started < _READ_WITHIN_S:
                break
        return (started + ended) / 2, total

    def peak_memory_bytes(self) -> int:
        """Largest resident size of any of them."""
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            largest = resource.getrusage(who).ru_maxrss
            in_bytes = int(largest if sys.platform == "darwin" else largest * 1024)
            self._largest_bytes = max(self._largest_bytes, in_bytes)
        return self._largest_bytes


class CpuMeter:
    """Mean and peak of the CPUs' worth of work, from readings of CPU time."""

    def __init__(self, at_s: float, cpu_s: float) -> None:
        """
        Args:
            at_s: wall time of the first reading, on any clock.
            cpu_s: CPU time at that moment.
        """
        self._began = self._window = self._last = (at_s, cpu_s)
        self._peak: float | None = None

    def add(self, at_s: float, cpu_s: float) -> None:
        """A further reading."""
        # A descendant that has just ended is not always counted where it was waited for yet.
        self._last = (at_s, max(cpu_s, self._last[1]))
        if at_s - self._window[0] >= WINDOW_S:
            self._peak = max(self._peak or 0.0, _rate(self._window, self._last))
            self._window = self._last

    @property
    def mean(self) -> float:
        return _rate(self._began, self._last)

    @property
    def peak(self) -> float:
        """Of windows of `WINDOW_S` and a little more; the mean where all is shorter."""
        return self.mean if self._peak is None else max(self._peak, self.mean)


def _rate(start: tuple[float, float], end: tuple[float, float]) -> float:
    seconds = end[0] - start[0]
    return (end[1] - start[1]) / seconds if seconds > 0 else 0.0


def sensors() -> dict[str, float | None]:
    """What the machine's sensors say now: `temperature_c`, `frequency_mhz`."""
    temperature, frequency = temperature_c(), frequency_mhz()
    return {
        "temperature_c": None if temperature is None else round(temperature, 1),
        "frequency_mhz": None if frequency is None else round(frequency),
    }


def over_time(start: dict[str, Any], end: dict[str, Any]) -> dict[str, Any]:
    """Each value at the start and the end; None where neither is known."""
    return {
        name: None if start[name] is end[name] is None else {"start": start[name], "end": end[name]}
        for name in start
    }
