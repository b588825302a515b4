"""A worker: Prefect's process worker, with a nursery that has warm processes beside it.

Runs on any machine that has the media, the output root and a way to the server and Redis.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from deployments import redis_client
from deployments.prefect_env import NO_REPORTS_HOME, RUN, server_environment, worker_environment
from deployments.run_guard import WORKER
from deployments.settings import Settings
from pipeline.errors import OptionError
from pipeline.machine import library_environment
from pipeline.nursery import ADDRESS

_FLOW_MODULES = ("flows.detect_track", "flows.backfill")


def worker_name(settings: Settings) -> str:
    """Tells machines, and stacks with different homes on one machine, apart."""
    return f"{socket.gethostname()}-{settings.home.name.strip('.')}".replace("/", "-")


def become_worker(name: str | None, limit: int | None) -> None:
    """Turns this process into a worker.

    Args:
        name: as the Prefect UI shows it; default: host and home.
        limit: runs at once; default: `FACETRACKS_WORKER_LIMIT`.

    Raises:
        OptionError: a setting that a worker needs is missing.
        ServerError: Redis does not answer. Without it every run would fail.
    """
    settings = Settings.load()
    api_url = os.environ.get("PREFECT_API_URL")
    if not api_url or settings.redis_url is None:
        raise OptionError("a worker needs PREFECT_API_URL and FACETRACKS_REDIS_URL: set both")
    redis_url = settings.redis_url.get_secret_value()
    redis_client.check(redis_url, advice="start it first, or check FACETRACKS_REDIS_URL")
    if limit is None:
        limit = settings.worker_limit
    _forget_server_settings()
    for key, value in worker_environment(api_url, redis_url).items():
        os.environ.setdefault(key, value)
    # Runs that go at the same time share what the worker has, whatever each of them asks for.
    share = str(settings.share_of_each(limit))
    os.environ |= {"FACETRACKS_CPU_THREADS": share, "FACETRACKS_MAX_CPU_THREADS": share}
    # The pool's command is plain `python`: this one.
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), path))
    os.environ[WORKER] = str(os.getpid())
    _start_nursery()
    # Prefect stops a worker by SIGINT, which a parent in the background of a script has ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execv(  # noqa: S606  (this process is what the stack or compose watches)
        sys.executable,
        [
            *(sys.executable, "-P", "-m", "deployments.patient_worker"),
            *(name or worker_name(settings), str(limit)),
        ],
    )


def _forget_server_settings() -> None:
    """What the local stack's server needs is not for the runs to see, its database least."""
    if auth := os.environ.pop("PREFECT_SERVER_API_AUTH_STRING", None):
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
    server_only = {*server_environment("", ""), "FACETRACKS_DATABASE_URL"} - {*NO_REPORTS_HOME}
    for name in server_only:
        os.environ.pop(name, None)


def _start_nursery() -> None:
    # Prefect's worker keeps a folder of a fixed name in the temporary folder, which two users'
    # workers would quarrel about.
    folder = tempfile.mkdtemp(prefix="facetracks-")
    os.environ["TMPDIR"] = folder
    address = str(Path(folder) / "nursery")
    os.environ[ADDRESS] = address
    reader, writer = os.pipe()
    subprocess.Popen(
        [sys.executable, "-P", "-m", "deployments.nursery", address, *_FLOW_MODULES],
        stdin=reader,
        env={**library_environment(), **RUN},
    )
    os.close(reader)
    # The nursery ends when this closes: it stays open in the worker that this process becomes,
    # and in nobody else.
    os.set_inheritable(writer, True)
