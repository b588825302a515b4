"""The local stack as a person at a terminal sees it."""

from __future__ import annotations

import json
import sys
from typing import Any

from deployments.settings import Settings
from deployments.stack import Stack


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def up(*, as_json: bool) -> int:
    """Starts the stack. Exit code 0 when all of it is well."""
    return _show(Stack(Settings.load()).up(_say), as_json)


def status(*, as_json: bool) -> int:
    """Exit code 0 when all of it is well, 1 otherwise."""
    return _show(Stack(Settings.load()).status(), as_json)


def down(*, as_json: bool) -> int:
    """Stops the stack."""
    settings = Settings.load()
    stopped = Stack(settings).down(_say)
    if as_json:
        print(json.dumps({"stopped": stopped, "home": str(settings.home)}))
    elif not stopped:
        print(f"nothing was running from {settings.home}")
    return 0


def _show(status: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(status))
        return 0 if status["healthy"] else 1
    if not status["parts"]:
        print(f"no stack at {status['home']}: start one with `facetracks stack up`")
        return 1
    for name, part in status["parts"].items():
        well = "well" if part["healthy"] else "not well"
        pid = f"pid {part['pid']}" if part["pid"] else ""
        print(f"{name:<8}{well:<10}{part['state']:<10}{pid:<12}{part['where']}")
    if status["healthy"]:
        print(f"Prefect UI: {status['ui']}")
    else:
        logs = [str(p["log"]) for p in status["parts"].values() if not p["healthy"] and p["log"]]
        print(f"see {', '.join(logs)}" if logs else "start Redis, then try again")
    return 0 if status["healthy"] else 1
