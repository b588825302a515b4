"""A second host for tests: a network namespace, with a cable to this one."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self


class Namespace:
    """Another network stack, where this process may make one; otherwise just this host.

    Attributes:
        host: this side's address, as the other side reaches it.
        prefix: what a command begins with that is to run on the other side.
    """

    def __init__(self) -> None:
        self._name = f"ft{os.getpid()}"
        number = os.getpid() % 250 + 1
        self.host, self._other = f"10.231.{number}.1", f"10.231.{number}.2"
        self.prefix = ["ip", "netns", "exec", self._name]

    def __enter__(self) -> Self:
        here, there = f"{self._name}a", f"{self._name}b"
        self.is_one = shutil.which("ip") is not None and _ip("netns", "add", self._name)
        made = self.is_one and all(
            _ip(*words)
            for words in (
                ("link", "add", here, "type", "veth", "peer", "name", there, "netns", self._name),
                ("addr", "add", f"{self.host}/30", "dev", here),
                ("link", "set", here, "up"),
                ("-n", self._name, "addr", "add", f"{self._other}/30", "dev", there),
                ("-n", self._name, "link", "set", there, "up"),
                ("-n", self._name, "link", "set", "lo", "up"),
            )
        )
        if not made:
            self.__exit__()
            self.is_one, self.host, self.prefix = False, "127.0.0.1", []
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_one:
            _ip("netns", "del", self._name)  # The cable goes with it.


def _ip(*words: str) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, check=False)
    return done.returncode == 0
