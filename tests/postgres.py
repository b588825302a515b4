"""A real Postgres for tests: a cluster in a folder of its own, on a free loopback port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import pytest


def _program(name: str) -> str:
    """`initdb` and `postgres`, which Debian keeps off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        if "CI" in os.environ:
            pytest.fail("Postgres is missing: `make test-faults` installs it where it may")
        pytest.skip("no Postgres here: install the package postgresql")
    return found


class Postgres:
    """Runs from `with` to the end of the block."""

    def __enter__(self) -> Self:
        initdb, server = _program("initdb"), _program("postgres")
        self.password = secrets.token_hex(12)
        self._folder = Path(tempfile.mkdtemp(prefix="ft-pg-"))
        # Postgres refuses to run as root.
        user: dict[str, Any] = {}
        if os.getuid() == 0:
            account = pwd.getpwnam("nobody")
            user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        secret = self._folder / "secret"
        secret.write_text(self.password)
        secret.chmod(0o644)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = self._folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "prefect", "-A", "scram-sha-256", "--pwfile", secret],
            check=True, capture_output=True, cwd=self._folder, **user,
        )  # fmt: skip
        self._log = (self._folder / "log").open("w+b")
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        self._process = subprocess.Popen(
            [server, "-D", data, "-p", str(port), *(f"-c{k}={v}" for k, v in options.items())],
            cwd=self._folder, stdout=self._log, stderr=self._log, **user,
        )  # fmt: skip
        self.url = f"postgresql+asyncpg://prefect:{self.password}@127.0.0.1:{port}/postgres"
        give_up = time.monotonic() + 30
        while b"ready to accept connections" not in (self._folder / "log").read_bytes():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < give_up, "Postgres did not start"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
