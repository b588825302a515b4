"""One run of one episode, from a checked request to the run record.

Order matters: everything that can be wrong with the input is found before anything is created;
the lock is taken before anything is read that another run could be writing; the record is written
last, so that a folder with a record is complete.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from pipeline.episode import EpisodeFolder, Source, check_ep_id, ep_id_of, fingerprint
from pipeline.errors import OptionError, ResultError
from pipeline.footer import Footer, missing, read_facts
from pipeline.hashes import detect_hash, track_hash
from pipeline.load import temperature_c
from pipeline.lock import EpisodeLock, Holder, Lease
from pipeline.machine import CpuShare, cpu_seconds
from pipeline.models import locate, sha256_of
from pipeline.options import DETECT_FIELDS
from pipeline.process import StepProcess
from pipeline.quality import quality_warnings, summarize
from pipeline.record import (
    RunRecord,
    detect_warnings,
    lacked_what_is_here,
    models_used,
    read_record,
    step_text,
)
from pipeline.request import RunRequest, StepRequest
from pipeline.runtime import current


class EpisodeRun:
    """The run, as its steps see it. A context manager that holds the episode's lock.

    Raises:
        OptionError, VideoError, ModelError: on making one, where the request cannot be met.
        EpisodeBusy, OutputError, ServerError: on entering.
    """

    def __init__(
        self,
        request: RunRequest,
        run_id: str = "",
        lease: Callable[[EpisodeFolder, Holder], Lease] | None = None,
    ) -> None:
        """
        Args:
            run_id: of a queued run.
            lease: makes a second lock, for machines that do not share a file system.
        """
        self.request = request
        self.options = request.options
        self._source: Source | None = None
        if request.operation == "track":
            if request.ep_id is None:
                raise OptionError("track needs the ep_id of an episode with stored detections")
            ep_id = check_ep_id(request.ep_id)
        elif request.video is None:
            raise OptionError(f"{request.operation} needs a video")
        else:
            # Checked in the order of what a person would want to hear first.
            self._source = Source.of(request.video)
            ep_id = ep_id_of(request.video) if request.ep_id is None else check_ep_id(request.ep_id)
            for network in self.options.networks().values():
                locate(network)
        self.folder = EpisodeFolder(request.output_root.absolute(), ep_id)
        if request.operation == "track" and not self.folder.path.is_dir():
            raise ResultError(
                f"no detections of episode '{ep_id}' under {request.output_root}: "
                "run `facetracks detect VIDEO` first"
            )
        holder = Holder(request.operation, run_id)
        self._lock = EpisodeLock(self.folder, holder)
        self._lease = lease(self.folder, holder) if lease else None
        self._started_processes: dict[str, StepProcess] = {}
        self._steps: dict[str, dict[str, Any]] = {}
        self._said_no_sensor = False
        self._began = time.monotonic()
        self._cpu_before = cpu_seconds()

    @property
    def ep_id(self) -> str:
        return self.folder.ep_id

    def __enter__(self) -> EpisodeRun:
        self._lock.acquire()
        if self._lease is not None:
            try:
                self._lease.acquire()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started_processes.values():
            process.kill()
        if "share" in self.__dict__:
            self.share.release()
        if self._lease is not None:
            self._lease.release()
        self._lock.release()

    # What is there already

    @cached_property
    def share(self) -> CpuShare:
        return CpuShare.of(self.options.cpu_threads, self.options.nice)

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """The folder's run record, or an empty one."""
        return read_record(self.folder.record)

    @cached_property
    def _source_sha256(self) -> str:
        if self._source is None or self.request.video is None:
            detections = Footer.read(self.folder.detections)
            if detections is None:
                raise missing(self.folder.detections)
            return detections.source_sha256
        known = self._stored.get("source", {})
        if known.get("stat") == self._source.as_record():
            return str(known["sha256"])
        return fingerprint(self.request.video)

    def _track_hash(self, detect: dict[str, Any]) -> str:
        """
        Args:
            detect: the facts of the detections.
        """
        appearance = self.options.embeds and detect["embedded"]
        embedder = models_used(detect)["embedder"]["sha256"] if appearance else ""
        return track_hash(self.options, detect["options_hash"], embedder)

    def _footer(self, hash_: str) -> Footer:
        return Footer(self.ep_id, self._source_sha256, hash_)

    def detected(self) -> bool:
        """Whether the stored detections are those of this video and these options."""
        files = [self.folder.frames, self.folder.detections]
        if self.options.embeds:
            files.append(self.folder.embeddings)
        if not all(path.exists() for path in files):
            return False
        wanted = self._footer(detect_hash(self.options))
        if not all(Footer.read(path) == wanted for path in files):
            return False
        return not lacked_what_is_here(read_facts(self.folder.frames))

    def finished(self) -> bool:
        """Whether all that is asked for is there and complete, by the run record alone.

        Every step removes the record before it replaces a file, so the record speaks for them.
        """
        steps = self._stored.get("steps", {})
        if self.request.force or "detect" not in steps:
            return False
        detect, operation = steps["detect"], self.request.operation
        needed = [self.folder.frames, self.folder.detections]
        if operation != "detect":
            needed += [self.folder.tracks, self.folder.track_summary]
        if not all(path.exists() for path in needed):
            return False
        if operation != "track" and not (
            detect["options_hash"] == detect_hash(self.options)
            and (detect["embedded"] or not self.options.embeds)
            and self._stored["source"]["sha256"] == self._source_sha256
            and not lacked_what_is_here(detect)
        ):
            return False
        if operation == "detect":
            return True
        wanted = self._track_hash(detect)
        return bool(steps.get("track", {}).get("options_hash") == wanted)

    def identity(self) -> str:
        """SHA-256 in hex of what is asked for: content of the video, options, where it goes.

        Two requests with the same one have the same result. Reads the whole video.
        """
        detect = detect_hash(self.options)
        embedder = self.options.networks().get("embedder")
        track = track_hash(self.options, detect, sha256_of(embedder) if embedder else "")
        parts = (self._source_sha256, detect, track, self.request.operation, self.folder.path)
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    # The steps

    def start(self, step: str) -> None:
        """Starts the process of a step ahead of its work, so that its imports overlap others."""
        if step not in self._started_processes:
            self._started_processes[step] = StepProcess(step, self.share, (self._lock.fd,))

    def start_ahead(self) -> None:
        """Starts what the operation will need, as far as the CPUs given allow."""
        if self.request.operation != "track":
            self.start("detect")
        # Each process is held to all of a limit, so under one they come one after the other.
        has_room = self.share.threads > 1 and self.options.max_cpu_percent == 100
        if self.request.operation == "track" or (self.request.operation == "run" and has_room):
            self.start("track")

    def detect(self) -> dict[str, Any]:
        """The detect step, or what is stored of it."""
        if not self.request.force and self.detected():
            current().log("detect: stored detections are of this video and options, kept")
            facts = self._stored_detections()
        else:
            facts = self._work("detect", detect_hash(self.options))
        self._steps["detect"] = facts
        for warning in detect_warnings(facts):
            current().log(f"detect: {warning}", logging.WARNING)
        return facts

    def track(self) -> dict[str, Any]:
        """The track step."""
        if "detect" not in self._steps:
            self._steps["detect"] = self._stored_detections()
        detect = self._steps["detect"]
        facts = self._work("track", self._track_hash(detect))
        for warning in facts["warnings"]:
            current().log(f"track: {warning}", logging.WARNING)
        self._steps["track"] = facts
        return facts

    def _stored_detections(self) -> dict[str, Any]:
        """The facts of the stored detections, as `detect` would give them."""
        facts = read_facts(self.folder.frames)
        footer = Footer.read(self.folder.detections)
        if footer is None:
            raise missing(self.folder.detections)
        if footer != Footer.read(self.folder.frames):
            raise ResultError(
                f"{self.folder.frames} is of another run than {self.folder.detections.name}, "
                "which was ended before it was written: run `facetracks detect VIDEO` first"
            )
        return {**facts, "options_hash": footer.options_hash, "reused": True}

    def _work(self, step: str, hash_: str) -> dict[str, Any]:
        video = str(self.request.video) if step == "detect" else None
        footer = self._footer(hash_)
        request = StepRequest(video, self.folder, footer, self.options, self.share.threads)
        self.start(step)
        self._say_if_no_sensor()
        facts = self._started_processes.pop(step).run(request, current())
        current().log(step_text(step, facts))
        return {**facts, "options_hash": hash_, "reused": False}

    def _say_if_no_sensor(self) -> None:
        if self.options.max_temperature is None or self._said_no_sensor:
            return
        self._said_no_sensor = True
        if temperature_c() is None:
            current().log(
                "--max-temperature has no effect: this machine reports no CPU temperature",
                logging.WARNING,
            )

    # The end

    def finish(self) -> dict[str, Any]:
        """Writes the run record; returns the summary."""
        summary = summarize(self._steps)
        for warning in quality_warnings(self._steps):
            current().log(f"quality: {warning}", logging.WARNING)
        record = RunRecord(
            ep_id=self.ep_id,
            operation=self.request.operation,
            source=self._source_record(),
            options=self._options_record(),
            steps=self._steps,
            summary=summary,
            cpu_threads=self.share.threads,
            elapsed_seconds=round(time.monotonic() - self._began, 3),
            caller_cpu_seconds=round(cpu_seconds() - self._cpu_before, 3),
        )
        record.write(self.folder.record)
        return summary

    def stored_summary(self) -> dict[str, Any]:
        """The summary of the run that made what is stored."""
        return dict(self._stored["summary"])

    def _source_record(self) -> dict[str, Any]:
        if self._source is None:
            return dict(self._stored.get("source", {"sha256": self._source_sha256}))
        return {
            "file": str(self.request.video),
            "sha256": self._source_sha256,
            "stat": self._source.as_record(),
        }

    def _options_record(self) -> dict[str, Any]:
        options = self.options.model_dump(mode="json")
        if self.request.operation == "track":
            # The detections keep the options they were made with. Not all tables name them.
            known = self._steps["detect"].get("options") or self._stored.get("options", {})
            options |= {name: known[name] for name in DETECT_FIELDS if name in known}
        return options
