"""A process that has the libraries imported, which takes seconds, and forks others from itself.

Whoever wants a process asks over a Unix socket, and starts one of its own where there is no
nursery. That starts no thread once it serves, so that forking is safe; it ends when its standard
input closes. A process that it forks leads a group; when the process ends, or whoever asked for it
has been gone for `grace_s`, the group is killed.

`python -m pipeline.nursery ADDRESS` forks processes for the steps.
"""

from __future__ import annotations

import gc
import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.machine import library_environment

ADDRESS = "FACETRACKS_NURSERY"
"""Environment variable with the path of the nursery's socket."""

GRACE_S = 2.0
STEP_MODULES = ("pipeline.step_preload", "pipeline.detect", "pipeline.track")

_LONGEST_REQUEST = 1 << 20
_READY_S = 30.0

Body = Callable[[socket.socket, dict[str, Any]], int]
"""What a forked process does: gets the line to whoever asked, and the request; returns its code."""


def ask(
    kind: str,
    arguments: list[str],
    environment: dict[str, str],
    descriptors: Sequence[int],
    line: socket.socket,
) -> int | None:
    """Asks the nursery that the environment names for a process.

    Args:
        kind: what the process is to be.
        arguments: for it.
        environment: of it.
        descriptors: become its standard input, output and error, and further ones it keeps.
        line: connected to the nursery by this call; the process may live while it is open, and
            its exit code comes over it, see `exit_code`.

    Returns:
        The id of the process; None where the nursery will not or is not there.
    """
    address = environment.get(ADDRESS)
    if not address:
        return None
    request = {
        "kind": kind,
        "arguments": arguments,
        "environment": environment,
        "folder": str(Path.cwd()),
    }
    try:
        line.connect(address)
        text = json.dumps(request).encode()
        socket.send_fds(line, [len(text).to_bytes(4, "big") + text[:32768]], descriptors)
        line.sendall(text[32768:])
        return int.from_bytes(line.recv(4), "big") or None
    except OSError:
        return None


def exit_code(line: socket.socket) -> int:
    """Waits for the process's end: its code, negative where a signal ended it."""
    text = b""
    with suppress(OSError):
        while part := line.recv(64):
            text += part
    # Without a code the nursery died, and took nobody along.
    return int(text) if text.strip() else -signal.SIGKILL


class Nursery:
    """Listens at a path and forks."""

    def __init__(self, address: str, bodies: dict[str, Body], grace_s: float = GRACE_S) -> None:
        self._bodies, self._grace_s = bodies, grace_s
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, socket.socket] = {}
        self._let_go: dict[int, float] = {}
        Path(address).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        previous = os.umask(0o077)
        self._listener.bind(address)
        os.umask(previous)
        self._listener.listen()
        self._wakeup, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)

    def accepts(self, request: dict[str, Any]) -> bool:
        """Whether a process forked from this one will do."""
        return request["kind"] in self._bodies

    def serve(self) -> None:
        """Until standard input closes."""
        while True:
            for key, _ in self._selector.select(0.2 if self._let_go else None):
                if key.fd == 0:
                    return
                if key.fd == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif key.fileobj is self._listener:
                    line, _ = self._listener.accept()
                    try:
                        self._start(line)
                    except Exception:  # Whatever it was asked, others count on it.
                        line.close()
                elif key.data in self._lines:
                    # Nobody writes on a line: it has closed.
                    self._selector.unregister(self._lines[key.data])
                    self._let_go[key.data] = time.monotonic()
            for pid, since in self._let_go.items():
                if time.monotonic() - since > self._grace_s:
                    _kill_group(pid)

    def _start(self, line: socket.socket) -> None:
        line.settimeout(5)
        request, descriptors = _receive(line)
        try:
            if not self.accepts(request):
                line.sendall(bytes(4))
                line.close()
                return
            pid = os.fork()
            if pid == 0:
                self._become(line, request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._lines[pid] = line
        self._selector.register(line, selectors.EVENT_READ, pid)
        with suppress(OSError):
            line.sendall(pid.to_bytes(4, "big"))

    def _become(self, line: socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
        """In the forked child: takes over what was sent, and never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            self._listener.close()
            for other in self._lines.values():
                other.close()
            os.setsid()
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            # As `ps` and `top` show it; the command line stays the nursery's.
            name = (request["arguments"] or [request["kind"]])[0]
            with suppress(OSError):
                Path("/proc/self/comm").write_text(f"ft-{name}")
            line.settimeout(None)
            code = self._bodies[request["kind"]](line, request)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # Not reaped yet, so the group's number cannot have passed to somebody else.
            _kill_group(ended.si_pid)
            _, status = os.waitpid(ended.si_pid, 0)
            line = self._lines.pop(ended.si_pid)
            if self._let_go.pop(ended.si_pid, None) is None:
                self._selector.unregister(line)
            with suppress(OSError):
                line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            line.close()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _receive(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(line, 65536, 8)
    try:
        size = int.from_bytes(data[:4], "big")
        if not data or size > _LONGEST_REQUEST:
            raise ValueError("no request")
        data = data[4:]
        while len(data) < size:
            more = line.recv(65536)
            if not more:
                raise ValueError("half a request")
            data += more
        return json.loads(data), descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


@contextmanager
def beside() -> Iterator[Callable[[], None]]:
    """A nursery for the steps that this process starts in the block; gives a call to wait for it.

    Steps that are started before it is there are processes of their own.
    """
    with tempfile.TemporaryDirectory(prefix="facetracks-") as folder:
        address = str(Path(folder) / "nursery")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.nursery", address],
            stdin=subprocess.PIPE,
            env=library_environment(),
        )

        def wait_until_ready() -> None:
            give_up = time.monotonic() + _READY_S
            while not Path(address).exists() and process.poll() is None:
                if time.monotonic() > give_up:
                    return
                time.sleep(0.05)

        os.environ[ADDRESS] = address
        try:
            yield wait_until_ready
        finally:
            del os.environ[ADDRESS]
            assert process.stdin is not None
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
            process.kill()
            process.wait()


def run_step(line: socket.socket, request: dict[str, Any]) -> int:
    """The body of a step's process."""
    from pipeline.child import serve

    line.close()  # Its standard input tells it to end.
    return serve(request["arguments"])


def serve_until_let_go(nursery: Nursery, address: str) -> None:
    """Serves; removes the folder of the address, which is the nursery's own, in the end."""
    nursery.serve()
    shutil.rmtree(Path(address).parent, ignore_errors=True)


def import_watched(modules: Sequence[str], address: str) -> None:
    """Imports, which takes seconds; ends the process where standard input closes meanwhile."""
    reader, writer = os.pipe()

    def watch() -> None:
        if 0 in select.select([0, reader], [], [])[0]:
            shutil.rmtree(Path(address).parent, ignore_errors=True)
            os._exit(0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    for module in modules:
        import_module(module)
    os.close(writer)
    watcher.join()  # Forking is safe again.
    os.close(reader)
    gc.freeze()  # Collections in forked processes leave alone, and so shared, what is here now.


def main() -> int:
    """Forks processes for the steps."""
    (address,) = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's to handle.
    import_watched(STEP_MODULES, address)
    serve_until_let_go(Nursery(address, {"step": run_step}), address)
    return 0


if __name__ == "__main__":
    sys.exit(main())
