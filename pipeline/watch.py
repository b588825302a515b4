"""A thread beside a step's work: measures what it costs, and holds it back where that was asked."""

from __future__ import annotations

import threading
import time
from typing import Any

from pipeline import load, pace
from pipeline.options import ResolvedOptions

_MEASURE_EVERY_S = load.WINDOW_S
_PACE_EVERY_S = 0.1


class StepWatch:
    """Watches this process and its descendants, from the process's start to the step's end."""

    def __init__(self, say: pace.Say) -> None:
        """
        Args:
            say: is told of pauses.
        """
        self._say = say
        self._started_s = time.monotonic()
        self._tree = load.ProcessTree()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._gate: pace.Gate | None = None
        self._budget: pace.CpuBudget | None = None
        self._heat: pace.HeatLimit | None = None
        self._is_cool = True
        self._paused_s = 0.0

    def begin(self, options: ResolvedOptions, threads: int) -> None:
        """The work begins: what was loaded before it counts for the budget, not for the mean."""
        if options.max_cpu_percent < 100:
            cpus = threads * options.max_cpu_percent / 100
            self._budget = pace.CpuBudget(cpus, self._started_s)
        if options.max_temperature is not None:
            self._heat = pace.HeatLimit(options.max_temperature, self._say)
        if self._budget is not None or self._heat is not None:
            self._gate = pace.open_gate()
        self._sensors = load.sensors()
        self._tree.look()
        at_s, cpu_s = self._tree.read()
        self._began_s = at_s
        self._meter = load.CpuMeter(at_s, cpu_s)
        self._check_heat(at_s)
        self._decide(at_s, cpu_s)
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    def end(self) -> dict[str, Any]:
        """The work has ended.

        Returns:
            What it took: `seconds`, `cpu_seconds`, `mean_cpus`, `peak_cpus` (CPUs' worth),
            `paused_seconds`, `peak_memory_mib`; `temperature_c` and `frequency_mhz` at start and
            end, None where the machine does not tell.
        """
        assert self._thread is not None
        self._stopped.set()
        self._thread.join(2 * _MEASURE_EVERY_S)
        self._tree.look()
        now, cpu_s = self._tree.read()
        self._meter.add(now, cpu_s)
        return {
            "seconds": round(now - self._began_s, 3),
            "cpu_seconds": round(cpu_s, 3),
            "mean_cpus": round(self._meter.mean, 2),
            "peak_cpus": round(self._meter.peak, 2),
            "paused_seconds": round(self._paused_s, 1),
            "peak_memory_mib": round(self._tree.peak_memory_bytes() / 2**20, 1),
            **load.over_time(self._sensors, load.sensors()),
        }

    def _check_heat(self, at_s: float) -> None:
        if self._heat is not None:
            self._is_cool = self._heat.is_kept(at_s, load.temperature_c())

    def _decide(self, at_s: float, cpu_s: float) -> None:
        """Whether the next piece of work may begin."""
        if self._gate is not None:
            within = self._budget is None or self._budget.is_kept(at_s, cpu_s)
            self._gate.move(within and self._is_cool)

    # In the thread

    def _watch(self) -> None:
        every_s = _MEASURE_EVERY_S if self._budget is None else _PACE_EVERY_S
        try:
            looked_s = last_s = self._began_s
            while not self._stopped.wait(every_s):
                looks = time.monotonic() - looked_s >= _MEASURE_EVERY_S
                if looks:
                    self._tree.look()
                at_s, cpu_s = self._tree.read()
                if self._gate is not None and not self._gate.is_open:
                    self._paused_s += at_s - last_s
                last_s = at_s
                if looks:
                    looked_s = at_s
                    self._meter.add(at_s, cpu_s)
                    self._check_heat(at_s)
                self._decide(at_s, cpu_s)
        finally:
            # Whatever happens here, the work does not wait for ever.
            if self._gate is not None:
                self._gate.move(is_open=True)
